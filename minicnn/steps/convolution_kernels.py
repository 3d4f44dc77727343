"""The loops of ConvolutionStep: a convolution, its bias, its activation and perhaps a 2x2 pool, one image at a time.

    y = pool(f(convolution(x) + bias))

What LayerStep does in four passes over maps that do not fit the cache happens here to one row of windows while it is in
the first-level cache; neither z nor f(z) of a pooled layer is ever written to memory, and no im2col buffer is made.
Where a 2x2 pool follows, the row's four parts (even and odd windows of an even and an odd row) are computed as four
runs of one length, so that pooling is arithmetic on whole runs. The reference is the layers' own code: tests hold both
equal.

Gained against blocked im2col and one pass for each operation: compile(steps="layers") runs those, and bench/kernels.py
has the times of this.

How near that comes to the limit depends on the length of a window's sum. With 32 channels it is 79 to 95 %. A first
convolution has one channel or three: its results are sums of 9 to 75 products, and what is done with each of them
(bias, activation, the pool's choice, the store) takes as long again and counts nothing: 9 to 21 % on MNIST, 26 to 37
on CIFAR-10. LeNet's second (37 to 51 %) has 16 filters, a tile of one vector, in which every multiplication loads a
number of its own; tiles of three vectors load one for three. The gradient of LeNet's first kernel (9 %) fills 5 of 16
lanes.
"""

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.dense import add_slots
from minicnn.kernels.direct import (
    add_kernel_gradient,
    add_scattered,
    add_turned_kernel_gradient,
    convolve_planes,
    convolve_row,
    frame_image,
    pack_columns,
)
from minicnn.kernels.fused import RELU, activate, activation_gradient
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.tiles import Tiling, lines_of_cache, whole_vectors, zeroed_lines_of_cache
from minicnn.steps.convolution_layout import (
    SLOTS,
    Layout,
    bands_per_image,
    frame_sample,
    frame_size,
    layout_of,
    packed_kernel,
    place_row,
)
from minicnn.steps.pool_parts import (
    AVERAGE_POOL,
    MAX_POOL,
    NO_POOL,
    max_of_parts,
    mean_of_parts,
    spread_apart,
    spread_evenly,
    spread_winners,
)
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
    """The bias (F,) of each number of z, in the order that convolve_parts gives it: `count` windows a part."""
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
        if pool == MAX_POOL:
            max_of_parts(z, biases, code, results, kept)
        elif pool == AVERAGE_POOL:
            mean_of_parts(z, biases, results, kept)
        else:
            activate(z, biases, code, results)
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


@inlined
def pack_turned(kernel: Array, filled: int, tiling: Tiling, packed: Array) -> None:
    """The kernel of the convolution that makes dx: both axes turned around, filters and channels exchanged."""
    kh, kw, channels, filters = kernel.shape
    matrix = np.zeros((kh * kw * filled, channels), kernel.dtype)
    for i in range(kh):
        for j in range(kw):
            for f in range(filters):
                for c in range(channels):
                    matrix[((kh - 1 - i) * kw + kw - 1 - j) * filled + f, c] = kernel[i, j, c, f]
    pack_columns(matrix, tiling, packed)


@inlined
def pack_transposed(kernel: Array, filled: int, tiling: Tiling, packed: Array) -> None:
    """For each kernel row its transpose (filled, KW·C), in panels."""
    kh, kw, channels, filters = kernel.shape
    run = kw * channels
    size = packed.size // kh
    matrix = np.zeros((filled, run), kernel.dtype)
    for i in range(kh):
        rows = kernel[i].reshape(run, filters)
        for f in range(filters):
            for k in range(run):
                matrix[f, k] = rows[k, f]
        pack_columns(matrix, tiling, packed[i * size : (i + 1) * size])


