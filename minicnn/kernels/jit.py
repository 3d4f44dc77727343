"""Turns the plain loops of the kernel files into compiled, parallel kernels: Numba is called here alone, and in
linking.py, machine_code.py, llvm.py, llvm_words.py and vector_unit.py.

A kernel file is plain Python. `prange` there is `range`, a helper is a function marked with `@inlined`, and
`compiled(loops)` stands for the fast version. Compilation happens at the first call (importing minicnn does not
even import Numba), in a copy of the function whose globals hold numba.prange and the compiled helpers instead. The
result is cached on disk (kernel_cache.py), so that the next process loads it.

Results do not depend on the number of threads: a kernel splits its work in parts whose number and borders follow from
the shapes alone, and adds partial sums in a fixed order; `prange` never reduces.
"""

import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from numbers import Integral
from typing import Any, TypeVar

import numpy as np

from minicnn.errors import ConfigError
from minicnn.kernels import kernel_cache
from minicnn.kernels.blas import single_threaded_blas
from minicnn.kernels.forking import compile_lock
from minicnn.kernels.kernel_cache import cached_if_possible, renamed_for_the_cache
from minicnn.typing import Array

_Function = TypeVar("_Function", bound=Callable[..., Any])

prange = range
"""range in plain Python, numba.prange once compiled: iterations that share nothing and may run on any thread."""

# contract: a·b + c may be one fused instruction; nsz: 0 and −0 are one. Both keep the order of sums, NaN and infinity.
# no_cfunc_wrapper: nobody calls kernels through C, and the wrapper takes time to compile.
_OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "nsz"}, "nogil": True, "no_cfunc_wrapper": True}

# Threads where prange stands and nowhere else. Left to itself Numba makes a parallel loop of each np.zeros and each
# array expression besides: 3 µs to wake the threads for ten numbers, 6 to 10 µs of a kernel's 20 for one image.
_IMPLICITLY_PARALLEL = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")

_entry_lock = threading.Lock()  # workqueue, Numba's own thread pool, dies when two Python threads enter it at once
_inlined: dict[Callable[..., Any], Any] = {}
_generated: set[Callable[..., Any]] = set()
_threads: int | None = None  # what set_num_threads was told; None leaves it to Numba's own setting
_parallel_started = False
_pool_is_reentrant = False  # known once a parallel kernel has run
_forked = False


def _after_fork_in_child() -> None:
    global _forked
    # OpenMP's threads are not there any more, and waiting for them kills the child.
    _forked = _parallel_started or _threading_layer() is not None


def _threading_layer() -> str | None:
    """Numba's thread pool, "omp" for instance; None before one is started, by our kernels or the caller's own code."""
    numba = sys.modules.get("numba")
    try:
        return str(numba.threading_layer()) if numba is not None else None
    except (AttributeError, ValueError):  # while Numba is imported; before parallel code has run
        return None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def inlined(function: _Function) -> _Function:
    """Mark a helper that kernels call: compiled along with each of them, plain Python otherwise."""
    _inlined[function] = None
    return function


def generated(function: _Function) -> _Function:
    """Mark a helper that stands for generated code in compiled kernels: machine_code.py has it under the same name."""
    _generated.add(function)
    return function


def compiled(loops: Callable[..., Any], uses_blas: bool = False) -> "Kernel":
    """The compiled version of a function of plain loops over arrays. uses_blas: np.dot is called inside."""
    return Kernel(loops, uses_blas)


