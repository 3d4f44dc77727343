"""Convolution of one image or two, its bias and activation, with the kernel read where it lies.

On small maps so few images use each number of the kernel a few times only, and to pack it (valid_taps.py) or to
transform it (winograd.py) takes longer than that spares. Here each tap is a product as in valid_taps.py,

    z[p,q,:] += x[h,w,:] · kernel[i,j,:,:]   for all (p, q) with (h, w) on the map,   y = f(z + bias)

whose second factor, kernel[i,j], is rows of filters side by side already: what a tile product wants. The positions of
one row (p, ·) are the rows of a product; the kernel is read once from memory, and for the next row from the cache.

Gained on two cores of an AVX-512 Xeon, one image: the four small convolutions of the sheet's AlexNet take 0.6 of the
time of a loop over the kernel's rows; 8x8x128 to 256 takes 0.6 of the time of Winograd's algorithm, 6x6x64 to 64 0.4.
"""

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.dense import TASKS, add_slots_activated
from minicnn.kernels.fused import activate
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.taps import tap_on_map
from minicnn.kernels.tiles import Tiling, rows_product, zeroed_lines_of_cache
from minicnn.typing import Array

DEPTH = 128
"""Channels of one product, whose rows of the kernel stay in the second-level cache for the next row of positions."""

SMALL_MAP = 16
"""Positions up to which it is the channels that are cut, with sums for each part. The kernel is by far the largest
operand then, and a part of the channels is a long run of memory: on 2x2 1.3 to 1.8 times as fast as one task a panel of
filters, which reads 256 bytes of each row. On 8x8 the sums cost more than that gains (0.8)."""


@inlined
def add_tap(
    x: Array, kernel: Array, windows: Windows, tap: int, first_line: int, last_line: int, begin: int, end: int,
    first: int, used: int, tiling: Tiling, sums: Array, origin: int, stride: int,
) -> None:  # fmt: skip
    """A tap's products for some rows of positions, over the channels begin <= c < end, for `used` filters from `first`
    on, added to sums.

    A line is a row of positions, numbered through all images. sums: flat; the numbers of the first position of all
    begin at `origin`, those of each next one `stride` behind.
    """
    _, h, w, channels = x.shape
    sh, sw, oh, ow, filters = windows.sh, windows.sw, windows.oh, windows.ow, kernel.shape[3]
    down, right, p0, p1, q0, q1 = tap_on_map(tap, windows, h, w)
    if q1 == q0:
        return
    flat_x, flat_kernel = x.reshape(-1), kernel.reshape(-1)
    for c in range(begin, end, DEPTH):
        for line in range(first_line, last_line):
            image, p = line // oh, line % oh
            if p0 <= p < p1:
                pixel = (image * h + p * sh + down) * w + q0 * sw + right
                rows_product(
                    flat_x, pixel * channels + c, sw * channels, 1, 0,
                    flat_kernel, (tap * channels + c) * filters + first, filters, 0,
                    sums, origin + (line * ow + q0) * stride, stride,
                    min(DEPTH, end - c), 1, q1 - q0, used, True, tiling,
                )  # fmt: skip


def few_by_channels_loops(x: Array, kernel: Array, bias: Array, windows: Windows, code: int, tiling: Tiling) -> Array:
    """few_images for small maps, one task a part of the channels."""
    n, channels, filters = x.shape[0], x.shape[3], kernel.shape[3]
    y = np.empty((n, windows.oh, windows.ow, filters), x.dtype)
    rows = y.reshape(n * windows.oh * windows.ow, filters)
    sums = zeroed_lines_of_cache(TASKS * y.size, x)
    for part in prange(TASKS):
        begin, end = part * channels // TASKS, (part + 1) * channels // TASKS
        for tap in range(windows.kh * windows.kw):
            for first in range(0, filters, tiling.widest):
                used = min(tiling.widest, filters - first)
                add_tap(
                    x, kernel, windows, tap, 0, n * windows.oh, begin, end,
                    first, used, tiling, sums, part * y.size + first, filters,
                )  # fmt: skip
    add_slots_activated(sums.reshape(TASKS, len(rows), filters), bias, code, rows)
    return y


def few_by_filters_loops(x: Array, kernel: Array, bias: Array, windows: Windows, code: int, tiling: Tiling) -> Array:
    """few_images for other maps, one task a panel of filters on a band of lines."""
    n, filters, width = x.shape[0], kernel.shape[3], tiling.widest
    lines, ow = n * windows.oh, windows.ow
    y = np.empty((n, windows.oh, ow, filters), x.dtype)
    rows = y.reshape(lines * ow, filters)
    panels = (filters + width - 1) // width
    bands = min(lines, (TASKS + panels - 1) // panels)
    sums = zeroed_lines_of_cache(panels * lines * ow * width, x)
    by_panel = sums.reshape(panels, lines * ow, width)
    for task in prange(panels * bands):
        panel, band = task // bands, task % bands
        first_line, last_line = band * lines // bands, (band + 1) * lines // bands
        first = panel * width
        used = min(width, filters - first)
        for tap in range(windows.kh * windows.kw):
            add_tap(
                x, kernel, windows, tap, first_line, last_line, 0, x.shape[3],
                first, used, tiling, sums, panel * lines * ow * width, width,
            )  # fmt: skip
        here = slice(first, first + used)
        for position in range(first_line * ow, last_line * ow):
            activate(by_panel[panel, position, :used], bias[here], code, rows[position, here])
    return y


few_by_channels = compiled(few_by_channels_loops)
few_by_filters = compiled(few_by_filters_loops)


def few_images(x: Array, kernel: Array, bias: Array, windows: Windows, code: int, tiling: Tiling) -> Array:
    """y = f(convolution + bias), (N, OH, OW, F), for x (N, H, W, C) and kernel (KH, KW, C, F) with F whole vectors.

    Any strides and dilation; code: of the activation (fused.py).
    """
    small = windows.oh * windows.ow <= SMALL_MAP
    return (few_by_channels if small else few_by_filters)(x, kernel, bias, windows, code, tiling)
