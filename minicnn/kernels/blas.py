"""One thread pool at a time: BLAS keeps to one thread while kernels run.

Numba's threads and those of OpenBLAS spin against each other: on two cores a training step of LeNet-5 takes 7 ms with
this and 23 ms without, one of the sheet's first model 18 and 52. Kernels therefore split large products
themselves and call BLAS from each of their own threads.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_users = 0
_controller: Any = None
_limiter: Any = None


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """BLAS on one thread for the whole process inside the block; the caller's setting comes back after it.

    Nested blocks and blocks in several Python threads are counted: the first one limits, the last one restores.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _users, _controller, _limiter
    with _lock:
        if _controller is None:
            import scipy.linalg.cython_blas  # noqa: F401  SciPy's own copy of OpenBLAS, which Numba's np.dot calls
            from threadpoolctl import ThreadpoolController

            _controller = ThreadpoolController()  # sees the libraries that are loaded now
        if _users == 0:
            _let_any_thread_set_openblas()
            _limiter = _controller.limit(limits=1, user_api="blas")
        _users += 1


def _leave() -> None:
    global _users, _limiter
    with _lock:
        _users -= 1
        if _users == 0:
            _let_any_thread_set_openblas()
            _limiter.restore_original_limits()
            _let_any_thread_set_openblas()
            _limiter = None


def _let_any_thread_set_openblas() -> None:
    """threadpoolctl 3.8 and later ignore every Python thread but the first that set OpenBLAS's threads.

    Here one thread may enter and another be the last to leave, so each takes the right to itself, under the lock.
    """
    from threadpoolctl import OpenBLASController

    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)