class Kernel:
    """A function of plain loops, compiled at its first call.

    Arrays are handed on C-contiguous, aligned and writable (a copy is made of one that is not), so that each dtype
    compiles once; an array that the kernel writes to must be so already. In a child forked after kernels have run, the
    same source runs compiled serially, with equal bits. Under NUMBA_DISABLE_JIT=1 the loops run as they are.
    """

    def __init__(self, loops: Callable[..., Any], uses_blas: bool) -> None:
        self.loops = loops
        self._blas = single_threaded_blas if uses_blas else nullcontext
        self._dispatchers: dict[bool, Any] = {}

    def __call__(self, *args: Any) -> Any:
        try:
            return self._call(*args)
        except SystemError as error:
            behind = _signalled(error)
        except Exception as error:
            if not kernel_cache.has_failed(error):
                raise
            self._go_without_cache(error)  # and run the kernel, which has not begun
            return self._call(*args)
        raise behind

    def _call(self, *args: Any) -> Any:
        for array in args:
            if isinstance(array, np.ndarray) and not array.flags.carray:
                args = tuple([_plain(a) if isinstance(a, np.ndarray) else a for a in args])
                break
        run = self._dispatcher(parallel=not _forked)
        if run is self.loops:
            with np.errstate(all="ignore"):  # compiled code does not warn
                return run(*args)
        if _forked:
            with self._blas():
                return run(*args)
        if _pool_is_reentrant and run.overloads:  # kernels have run before: nothing to wait for or to tell
            threads = _thread_count()
            if self._blas is nullcontext and isinstance(threads, nullcontext):  # nor to arrange: 3 µs less of 20
                return run(*args)
            with self._blas(), threads:
                return run(*args)
        _before_the_first_kernel()
        with self._blas(), _workqueue_guard(), _thread_count():
            return run(*args)

    def _go_without_cache(self, error: BaseException) -> None:
        run = self._dispatcher(parallel=not _forked)
        folder = run.stats.cache_path
        run._cache.disable()
        kernel_cache.warn_of(error, folder)

    def _dispatcher(self, parallel: bool) -> Any:
        if parallel not in self._dispatchers:
            with compile_lock:
                if parallel not in self._dispatchers:
                    self._dispatchers[parallel] = _compile(self.loops, parallel)
        return self._dispatchers[parallel]

    @property
    def signatures(self) -> list[Any]:
        """The argument types compiled so far, of the parallel and the serial version."""
        return [s for d in self._dispatchers.values() if d is not self.loops for s in d.signatures]


def _signalled(error: BaseException) -> BaseException:
    """The exception of a signal's handler, KeyboardInterrupt above all, that is behind a SystemError; or the error.

    If a signal comes while a kernel runs, its handler raises when Numba makes arrays of the results. Numba returns them
    nevertheless, and of that Python makes a SystemError, once for each level of calls.
    """
    while isinstance(error, SystemError) and error.__cause__ is not None and "with an exception set" in str(error):
        error = error.__cause__
    return error


def _plain(array: Array) -> Array:
    """The array, or a copy if it is not C-contiguous and aligned, or may not be written to.

    A view without that permission is not copied if the memory has it: kernels write to what they are to write alone.
    """
    if array.flags.carray:
        return array
    alias = array.view()
    with suppress(ValueError):
        alias.flags.writeable = True
    return alias if alias.flags.carray else np.array(array, order="C")


def _compile(function: Callable[..., Any], parallel: bool) -> Any:
    import numba

    if numba.config.DISABLE_JIT:
        return function
    from numba.core.cpu import ParallelOptions

    from minicnn.kernels.linking import compiler

    copy = renamed_for_the_cache(function, _compiled_globals(function), "" if parallel else "_serial")
    # as an object, since of a dict Numba takes out what it has read: a second dtype would find it empty
    shared = parallel and "prange" in function.__code__.co_names
    threads = ParallelOptions(dict.fromkeys(_IMPLICITLY_PARALLEL, False)) if shared else False
    options = {"parallel": threads, "pipeline_class": compiler(), **_OPTIONS}
    return cached_if_possible(lambda cache: numba.njit(cache=cache, **options)(copy))


def _compiled_globals(function: Callable[..., Any]) -> dict[str, Any]:
    """The function's globals, with prange and the helpers as Numba needs them."""
    import numba

    names: dict[str, Any] = dict(function.__globals__)
    if names.get("prange") is prange:
        names["prange"] = numba.prange
    for name in function.__code__.co_names:
        helper = names.get(name)
        if isinstance(helper, types.FunctionType) and helper in _inlined:
            names[name] = _compiled_helper(helper)
        elif isinstance(helper, types.FunctionType) and helper in _generated:
            from minicnn.kernels import machine_code

            names[name] = getattr(machine_code, name)
    return names


