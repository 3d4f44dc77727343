"""Where the images, kernels and results of a fused convolution lie in memory, and how images are dealt to threads.

Shared by the loops of ConvolutionStep, forward (convolution_kernels.py) and back (convolution_backward.py), and by
those of predicting through a pool (pooled_kernels.py). `few` is the variant for few filters everywhere (direct.py).
"""

from typing import NamedTuple

from minicnn.geometry import Windows
from minicnn.kernels.direct import frame_image, frame_planes, pack_columns, pack_planes
from minicnn.kernels.jit import inlined
from minicnn.kernels.tiles import Tiling, lines_of_cache, whole_vectors
from minicnn.typing import Array

SLOTS = 8
"""Parts that the images are dealt to: a fixed number, so that sums over images do not depend on the threads."""


class Layout(NamedTuple):
    """How one image and the results of its windows lie in memory.

    filled: numbers a window in z or dz, F' or with few filters F. height, width: pixels of the frame, the image with
    the zeros that its windows reach. row: numbers of one row of it. framed: whether such a copy is made; where no
    window leaves the map, the image is read where it is, and height, width and row are its own.

    Kernels make it as Layout(*layout_of(...)): a named tuple that Numba's parallel loops read must be made, by its
    name, in the function that they stand in.
    """

    filled: int
    height: int
    width: int
    row: int
    framed: bool


@inlined
def layout_of(
    x: Array, filters: int, windows: Windows, few: bool, reach: int, tiling: Tiling
) -> tuple[int, int, int, int, bool]:
    """The Layout for images x (N, H, W, C). reach: the windows, filled up to whole vectors, that the forward pass
    takes from a row of pixels if filters are few; 0 in the backward pass."""
    _, h, w, channels = x.shape
    height = frame_size(h, windows.top, windows.oh, windows.sh, windows.kh)
    width = frame_size(w, windows.left, windows.ow, windows.sw, windows.kw)
    width = max(width, reach + windows.kw - 1 if few else 0)
    framed = few or height > h or width > w
    filled = filters if few else whole_vectors(filters, tiling.lanes)
    return filled, height, width, width * channels, framed


@inlined
def frame_size(size: int, before: int, out: int, stride: int, extent: int) -> int:
    """The length of an axis with the zeros that its windows reach: before it, and after it if need be."""
    return max(before + size, (out - 1) * stride + extent)


@inlined
def bands_per_image(n: int, rows: int) -> int:
    """Into how many bands the rows of an image are cut: several where images are few, so that one keeps all cores
    busy."""
    return 1 if n >= SLOTS else min(rows, (SLOTS + n - 1) // max(n, 1))


@inlined
def packed_kernel(kernel: Array, few: bool, filled: int, tiling: Tiling) -> Array:
    """A kernel (KH, KW, C, F) in the order in which the forward pass reads it, flat."""
    kh, kw, channels, filters = kernel.shape
    packed = lines_of_cache(kh * kw * channels * filled, kernel)
    if few:
        pack_planes(kernel, packed)
    else:
        pack_columns(kernel.reshape(kh * kw * channels, filters), tiling, packed)
    return packed


@inlined
def frame_sample(sample: Array, few: bool, top: int, left: int, height: int, frame: Array) -> None:
    """Copy an image (H, W, C) into a flat frame of zeros of that height: in planes with few filters, else as it is."""
    rows, columns, channels = sample.shape
    if few:
        frame_planes(sample, top, left, frame.reshape(height, channels, frame.size // (height * channels)))
    else:
        frame_image(
            sample.reshape(rows, columns * channels), top, left * channels, frame.reshape(height, frame.size // height)
        )


@inlined
def place_row(line: Array, few: bool, stride: int, count: int, filters: int, target: Array) -> None:
    """target[q, f] from a line in the order of the vectors: [f, q] with few filters, else [q, f], `stride` apart."""
    if few:
        for f in range(filters):
            for q in range(count):
                target[q * filters + f] = line[f * stride + q]
    else:
        for q in range(count):
            for f in range(filters):
                target[q * filters + f] = line[q * stride + f]
