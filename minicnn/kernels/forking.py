"""The locks of compiling and of setting BLAS's threads, and what a fork waits for.

Of the threads of a process a forked child has the one that forked. A lock that another one held would stay locked in it
for ever, and what that one was compiling would stay half done. So a fork waits until nothing is being compiled.
"""

import logging  # noqa: F401  before the hooks below: those registered first lock last, and compiling may wait for its lock
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")

compile_lock = threading.RLock()  # two threads may ask for the first call
blas_lock = threading.RLock()  # of blas.py, which imports what it needs under it
_held: list[Any] = []


def _before_fork() -> None:
    """Take our lock, then that under which Numba compiles one function at a time, in the order of compiling; then
    BLAS's, under which none of them is asked for.

    Control-C ends the waiting, and the fork goes on: Python passes over what is raised here.
    """
    compile_lock.acquire()
    _held.append(compile_lock)
    numbas = getattr(sys.modules.get("numba.core.compiler_lock"), "global_compiler_lock", None)  # imported under ours
    if numbas is not None:
        numbas.acquire()
        _held.append(numbas)
    blas_lock.acquire()
    _held.append(blas_lock)


def _after_fork() -> None:
    while _held:
        _held.pop().release()


class made_once(Generic[_Value]):
    """An attribute that is computed when it is first asked for, and kept.

    functools.cached_property holds a lock meanwhile, up to Python 3.11 one for all instances: a child that is forked
    then would wait for it for ever. Without one, two threads may both compute it; the later value stays.
    """

    def __init__(self, make: Callable[[Any], _Value]) -> None:
        self.make, self.__doc__ = make, make.__doc__

    def __get__(self, owner: Any, kind: type) -> _Value:
        if owner is None:
            raise AttributeError(f"{kind.__name__}.{self.make.__name__} is an attribute of instances.")
        value = vars(owner)[self.make.__name__] = self.make(owner)
        return value


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