def _compiled_helper(helper: Callable[..., Any]) -> Any:
    import numba

    if _inlined[helper] is None:
        copy = types.FunctionType(helper.__code__, _compiled_globals(helper), helper.__name__, helper.__defaults__)
        copy.__module__, copy.__qualname__ = helper.__module__, helper.__qualname__
        _inlined[helper] = numba.njit(no_cpython_wrapper=True, **_OPTIONS)(copy)
    return _inlined[helper]


_PATIENCE = 1.0
"""Seconds of compiling after which the user is told."""

_compiling_noticed = False


@contextmanager
def notice_of_compiling() -> Iterator[None]:
    """Tell the user, once a process, that kernels are compiled, if it takes long. Compiling is done in it."""
    timer = threading.Timer(_PATIENCE, _tell_of_compiling)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell_of_compiling() -> None:
    global _compiling_noticed
    if not _compiling_noticed:
        _compiling_noticed = True
        often = "in each process" if kernel_cache.is_missing() else "once on this machine"
        print(f"minicnn: compiling kernels, {often}: some 20 seconds.", file=sys.stderr, flush=True)


def _workqueue_guard() -> Any:
    """A lock under workqueue, or while Numba has not chosen its threading layer; nothing under OpenMP and TBB."""
    global _pool_is_reentrant
    _pool_is_reentrant = _threading_layer() not in (None, "workqueue")
    return nullcontext() if _pool_is_reentrant else _entry_lock


def _thread_count() -> Any:
    """Numba on as many threads as set_num_threads said; nothing where it was not called, or they are as many."""
    if _threads is None:
        return nullcontext()
    before = sys.modules["numba"].get_num_threads()  # imported, where a kernel is compiled
    return nullcontext() if before == _threads else _limited_to(_threads, before)


@contextmanager
def _limited_to(count: int, before: int) -> Iterator[None]:
    """Numba's own setting, which the caller's Numba code may rely on, comes back afterwards."""
    import numba

    numba.set_num_threads(count)  # for this Python thread
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _before_the_first_kernel() -> None:
    global _parallel_started
    if not _parallel_started:
        _prepare_process()
        _parallel_started = True


def _prepare_process() -> None:
    """Two settings for the process, before the first kernel runs; neither changes a result.

    Waiting: GNU's OpenMP lets a thread that waits for the others spin for 300,000 rounds, milliseconds, before it
    sleeps (libgomp's manual, GOMP_SPINCOUNT). Where another process holds a core, that is a core lost to the very
    thread that is waited for: a training step of LeNet-5 took 220 ms beside a busy process, and 7 ms with 10,000
    rounds. Set by the caller, it stays; child processes inherit it, and where another library has loaded OpenMP before,
    it comes too late.

    Memory: glibc gives freed memory back to the system beyond a threshold, and has it cleared anew at the next
    step: 3,000 page faults and 6 ms a step. It raises the threshold to the largest block that it saw freed, up
    to 32 MB (man mallopt, M_MMAP_THRESHOLD), so one block is taken and freed here, untouched.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    np.empty(31 << 20, np.uint8)


def set_num_threads(count: int) -> None:
    """How many threads kernels use from now on, in every Python thread; the caller's own Numba code keeps its number.

    Raises ConfigError unless count is an integer from 1 to the size of Numba's pool.
    """
    global _threads
    import numba

    limit = numba.config.NUMBA_NUM_THREADS
    if isinstance(count, bool) or not isinstance(count, Integral) or not 1 <= count <= limit:
        raise ConfigError(f"set_num_threads: count must be an integer from 1 to {limit}, got {count!r}.")
    _threads = int(count)


def get_num_threads() -> int:
    """How many threads kernels use: as set_num_threads said, or else Numba's own number for this Python thread."""
    import numba

    if _threads is not None:
        return _threads
    if _threading_layer() is None:  # asked then, Numba would start its pool
        return int(numba.config.NUMBA_NUM_THREADS)
    return int(numba.get_num_threads())
