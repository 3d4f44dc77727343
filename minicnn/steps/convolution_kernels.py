"""The forward loops of ConvolutionStep: a convolution, its bias, its activation and perhaps a 2x2 pool.

    y = pool(f(convolution(x) + bias))

What LayerStep does in four passes over maps that do not fit the cache happens here to one row of windows while it is in
the first-level cache; neither z nor f(z) of a pooled layer is ever written to memory, and no im2col buffer is made.
Where a 2x2 pool follows, the row's four parts (even and odd windows of an even and an odd row) are computed as four
runs of one length, so that pooling is arithmetic on whole runs. The reference is the layers' own code: tests hold both
equal.

Gained against blocked im2col and one pass for each operation: compile(steps="layers") runs those, and bench/kernels.py
has the times of this.

How near that comes to the limit depends on the length of a window's sum. With 32 channels it was 79 to 95 %, before
winograd.py took those. A first convolution has one channel or three. With 3x3 and 5x5 kernels its results are sums of 9
to 75 products, and what is done with each of them (bias, activation, the pool's choice, the store) takes as long again
and counts nothing: 16 to 53 % on MNIST, 26 to 48 on CIFAR-10 in training with the normalization, whose two passes over
the whole map count by their bytes alone, and 68 in predicting, which spares them (pooled_kernels.py). The AlexNets',
sums of 144 and 363 products without a pool, reach 62 to 77 %. LeNet's second (52 and 53 % in the backward pass) has 16
filters, a tile of one vector, in which every multiplication loads a number of its own; tiles of three vectors load one
for three. These figures are of an AMD EPYC (bench/results/kernels_epyc.md); on an AVX-512 Xeon, whose products run half
as fast again, it is 9 to 37 %, 16 to 26, 45 and 49, 36 to 65, and 37 and 34 (kernels.md).
"""

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.direct import convolve_planes, convolve_row
from minicnn.kernels.fused import activate
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.tiles import Tiling, lines_of_cache, whole_vectors
from minicnn.steps.convolution_layout import (
    SLOTS,
    Layout,
    bands_per_image,
    frame_sample,
    layout_of,
    packed_kernel,
    place_row,
)
from minicnn.steps.pool_parts import AVERAGE_POOL, MAX_POOL, max_of_parts, mean_of_parts
from minicnn.typing import Array


@inlined
def split_planes(planes: Array, row: int, first: int, step: int, count: int, filters: int, z: Array) -> None:
    """z[f, q] = planes[f, first + step·q] for q < count; step is 1 or 2."""
    for f in range(filters):
        source, target = planes[f * row + first : (f + 1) * row], z[f * count : (f + 1) * count]
        if step == 2:  # a number the compiler knows makes vector code of it
            for q in range(count):
                target[q] = source[2 * q]
        else:
            for q in range(count):
                target[q] = source[q]


@inlined
def biases_of_parts(bias: Array, parts: int, count: int, few: bool, filled: int) -> Array:
    """The bias (F,) of each number of z, in the order that convolve_rows gives it: `count` windows a part."""
    length = count * filled
    biases = np.zeros(parts * length, bias.dtype)
    for part in range(parts):
        for q in range(count):
            for f in range(bias.size):
                biases[part * length + (f * count + q if few else q * filled + f)] = bias[f]
    return biases


