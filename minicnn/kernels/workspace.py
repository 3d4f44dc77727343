"""Large arrays that are used again: a pool of memory behind the results of fused steps.

The C library takes blocks beyond 32 MB from the system and gives them back at once (jit.py tells of smaller ones), so
an array as large as a wide layer's output costs a page fault for each 4 kB, every time: 8.2 ms instead of 2.2 for the
first convolution of the sheet's exercise 7.1, whose output is 33.6 MB. `empty` lends such an array from a pool; when
the last reference to it is gone its memory goes back there by itself, whichever thread that happens in. Two arrays
that are alive never share memory.
"""

import math
import weakref
from collections import deque
from typing import Any

import numpy as np

from minicnn.typing import Array

SMALLEST = 16 << 20
"""Bytes from which memory is pooled."""

KEPT, KEPT_BYTES = 8, 1 << 30
"""Blocks that the pool keeps while nobody uses them, and their bytes altogether. With four, the sheet's cnn_cifar10 in
batches of 1024 takes one from the system in each step: 43,000 page faults, a tenth of its time."""

_free: deque[Array] = deque()


class _Loan:
    """What an array on a block has as its base: its end of life gives the block back.

    Not an array itself, since NumPy lets a view of a view refer to the owner of the memory directly.
    """

    def __init__(self, block: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.__array_interface__ = {**block.__array_interface__, "shape": shape, "typestr": dtype.str}
        weakref.finalize(self, _give_back, block).atexit = False  # what the process ends with stays in use


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """np.empty, from the pool if it is large."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    return np.asarray(_Loan(_take(size), shape, np.dtype(dtype)))


def release() -> None:
    """Give the system back what nobody uses."""
    _free.clear()


def _take(size: int) -> Array:
    """A free block that is large enough and at most twice as large as need be, or a new one."""
    for _ in range(len(_free)):
        try:
            block = _free.popleft()  # another thread may take it in between: each takes one whole
        except IndexError:
            break
        if size <= block.size <= 2 * size:
            return block
        _free.append(block)
    return np.empty(size, np.uint8)


def _give_back(block: Array) -> None:
    _free.append(block)
    while len(_free) > KEPT or sum(free.size for free in list(_free)) > KEPT_BYTES:
        try:
            _free.popleft()
        except IndexError:
            break
