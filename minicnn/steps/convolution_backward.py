"""The backward loops of ConvolutionStep: from dL/dy to the derivatives of kernel, bias and images, one image at a time.

    dz = dL/dy · f'(z), at the windows that the pool let through,    dbias = Σ dz,    dkernel and dx as in direct.py

dz of an image is made in a workspace, serves all three sums while it is in the cache, and is never written elsewhere.
Each slot has its own sums of kernel and bias, added in a fixed order at the end. The gradient of LeNet's first kernel
fills 5 of 16 lanes and reaches 16 % of its limit (an AMD EPYC; 9 on a Xeon). The forward loops, and what else is known
of their speed, are in convolution_kernels.py.
"""

from typing import NamedTuple

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.dense import add_slots
from minicnn.kernels.direct import (
    add_kernel_gradient,
    add_scattered,
    add_turned_kernel_gradient,
    convolve_row,
    frame_image,
    pack_columns,
)
from minicnn.kernels.fused import activation_gradient
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.tiles import Tiling, lines_of_cache, whole_vectors, zeroed_lines_of_cache
from minicnn.steps.convolution_layout import SLOTS, Layout, layout_of, place_row
from minicnn.steps.pool_parts import AVERAGE_POOL, spread_apart, unpool_row
from minicnn.typing import Array


class GradientLayout(NamedTuple):
    """How dz (OH, OW, F') of one image lies in memory, without windows that no pool reads.

    rows, columns: OH and OW. start: the place of its first number. row: numbers from one row to the next. size: of all
    the memory, which has zeros around dz where dx is a convolution of it.
    """

    rows: int
    columns: int
    start: int
    row: int
    size: int


@inlined
def gradient_layout_of(
    dy: Array, x: Array, windows: Windows, pool: int, direct: bool, filled: int
) -> tuple[int, int, int, int, int]:
    """The GradientLayout for dy (N, P, Q, F) and x (N, H, W, C). direct: dx is a convolution of dz."""
    h, w = x.shape[1], x.shape[2]
    step = 2 if pool else 1
    rows, columns = step * dy.shape[1], step * dy.shape[2]
    above, before = (windows.kh - 1 - windows.top, windows.kw - 1 - windows.left) if direct else (0, 0)
    height, width = (h + windows.kh - 1, w + windows.kw - 1) if direct else (rows, columns)
    row = width * filled
    return rows, columns, above * row + before * filled, row, height * row


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


@inlined
def packed_for_dx(kernel: Array, direct: bool, filled: int, tiling: Tiling) -> Array:
    """A kernel (KH, KW, C, F) in the order in which convolve_gradients reads it, or scatter_gradients; flat."""
    kh, kw, channels, _ = kernel.shape
    if direct:
        packed = lines_of_cache(kh * kw * filled * whole_vectors(channels, tiling.lanes), kernel)
        pack_turned(kernel, filled, tiling, packed)
    else:
        packed = lines_of_cache(kh * filled * whole_vectors(kw * channels, tiling.lanes), kernel)
        pack_transposed(kernel, filled, tiling, packed)
    return packed