def convolution_backward_loops(
    dy: Array, y: Array, index: Array, x: Array, kernel: Array, windows: Windows, pool: int, code: int, few: bool,
    scatter: bool, tiling: Tiling, dkernel: Array, dbias: Array, dx: Array,
) -> None:  # fmt: skip
    """Write dkernel, dbias and dx; the last may be empty if nobody needs it.

    few, scatter: how dkernel and dx are made (direct.py); without scatter strides must be 1. y is read where f has a
    slope other than relu's behind a pool; index as forward left it.
    """
    n, h, w, channels = x.shape
    kh, kw, sh, sw, _, _, top, left, oh, ow = windows
    filters, run, lanes = kernel.shape[3], kw * channels, tiling.lanes
    filled = filters if few else whole_vectors(filters, lanes)  # numbers a window in dz
    filled_c, filled_run = whole_vectors(channels, lanes), whole_vectors(run, lanes)
    height, width = frame_size(h, top, oh, sh, kh), frame_size(w, left, ow, sw, kw)
    framed = few or height > h or width > w
    row = (width if framed else w) * channels
    rows, count = dy.shape[1], dy.shape[2]
    used_h, used_w = (2 * rows, 2 * count) if pool else (rows, count)

    # dz lies in a frame of zeros where dx is a convolution of it.
    need_dx = dx.size > 0
    direct = need_dx and not scatter
    dz_top, dz_left = (kh - 1 - top, kw - 1 - left) if direct else (0, 0)
    dz_height, dz_width = (h + kh - 1, w + kw - 1) if direct else (used_h, used_w)
    dz_row = dz_width * filled
    dz_start = dz_top * dz_row + dz_left * filled
    turned = np.empty(0, x.dtype)
    if direct:
        turned = lines_of_cache(kh * kw * filled * filled_c, x)
        pack_turned(kernel, filled, tiling, turned)
    elif need_dx:
        turned = lines_of_cache(kh * filled * filled_run, x)
        pack_transposed(kernel, filled, tiling, turned)

    flat_x, flat_dx = x.reshape(-1), dx.reshape(-1)
    flat_dy, flat_y, flat_index = dy.reshape(-1), y.reshape(-1), index.reshape(-1)
    slots = max(1, min(SLOTS, n))
    depth = kh * filters * filled_run if few else kh * run * filled
    partial = zeroed_lines_of_cache(slots * depth, x).reshape(slots, depth)
    partial_bias = np.zeros((slots, used_w * filled), x.dtype)
    flat_partial = partial.reshape(-1)
    for slot in prange(slots):
        frame = np.zeros(height * row + lanes if framed else 0, x.dtype)
        dz = zeroed_lines_of_cache(dz_height * dz_row, x)
        line = np.empty(count * filters, x.dtype)
        back = np.empty(height * width * channels + lanes if need_dx and scatter else 0, x.dtype)
        products = lines_of_cache(max(used_w * filled_run if scatter else 0, w * filled_c), x)
        bias_run = partial_bias[slot]
        for sample in range(slot, n, slots):
            image, corner = flat_x, sample * h * w * channels
            if framed:
                inner = frame[: height * row].reshape(height, row)
                frame_image(x[sample].reshape(h, w * channels), top, left * channels, inner)
                image, corner = frame, 0
            for p in range(rows):
                place = (sample * rows + p) * count * filters
                gradient = flat_dy[place : place + count * filters]
                begin = dz_start + p * (2 if pool else 1) * dz_row
                if pool == NO_POOL and filled == filters:
                    activation_gradient(
                        gradient, flat_y[place : place + count * filters], code, dz[begin : begin + count * filters]
                    )
                else:
                    if pool == NO_POOL or code != RELU:  # else index says where relu is flat
                        activation_gradient(gradient, flat_y[place : place + count * filters], code, line)
                        gradient = line
                    if pool == MAX_POOL:
                        chosen = flat_index[place : place + count * filters]
                        spread_winners(gradient, chosen, filters, dz, begin, dz_row, filled)
                    elif pool == AVERAGE_POOL:
                        chosen = flat_index[place : place + count * filters]
                        spread_evenly(gradient, chosen, filters, dz, begin, dz_row, filled)
                    else:
                        spread_apart(gradient, filters, dz, begin, filled)
            for p in range(used_h):
                source = dz[dz_start + p * dz_row : dz_start + p * dz_row + used_w * filled]
                for k in range(used_w * filled):
                    bias_run[k] += source[k]
            if few:
                add_turned_kernel_gradient(
                    image, corner, row, channels, windows, dz, dz_start, dz_row, used_h, used_w, filters, flat_partial,
                    slot * depth, tiling,
                )  # fmt: skip
            else:
                add_kernel_gradient(
                    image, corner, row, channels, windows, dz, dz_start, dz_row, used_h, used_w, flat_partial,
                    slot * depth, filled, tiling,
                )  # fmt: skip
            if direct:
                for r in range(h):
                    place = (sample * h + r) * w * channels
                    whole = channels == filled_c
                    target, at = (flat_dx, place) if whole else (products, 0)
                    convolve_row(
                        dz, r * dz_row, dz_row, kw * filled, kh, filled, turned, target, at, w, filled_c, tiling
                    )
                    if not whole:
                        for q in range(w):
                            for c in range(channels):
                                flat_dx[place + q * channels + c] = products[q * filled_c + c]
            elif need_dx:
                back[:] = 0
                add_scattered(
                    dz, dz_start, dz_row, used_h, used_w, filled, windows, turned, run, products, back, 0,
                    width * channels, channels, tiling,
                )  # fmt: skip
                for r in range(h):
                    source = (top + r) * width * channels + left * channels
                    place = (sample * h + r) * w * channels
                    for k in range(w * channels):
                        flat_dx[place + k] = back[source + k]
    total = np.empty((1, depth), x.dtype)
    add_slots(partial.reshape(slots, 1, depth), total)
    flat_total, matrix = total.reshape(-1), dkernel.reshape(kh, run, filters)
    for i in range(kh):
        for k in range(run):
            for f in range(filters):
                at = (i * filters + f) * filled_run + k if few else (i * run + k) * filled + f
                matrix[i, k, f] = flat_total[at]
    for f in range(filters):
        dbias[f] = 0
    for slot in range(slots):
        for q in range(used_w):
            for f in range(filters):
                dbias[f] += partial_bias[slot, q * filled + f]


convolution_forward = compiled(convolution_forward_loops)
convolution_backward = compiled(convolution_backward_loops)
