"""Convolution over the taps that lie on the map, with bias and activation: for small maps, and for dense layers.

A tap is one pixel (i, j) of the kernel. On a 2x2 map with 'same' padding a 3x3 kernel meets 16 pixels in all, and 20
zeros of the padding, which im2col copies and multiplies like numbers. Here the sum runs tap by tap over the positions
where the tap lies on the map:

    z[:,p,q,:] += x[:,h,w,:] · kernel[i,j,:,:]   for all (p, q) with (h, w) on the map,   y = f(z + bias)

which is one product of matrices (N, C) · (C, F) each time. A dense layer is the case of one tap and one position.

Throughout: x (N, H, W, C), kernel (KH, KW, C, F), bias (F,), y and dy (N, OH, OW, F), windows as in convolution.py with
any strides and dilation, code an activation of fused.py, tiling of tiles.py.

The products are tile products, on operands packed in panels as wide as the widest tile, so that a tile finds its rows
of the second factor side by side. (BLAS takes contiguous matrices only, when called on one thread for each product, and
is slower on these sizes.) Work is dealt out in parts that follow from the shapes, and each sum is made by one thread in
one order. Gained on two cores of an AVX-512 Xeon at batch 128, forward and backward: the four small convolutions of the
sheet's AlexNet take 24 ms instead of 222 with blocked im2col and BLAS, its dense layer 4096x4096 42 instead of 94.

Of its limit that dense layer reaches 87 to 101 % on an AMD EPYC at batch 64 and 128 (bench/results/kernels_epyc.md),
and on a Xeon, whose products run half as fast again, 69 to 81 (kernels.md): packing its 64 MB takes 2.7 ms of each pass
there, however many images share them, and no product runs meanwhile. (Packed once for many batches they are read from
memory all the same: 1.02 times as fast.) One image or two go through few_images.py where filters are whole vectors, few
through a large dense layer by dense_updates.py, and the AlexNets' convolutions from 48 images of a call on, in training
from batches of 96, through toeplitz.py.

Source of the product for each tap: Vasudevan, Anderson and Gregg 2017, "Parallel multi channel convolution using
general matrix multiplication". Here the taps in the padding are left out of it.
"""

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.fused import activate, activation_gradient
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.taps import Tap, pack_panels, tap_on_map, transpose
from minicnn.kernels.tiles import Tiling, lines_of_cache, rows_product, whole_vectors, with_rows, zeroed_lines_of_cache
from minicnn.typing import Array

DEPTH = 256
"""Channels of one product. DEPTH rows of the widest panel, 64 KB with AVX-512, come from the second-level cache, fast
enough for the products. Half as many stay in the first, but then sums are read and written twice as often: a dense
layer 4096x4096 takes 1.03 times as long for 256 images, and the same time for 128 (an AMD EPYC)."""

COLUMNS = 512
"""Filters that one task packs at once, at most. Short runs of memory are read at half the speed of long ones."""

SUMS = 1 << 17
"""Numbers of y that one task holds at once, about: half a megabyte, in the second-level cache."""

TASKS = 4
"""Into how many parts work is cut at least, where it is large enough."""

CHANNELS = 256
"""Channels whose gradients one task computes, at most."""

PAGE, ROWS = 4096, 6
"""How many rows of the kernel are read side by side for dx where they lie a multiple of PAGE bytes apart.

Lines of all these rows share one set of the first-level cache, which holds eight or twelve. dx through a dense layer
4096x4096 takes 0.7 of the time for 3 to 16 images, which would have 16 rows in a tile, and 0.74 to 0.98 for 32, which
would have 14 (an AMD EPYC). Where rows lie elsewhere, large tiles are up to 1.1 times as fast.
"""

GROUP = 24
"""Rows of the kernel's gradient that are written together: a few tiles."""

DZ_BYTES = 1 << 18
"""Bytes of dz that a group of rows runs through before the next group comes: they stay in the second-level cache."""


# ---------------------------------------------------------------- forward