@inlined
def fill_gradients(
    dy: Array, y: Array, index: Array, pool: int, code: int, filters: int, filled: int, line: Array,
    dz_layout: GradientLayout, dz: Array,
) -> None:  # fmt: skip
    """dz of one image from its dy, y and index, (P·Q·F,) each. line: a workspace for a row, (Q·F,)."""
    length, step = line.size, 2 if pool else 1
    straight = filled == filters
    for p in range(dz_layout.rows // step):
        first, last = p * length, (p + 1) * length
        place = dz_layout.start + step * p * dz_layout.row
        if pool:
            unpool_row(
                dy[first:last], y[first:last], index[first:last], pool == AVERAGE_POOL, code, filters, line,
                dz, place, dz_layout.row, filled,
            )  # fmt: skip
        else:
            sloped = dz[place : place + length] if straight else line
            activation_gradient(dy[first:last], y[first:last], code, sloped)
            if not straight:
                spread_apart(line, filters, dz, place, filled)


@inlined
def add_rows(dz: Array, dz_layout: GradientLayout, sums: Array) -> None:
    """Add all rows of dz to sums (OW·F',): of them dbias is made."""
    for p in range(dz_layout.rows):
        start = dz_layout.start + p * dz_layout.row
        source = dz[start : start + sums.size]
        for k in range(sums.size):
            sums[k] += source[k]


@inlined
def convolve_gradients(
    dz: Array, dz_row: int, windows: Windows, filled: int, packed: Array, products: Array, dx: Array, tiling: Tiling
) -> None:
    """dx (H, W, C) of one image as a convolution of dz, for strides of 1. products: a workspace for a row, (W, C')."""
    h, w, channels = dx.shape
    flat_dx, filled_c = dx.reshape(-1), whole_vectors(channels, tiling.lanes)
    in_place = channels == filled_c
    results = flat_dx if in_place else products
    for r in range(h):
        place = r * w * channels
        convolve_row(
            dz, r * dz_row, dz_row, windows.kw * filled, windows.kh, filled, packed,
            results, place if in_place else 0, w, filled_c, tiling,
        )  # fmt: skip
        if not in_place:
            place_row(products, False, filled_c, w, channels, flat_dx[place : place + w * channels])


@inlined
def scatter_gradients(
    dz: Array, dz_layout: GradientLayout, windows: Windows, layout: Layout, packed: Array, products: Array,
    frame: Array, dx: Array, tiling: Tiling,
) -> None:  # fmt: skip
    """dx (H, W, C) of one image, summed window by window in a frame, a workspace. products: another (add_scattered)."""
    h, w, channels = dx.shape
    flat_dx = dx.reshape(-1)
    frame[:] = 0
    add_scattered(
        dz, dz_layout.start, dz_layout.row, dz_layout.rows, dz_layout.columns, layout.filled, windows,
        packed, windows.kw * channels, products, frame, 0, layout.row, channels, tiling,
    )  # fmt: skip
    for r in range(h):
        source, place = (windows.top + r) * layout.row + windows.left * channels, r * w * channels
        for k in range(w * channels):
            flat_dx[place + k] = frame[source + k]


@inlined
def gather_kernel_gradient(partial: Array, few: bool, dkernel: Array) -> None:
    """dkernel (KH, KW, C, F) from the slots' sums: (S, KH·KW·C·F'), or with few filters (S, KH·F·R) (direct.py)."""
    kh, kw, channels, filters = dkernel.shape
    slots, depth = partial.shape
    run = kw * channels
    total = np.empty((1, depth), partial.dtype)
    add_slots(partial.reshape(slots, 1, depth), total)
    flat_total, matrix = total.reshape(-1), dkernel.reshape(kh, run, filters)
    stride = depth // (kh * filters if few else kh * run)  # R or F'
    for i in range(kh):
        for k in range(run):
            for f in range(filters):
                matrix[i, k, f] = flat_total[(i * filters + f) * stride + k if few else (i * run + k) * stride + f]


@inlined
def gather_bias_gradient(partial: Array, filled: int, dbias: Array) -> None:
    """dbias (F,) from the slots' sums (S, OW·F')."""
    filters = dbias.size
    slots, length = partial.shape
    for f in range(filters):
        dbias[f] = 0
    for slot in range(slots):
        for q in range(length // filled):
            for f in range(filters):
                dbias[f] += partial[slot, q * filled + f]


def convolution_backward_loops(
    dy: Array, y: Array, index: Array, x: Array, kernel: Array, windows: Windows, pool: int, code: int, few: bool,
    scatter: bool, tiling: Tiling, dkernel: Array, dbias: Array, dx: Array,
) -> None:  # fmt: skip
    """Write dkernel, dbias and dx; the last may be empty if nobody needs it.

    few, scatter: how dkernel and dx are made (direct.py); without scatter strides must be 1. y is not read if f is
    linear, nor for relu behind a pool; index as forward left it.
    """
    n, h, w, channels = x.shape
    filters, lanes = dy.shape[3], tiling.lanes
    filled_run, filled_c = whole_vectors(windows.kw * channels, lanes), whole_vectors(channels, lanes)
    need_dx = dx.size > 0
    direct = need_dx and not scatter
    layout = Layout(*layout_of(x, filters, windows, few, 0, tiling))
    dz_layout = GradientLayout(*gradient_layout_of(dy, x, windows, pool, direct, layout.filled))
    packed = np.empty(0, x.dtype)
    if need_dx:
        packed = packed_for_dx(kernel, direct, layout.filled, tiling)
    flat_x, flat_dy, flat_y, flat_index = x.reshape(-1), dy.reshape(-1), y.reshape(-1), index.reshape(-1)

    slots, size = max(1, min(SLOTS, n)), dy.shape[1] * dy.shape[2] * filters
    depth = windows.kh * (filters * filled_run if few else windows.kw * channels * layout.filled)
    sums = zeroed_lines_of_cache(slots * depth, x)  # of dkernel, slot by slot
    bias_sums = np.zeros((slots, dz_layout.columns * layout.filled), x.dtype)
    for slot in prange(slots):
        frame = np.zeros(layout.height * layout.row + lanes if layout.framed else 0, x.dtype)
        dz, line = zeroed_lines_of_cache(dz_layout.size, x), np.empty(dy.shape[2] * filters, x.dtype)
        back = np.empty(layout.height * layout.row + lanes if need_dx and scatter else 0, x.dtype)
        products = lines_of_cache(max(dz_layout.columns * filled_run if scatter else 0, w * filled_c), x)
        for sample in range(slot, n, slots):
            image, corner = flat_x, sample * h * w * channels
            if layout.framed:
                inner = frame[: layout.height * layout.row].reshape(layout.height, layout.row)
                frame_image(x[sample].reshape(h, w * channels), windows.top, windows.left * channels, inner)
                image, corner = frame, 0
            first, last = sample * size, (sample + 1) * size
            fill_gradients(
                flat_dy[first:last], flat_y[first:last], flat_index[first:last], pool, code, filters, layout.filled,
                line, dz_layout, dz,
            )  # fmt: skip
            add_rows(dz, dz_layout, bias_sums[slot])
            if few:
                add_turned_kernel_gradient(
                    image, corner, layout.row, channels, windows, dz, dz_layout.start, dz_layout.row,
                    dz_layout.rows, dz_layout.columns, filters, sums, slot * depth, tiling,
                )  # fmt: skip
            else:
                add_kernel_gradient(
                    image, corner, layout.row, channels, windows, dz, dz_layout.start, dz_layout.row,
                    dz_layout.rows, dz_layout.columns, sums, slot * depth, layout.filled, tiling,
                )  # fmt: skip
            if direct:
                convolve_gradients(dz, dz_layout.row, windows, layout.filled, packed, products, dx[sample], tiling)
            elif need_dx:
                scatter_gradients(dz, dz_layout, windows, layout, packed, products, back, dx[sample], tiling)
    gather_kernel_gradient(sums.reshape(slots, depth), few, dkernel)
    gather_bias_gradient(bias_sums, layout.filled, dbias)


convolution_backward = compiled(convolution_backward_loops)
