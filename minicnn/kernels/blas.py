"""One thread pool at a time: BLAS keeps to one thread while kernels run.

Numba's threads and those of OpenBLAS spin against each other: with all layers on BLAS, a training step of LeNet-5 takes
7 ms on two cores with this and 23 ms without, one of the sheet's first model 18 and 52. Kernels that call BLAS
therefore split large products themselves and call it from each of their own threads.

CPUs without generated machine code (llvm.py) run these for dense layers and for convolutions, but not the grouped ones;
others for the gradients of small dense layers with very long sums (dense.py), transposed convolutions, the 1x1 part of
separable ones, and any that no fused step takes: dilated ones on larger maps, or those with an activation that fused.py
does not have.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any

from minicnn.kernels.forking import blas_lock

_users = 0
_libraries: list[Any] | None = None
_before: list[tuple[Any, int]] = []  # the caller's setting of each library that had another than ours


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """BLAS on one thread for the whole process inside the block; the caller's setting comes back after it.

    Nested blocks and blocks in several Python threads are counted: the first one limits, the last one restores.
    """
    entered = _Entered()
    try:
        _enter(entered)
        yield
    finally:
        if entered.counted:
            _leave()


@dataclass
class _Entered:
    """Whether a block was counted, also if Control-C came before it was told."""

    counted: bool = False


def _enter(block: _Entered) -> None:
    """Whatever Control-C interrupts, _before holds the caller's setting as long as BLAS may have another."""
    global _users, _libraries
    with blas_lock:
        if _libraries is None:
            from threadpoolctl import ThreadpoolController

            _load_blas()
            _libraries = ThreadpoolController().select(user_api="blas").lib_controllers  # those that are loaded now
        _users, block.counted = _users + 1, True
        if _users == 1 and not _before:
            threads = [(library, library.get_num_threads()) for library in _libraries]
            _before[:] = [(library, count) for library, count in threads if count is not None and count != 1]
        if _users == 1:
            _set_threads([(library, 1) for library, _ in _before])


def _load_blas() -> None:
    """Import scipy.linalg.cython_blas, SciPy's own copy of OpenBLAS, which Numba's np.dot calls.

    It is found in scipy.linalg's folder and imported alone, before the package, whose __init__ imports all of linear
    algebra: 0.12 of the 0.5 s that a process takes to its first training step. Numba looks it up by this name, and so
    does any later import statement. But where scipy.linalg is imported afterwards, scipy.linalg.cython_blas.x fails, as
    the module is no attribute of the package; "from scipy.linalg import cython_blas" works.
    """
    name = "scipy.linalg.cython_blas"
    package, _, _ = name.rpartition(".")
    if package not in sys.modules and name not in sys.modules:
        import scipy  # has the folder, and makes its libraries known to Windows

        spec = PathFinder.find_spec(name, [os.path.join(folder, "linalg") for folder in scipy.__path__])
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            try:
                if package not in sys.modules:  # no other thread has begun to import it meanwhile
                    spec.loader.exec_module(module)
                    sys.modules[name] = module
            except Exception:  # the statement below says what is wrong, if anything is
                if sys.modules.get(name) is module:
                    del sys.modules[name]
    import scipy.linalg.cython_blas


def _leave() -> None:
    global _users
    with blas_lock:
        _users = max(0, _users - 1)  # 0 already in a child that was forked inside the block
        if _users == 0:
            _restore()


def _restore() -> None:
    _set_threads(_before)
    _before.clear()


def _set_threads(counts: list[tuple[Any, int]]) -> None:
    if not counts:
        return
    _let_any_thread_set_openblas()
    for library, count in counts:
        library.set_num_threads(count)
    _let_any_thread_set_openblas()


def _after_fork_in_child() -> None:
    """A block that the process was forked in ends in the parent alone."""
    global _users
    if _users:
        _users = 0
        _restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _let_any_thread_set_openblas() -> None:
    """threadpoolctl 3.8 and later ignore every Python thread but the first that set OpenBLAS's threads.

    Here one thread may enter and another be the last to leave, so each takes the right to itself, under the lock.
    """
    from threadpoolctl import OpenBLASController

    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)