@inlined
def convolve_rows(
    image: Array, corner: int, first: int, last: int, channels: int, windows: Windows, layout: Layout, pool: int,
    code: int, few: bool, packed: Array, filters: int, biases: Array, count: int, z: Array, planes: Array,
    pooled: Array, chosen: Array, y: Array, index: Array, tiling: Tiling,
) -> None:  # fmt: skip
    """Rows first <= p < last of one image's y and, unless empty, index: both (P·Q·F,).

    corner: the place of the first window's first number in the flat image. Workspaces: z, the parts of a row, one
    after the other, each (Q, F') or with few filters (F, Q); planes, for few filters; pooled and chosen, a row of y
    and index in z's order, empty where that is theirs.

    All that is done to a row stands here: as two helpers, called with so many arrays for each row, it made the forward
    pass of LeNet's first layer 15 % slower.
    """
    step, length = 2 if pool else 1, count * layout.filled
    across, windows_filled = windows.sw * channels, whole_vectors(count * step, tiling.lanes)
    in_place = pooled.size == 0
    for p in range(first, last):
        for r in range(step):
            start = corner + (step * p + r) * windows.sh * layout.row
            if few:
                convolve_planes(
                    image, start, layout.width, windows.kh * channels, windows.kw, packed, filters, planes,
                    windows_filled, tiling,
                )  # fmt: skip
            for s in range(step):
                part = (step * r + s) * length
                if few:
                    split_planes(planes, windows_filled, s, step, count, filters, z[part : part + length])
                else:
                    convolve_row(
                        image, start + s * across, layout.row, windows.kw * channels, windows.kh, step * across, packed,
                        z, part, count, layout.filled, tiling,
                    )  # fmt: skip
        row, end = p * count * filters, (p + 1) * count * filters
        results = y[row:end] if in_place else pooled
        kept = index[row:end] if in_place else chosen
        if pool == AVERAGE_POOL:
            mean_of_parts(z, biases, results, kept)
        else:
            largest = max_of_parts(z, biases, code, kept) if pool == MAX_POOL else z
            activate(largest, biases, code, results)
        if not in_place:
            stride = count if few else layout.filled
            place_row(pooled, few, stride, count, filters, y[row:end])
            if index.size:
                place_row(chosen, few, stride, count, filters, index[row:end])


def convolution_forward_loops(
    x: Array, kernel: Array, bias: Array, windows: Windows, pool: int, code: int, few: bool, tiling: Tiling,
    y: Array, index: Array,
) -> None:  # fmt: skip
    """Write y (N, P, Q, F) from x (N, H, W, C), where (P, Q) is (OH, OW), or half of it, rounded down, with a pool.

    few: vectors over windows instead of filters (direct.py); SW must be 1. index: uint8 of y's shape, what the backward
    pass will need of a pool; or empty. Images are dealt to SLOTS parts; few images are cut into bands of rows.
    """
    n, h, w, channels = x.shape
    filters, step = kernel.shape[3], 2 if pool else 1
    rows, count = windows.oh // step, windows.ow // step  # of y; count is also the windows of one part of a row
    windows_filled = whole_vectors(count * step, tiling.lanes)
    layout = Layout(*layout_of(x, filters, windows, few, windows_filled, tiling))
    packed = packed_kernel(kernel, few, layout.filled, tiling)
    biases = biases_of_parts(bias, step * step, count, few, layout.filled)
    flat_x, flat_y, flat_index = x.reshape(-1), y.reshape(-1), index.reshape(-1)
    in_place = filters == layout.filled and not few

    bands, size = bands_per_image(n, rows), rows * count * filters
    slots = min(SLOTS, n * bands)
    for slot in prange(slots):
        frame = np.zeros(layout.height * layout.row if layout.framed else 0, x.dtype)
        z = lines_of_cache(biases.size, x)
        planes = lines_of_cache(filters * windows_filled if few else 0, x)
        pooled = np.empty(0 if in_place else count * layout.filled, x.dtype)
        chosen = np.empty(pooled.size if index.size else 0, np.uint8)
        for unit in range(slot, n * bands, slots):
            sample, band = unit // bands, unit % bands
            image, corner = flat_x, sample * h * w * channels
            if layout.framed:
                frame_sample(x[sample], few, windows.top, windows.left, layout.height, frame)
                image, corner = frame, 0
            convolve_rows(
                image, corner, band * rows // bands, (band + 1) * rows // bands, channels, windows, layout, pool, code,
                few, packed, filters, biases, count, z, planes, pooled, chosen,
                flat_y[sample * size : (sample + 1) * size], flat_index[sample * size : (sample + 1) * size], tiling,
            )  # fmt: skip


convolution_forward = compiled(convolution_forward_loops)