@inlined
def filters_together(n: int, positions: int, filters: int, width: int) -> tuple[int, int]:
    """How many filters one task computes, a multiple of width, and into how many parts the images are cut."""
    columns = max(1, COLUMNS // width) * width
    while columns > width and (columns * TASKS > filters or columns * positions * min(n, 32) > SUMS):
        columns -= width
    images = max(1, SUMS // (positions * columns))
    parts = (n + images - 1) // images
    while parts * ((filters + columns - 1) // columns) < TASKS and n >= 16 * (parts + 1):
        parts += 1
    return columns, parts


@inlined
def forward_block(
    x: Array, kernel: Array, bias: Array, windows: Windows, code: int, tiling: Tiling,
    image: int, images: int, first: int, last: int, columns: int, y: Array,
) -> None:  # fmt: skip
    """y of `images` images from `image` on, for the filters first <= f < last; columns: room for them, in panels."""
    _, h, w, channels = x.shape
    kh, kw, sh, sw, _, _, _, _, oh, ow = windows
    width = tiling.widest
    matrix = kernel.reshape(kh * kw * channels, kernel.shape[3])
    packed = lines_of_cache(columns * DEPTH, x).reshape(columns // width, DEPTH, width)
    sums = zeroed_lines_of_cache(oh * ow * images * columns, x).reshape(oh * ow * images, columns)
    flat_x, flat_packed, flat_sums = x.reshape(-1), packed.reshape(-1), sums.reshape(-1)
    for tap in range(kh * kw):
        down, right, p0, p1, q0, q1 = tap_on_map(tap, windows, h, w)
        if p1 == p0 or q1 == q0:
            continue
        for c in range(0, channels, DEPTH):
            depth = min(DEPTH, channels - c)
            pack_panels(matrix, tap * channels + c, depth, first, last, packed)
            for f in range(0, last - first, width):
                used = min(width, whole_vectors(last - first - f, tiling.lanes))
                for p in range(p0, p1):
                    for q in range(q0, q1):
                        pixel = (image * h + p * sh + down) * w + q * sw + right
                        rows_product(
                            flat_x, pixel * channels + c, h * w * channels, 1, 0,
                            flat_packed, f * DEPTH, width, 0,
                            flat_sums, (p * ow + q) * images * columns + f, columns,
                            depth, 1, images, used, True, tiling,
                        )  # fmt: skip
    for r in range(images):
        for p in range(oh):
            for q in range(ow):
                z = sums[(p * ow + q) * images + r, : last - first]
                activate(z, bias[first:last], code, y[image + r, p, q, first:last])


def valid_taps_blocked(x: Array, kernel: Array, bias: Array, windows: Windows, code: int, tiling: Tiling) -> Array:
    """y = f(convolution + bias), summed over the taps on the map; one task a block of filters and of images."""
    n, filters = x.shape[0], kernel.shape[3]
    y = np.empty((n, windows.oh, windows.ow, filters), x.dtype)
    columns, parts = filters_together(n, windows.oh * windows.ow, filters, tiling.widest)
    blocks = (filters + columns - 1) // columns
    for task in prange(parts * blocks):
        image = task // blocks * n // parts
        images = (task // blocks + 1) * n // parts - image
        first = task % blocks * columns
        last = min(filters, first + columns)
        forward_block(x, kernel, bias, windows, code, tiling, image, images, first, last, columns, y)
    return y


# ---------------------------------------------------------------- backward


@inlined
def output_gradients(
    dy: Array, y: Array, code: int, first: int, dz: Array, dzt: Array, dbias: Array, need_dx: bool
) -> None:
    """One panel of filters, from `first` on, of dz = dy · f'(z), and their sums over all positions, dbias.

    dy, y (N, P, F) with P = OH·OW; dz (P·N, width): a position's images side by side, zero beyond F. dzt
    (N / width, P·F, width), if needed: the same transposed, with images in panels.
    """
    n, positions, filters = dy.shape
    width = dz.shape[1]
    last = min(filters, first + width)
    sums = dbias[first:last]
    for f in range(sums.size):
        sums[f] = 0
    for position in range(positions):
        for r in range(n):
            row = dz[position * n + r]
            activation_gradient(dy[r, position, first:last], y[r, position, first:last], code, row[: last - first])
            for f in range(last - first, width):
                row[f] = 0
            for f in range(sums.size):
                sums[f] += row[f]
        if need_dx:
            for panel in range(dzt.shape[0]):
                image = panel * width
                images = min(width, n - image)
                for f in range(position * filters + first, position * filters + last):
                    for r in range(images, width):
                        dzt[panel, f, r] = 0
                source = dz[position * n + image : position * n + image + images]
                transpose(source, images, last - first, dzt[panel], position * filters + first, 0)


@inlined
def tap_gradient(
    features: Array, group: int, rows: int, dz: Array, panel: int, tap: Tap, windows: Windows, w: int, tiling: Tiling,
    matrix: Array, row: int, edge: Array,
) -> None:  # fmt: skip
    """matrix[row + r, panel's filters] = Σ over a tap's positions and the images of x · dz, for r < rows, channels of
    one group.

    features (H·W, groups, N, GROUP): x, of w pixels a row. dz as in kernel_gradient. matrix (KH·KW·C, F). edge: a
    workspace (GROUP, width).
    """
    _, groups, n, _ = features.shape
    filters, width = matrix.shape[1], edge.shape[1]
    first = panel * width
    count = min(width, filters - first)
    used = whole_vectors(count, tiling.lanes)
    target, place, stride = matrix, row * filters + first, filters
    if used != count:  # whole vectors would run over the end of the row
        target, place, stride = edge, 0, width
    for p in range(tap.p0, tap.p1):
        pixel = (p * windows.sh + tap.down) * w + tap.q0 * windows.sw + tap.right
        position = (panel * windows.oh + p) * windows.ow + tap.q0
        rows_product(
            features, (pixel * groups + group) * n * GROUP, 1, GROUP, windows.sw * groups * n * GROUP,
            dz, position * n * width, width, n * width,
            target, place, stride,
            n, tap.q1 - tap.q0, rows, used, p > tap.p0, tiling,
        )  # fmt: skip
    if used != count:
        for r in range(rows):
            for f in range(count):
                matrix[row + r, first + f] = edge[r, f]


@inlined
def kernel_gradient(
    x: Array, dz: Array, windows: Windows, tiling: Tiling, first: int, last: int, dkernel: Array
) -> None:
    """dkernel[i,j,c,:] = Σ over the positions of the tap of x[:,h,w,c] · dz[:,p,q,:], for first <= c < last.

    dz (panels, P·N, width). Channels are taken in groups of GROUP, filters in as many panels as DZ_BYTES hold.
    """
    n, h, w, channels = x.shape
    panels, _, width = dz.shape
    filters = dkernel.shape[3]
    matrix = dkernel.reshape(windows.kh * windows.kw * channels, filters)
    groups = (last - first + GROUP - 1) // GROUP
    # the block's channels of x, in panels of a group
    features = lines_of_cache(h * w * groups * n * GROUP, x).reshape(h * w, groups, n, GROUP)
    for pixel in range(h * w):
        pack_panels(x.reshape(n, -1), 0, n, pixel * channels + first, pixel * channels + last, features[pixel])
    edge = np.empty((GROUP, width), x.dtype)
    together = max(1, DZ_BYTES // max(1, dz[0].size * dz.itemsize))
    for some in range(0, panels, together):
        for group in range(groups):
            c = first + group * GROUP
            rows = min(GROUP, last - c)
            for number in range(windows.kh * windows.kw):
                tap, row = tap_on_map(number, windows, h, w), number * channels + c
                if tap.p1 == tap.p0 or tap.q1 == tap.q0:
                    matrix[row : row + rows, some * width : (some + together) * width] = 0
                else:
                    for panel in range(some, min(panels, some + together)):
                        tap_gradient(features, group, rows, dz, panel, tap, windows, w, tiling, matrix, row, edge)


@inlined
def input_gradient(
    dzt: Array, kernel: Array, windows: Windows, tiling: Tiling, first: int, last: int, dx: Array
) -> None:
    """dx[:,h,w,c] = Σ over the taps on (h, w) and their positions of kernel[i,j,c,:] · dz[:,p,q,:]ᵀ, first <= c < last.

    Made transposed, channels by images, so that the kernel, the largest operand, is the first factor of the
    product and is read as it lies in memory.
    """
    n, h, w, channels = dx.shape
    kh, kw, sh, sw, dh, dw, top, left, oh, ow = windows
    panels, _, width = dzt.shape
    filters = kernel.shape[3]
    rows = last - first
    matrix = dx.reshape(n, h * w * channels)
    sums = lines_of_cache(rows * panels * width, dx).reshape(rows, panels * width)
    flat_kernel, flat_dzt, flat_sums = kernel.reshape(-1), dzt.reshape(-1), sums.reshape(-1)
    tiles = with_rows(tiling, ROWS) if filters * kernel.itemsize % PAGE == 0 else tiling
    for pixel in range(h * w):
        empty = True
        for tap in range(kh * kw):
            p, q = pixel // w + top - tap // kw * dh, pixel % w + left - tap % kw * dw  # times the strides
            if p % sh != 0 or not 0 <= p < oh * sh or q % sw != 0 or not 0 <= q < ow * sw:
                continue
            position = p // sh * ow + q // sw
            for f in range(0, filters, COLUMNS):
                for panel in range(panels):
                    rows_product(
                        flat_kernel, (tap * channels + first) * filters + f, filters, 1, 0,
                        flat_dzt, ((panel * oh * ow + position) * filters + f) * width, width, 0,
                        flat_sums, panel * width, panels * width,
                        min(COLUMNS, filters - f), 1, rows, min(width, whole_vectors(n - panel * width, tiling.lanes)),
                        not empty, tiles,
                    )  # fmt: skip
                empty = False
        if empty:
            for r in range(n):
                for c in range(pixel * channels + first, pixel * channels + last):
                    matrix[r, c] = 0
        else:
            transpose(sums, rows, n, matrix, 0, pixel * channels + first)


def valid_taps_backward_blocked(
    dy: Array, y: Array, x: Array, kernel: Array, windows: Windows, code: int, tiling: Tiling,
    dkernel: Array, dbias: Array, need_dx: bool,
) -> Array:  # fmt: skip
    """The derivatives of valid_taps_blocked, from dy and y: dz = dy · f'(z), then those of the convolution.

    Overwrites dkernel and dbias; returns dx, or an empty array unless need_dx. One task a panel of filters for dz, a
    block of channels for dkernel and dx. dy may be y where the activation is linear.
    """
    n, h, w, channels = x.shape
    filters, positions, width = kernel.shape[3], windows.oh * windows.ow, tiling.widest
    panels = (filters + width - 1) // width
    dz = lines_of_cache(panels * positions * n * width, x).reshape(panels, positions * n, width)
    of_images = (n + width - 1) // width if need_dx else 0
    dzt = lines_of_cache(of_images * positions * filters * width, x).reshape(of_images, positions * filters, width)
    dy, y = dy.reshape(n, positions, filters), y.reshape(n, positions, filters)
    for panel in prange(panels):
        output_gradients(dy, y, code, panel * width, dz[panel], dzt, dbias, need_dx)
    dx = np.empty((n if need_dx else 0, h, w, channels), x.dtype)
    blocks = max(1, min(2 * TASKS, channels // GROUP), (channels + CHANNELS - 1) // CHANNELS)
    for block in prange(blocks):
        first, last = block * channels // blocks, (block + 1) * channels // blocks
        kernel_gradient(x, dz, windows, tiling, first, last, dkernel)
        if need_dx:
            input_gradient(dzt, kernel, windows, tiling, first, last, dx)
    return dx


valid_taps_numba = compiled(valid_taps_blocked)
valid_taps_backward_numba = compiled(valid_taps_backward_blocked)
