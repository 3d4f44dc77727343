"""Convolution of one image or two, its bias and activation, with the kernel read where it lies.

On small maps so few images use each number of the kernel a few times only, and to pack it (valid_taps.py) or to
transform it (winograd.py) takes longer than that spares. Here each tap is a product as in valid_taps.py,

    z[p,q,:] += x[h,w,:] · kernel[i,j,:,:]   for all (p, q) with (h, w) on the map,   y = f(z + bias)

whose second factor, kernel[i,j], is rows of filters side by side already: what a tile product wants. The positions of
one row (p, ·) are the rows of a product; the kernel is read once from memory, and for the next row from the cache.

Gained on two cores of an AVX-512 Xeon: 8x8x128 to 256 takes 0.6 of the time of Winograd's algorithm, 6x6x64 to 64 0.4;
one image of the sheet's cnn_cifar10 takes 0.8 of what it took. Parts of the channels as tasks of their own, with sums
to be added, were tried for maps up to 4x4: 0.8 to 1.04 times as fast on the AlexNets.
"""

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.dense import TASKS
from minicnn.kernels.fused import activate
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.taps import tap_on_map
from minicnn.kernels.tiles import Tiling, rows_product, zeroed_lines_of_cache
from minicnn.typing import Array

DEPTH = 128
"""Channels of one product, whose rows of the kernel stay in the second-level cache for the next row of positions."""


@inlined
def add_tap(
    x: Array, kernel: Array, windows: Windows, tap: int, first_line: int, last_line: int,
    first: int, used: int, tiling: Tiling, sums: Array,
) -> None:  # fmt: skip
    """A tap's products for some rows of positions, for `used` filters from `first` on, added to sums.

    A line is a row of positions, numbered through all images. sums: flat, of all positions (N·OH·OW, widest).
    """
    _, h, w, channels = x.shape
    sh, sw, oh, ow, filters = windows.sh, windows.sw, windows.oh, windows.ow, kernel.shape[3]
    down, right, p0, p1, q0, q1 = tap_on_map(tap, windows, h, w)
    if q1 == q0:
        return
    flat_x, flat_kernel = x.reshape(-1), kernel.reshape(-1)
    for c in range(0, channels, DEPTH):
        for line in range(first_line, last_line):
            image, p = line // oh, line % oh
            if p0 <= p < p1:
                pixel = (image * h + p * sh + down) * w + q0 * sw + right
                rows_product(
                    flat_x, pixel * channels + c, sw * channels, 1, 0,
                    flat_kernel, (tap * channels + c) * filters + first, filters, 0,
                    sums, (line * ow + q0) * tiling.widest, tiling.widest,
                    min(DEPTH, channels - c), 1, q1 - q0, used, True, tiling,
                )  # fmt: skip


def few_images_loops(x: Array, kernel: Array, bias: Array, windows: Windows, code: int, tiling: Tiling) -> Array:
    """y = f(convolution + bias), (N, OH, OW, F), for x (N, H, W, C) and kernel (KH, KW, C, F) with F whole vectors.

    Any strides and dilation; code: of the activation (fused.py). One task a panel of filters on a band of lines.
    """
    n, filters, width = x.shape[0], kernel.shape[3], tiling.widest
    lines, ow = n * windows.oh, windows.ow
    y = np.empty((n, windows.oh, ow, filters), x.dtype)
    rows = y.reshape(lines * ow, filters)
    panels = (filters + width - 1) // width
    bands = min(lines, (TASKS + panels - 1) // panels)
    sums = zeroed_lines_of_cache(panels * lines * ow * width, x).reshape(panels, lines * ow, width)
    for task in prange(panels * bands):
        panel, band = task // bands, task % bands
        first_line, last_line = band * lines // bands, (band + 1) * lines // bands
        first = panel * width
        used = min(width, filters - first)
        for tap in range(windows.kh * windows.kw):
            add_tap(x, kernel, windows, tap, first_line, last_line, first, used, tiling, sums[panel].reshape(-1))
        here = slice(first, first + used)
        for position in range(first_line * ow, last_line * ow):
            activate(sums[panel, position, :used], bias[here], code, rows[position, here])
    return y


few_images = compiled(few_images_loops)
