"""From Keras's layouts to PyTorch's, in NumPy alone.

Keras keeps maps as (N, H, W, C), PyTorch computes on (N, C, H, W): kernels change their axes, and the dense layer after
Flatten takes its inputs in another order.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def convolution_kernel(kernel: Array) -> Array:
    """(KH, KW, C, F) to (F, C, KH, KW)."""
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


def dense_kernel(kernel: Array, flattened_map: tuple[int, int, int] | None) -> Array:
    """(in, out) to (out, in). flattened_map: (H, W, C) of the map that Flatten made the input from, else None."""
    if flattened_map is not None:
        height, width, channels = flattened_map
        kernel = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(len(kernel), -1)
    return np.ascontiguousarray(kernel.T)


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Pixels before and after a map of this size, as TensorFlow pads for "same": an odd one goes after it."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def windows_of(size: int, window: int, stride: int, padding: str) -> int:
    """How many windows fit along a map of this size."""
    return -(-size // stride) if padding == "same" else (size - window) // stride + 1


def ceil_mode_is_same(size: int, window: int, stride: int) -> bool:
    """Whether PyTorch's ceil_mode, without padding, places the windows of a pooling as "same" does.

    So it is where only the end is padded: the last window then hangs over the border in both.
    """
    before, after = same_padding(size, window, stride)
    hanging = -(-(size - window) // stride) + 1
    return before == 0 and (after == 0 or hanging == windows_of(size, window, stride, "same"))
