"""Settings of the whole process. None of them changes a result."""

from minicnn.kernels.jit import get_num_threads, set_num_threads

__all__ = ["get_num_threads", "set_num_threads"]
