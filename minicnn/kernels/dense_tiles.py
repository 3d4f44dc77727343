"""Small dense layers as tile products of arrays where they lie: x · kernel, xᵀ · dz, and dz times a transposed kernel.

The simple version is dense_numpy in dense.py.

A tile product (tiles.py) takes numbers of its first factor any distance apart and reads its second one in runs of
whole vectors. A kernel is such runs already, and one of up to half a megabyte, or of few outputs, is read faster where
it lies than packed as valid_taps.py does; for dx alone each task transposes its part of the kernel. Outputs that are no
multiple of a vector are covered by panels that overlap, of one width:

    120 outputs in panels of 64:   0 ... 63   and   56 ... 119

The numbers in two panels are computed twice, and are the same both times. With fewer outputs than a vector has numbers,
the vectors run on into the next row, and what comes of that is left out.

Time over that of blocks of samples on single-threaded BLAS (dense_blocked in dense.py), which CPUs without generated
machine code use; forward and back, float32, two cores of an AVX-512 Xeon:

    layer       32 samples    128           1024
    400x120     0.8, 0.6      0.6, 0.6      0.9, 1.0
    120x84      0.9, 0.6      0.9, 0.9      0.8, 1.0
    84x10       0.9, 0.9      1.0, 1.2      1.2, 1.3
    1600x10     0.8, 0.6      1.0, 0.9      0.9, 0.9
    4096x10     0.8, 0.7      0.6, 0.7      0.8, 0.8
    8192x32     0.3, 0.6      0.5, 0.6      0.8, 0.8

A layer of 17 outputs, which are two panels of 16, takes up to 1.5 times as long as on BLAS. A training step of the
sheet's lenet5, which has the first three, takes 0.88 of the time for 16 samples, 0.94 for 32 and 0.97 for 128.
"""

import numpy as np

from minicnn.kernels.fused import activate_in_place, activation_gradient
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.taps import transpose
from minicnn.kernels.tiles import Tiling, lines_of_cache, rows_product, whole_vectors, zeroed_lines_of_cache
from minicnn.typing import Array

LONGEST = 1 << 13
"""Terms of a sum at most: a product adds them one after the other, with a rounding error each. Of 245,760 positive
ones, in float32, the sum is wrong by up to 3.5e-5."""

DEPTH = 128
"""Terms of one product: so many rows of the widest panel, 32 KB with AVX-512, stay in the first-level cache."""

PARTS, ROWS = 8, 16
"""Into how many parts the samples are cut at most, and how many are in one at least where there are more than two; an
even number of parts, so that two cores have as many."""

SAMPLES = 64
"""Samples of a block whose dz one task makes."""

INPUT_PARTS = 4
"""Into how many parts the inputs are cut for the gradients, or into two, whole vectors each."""

TOGETHER = 24
"""Samples whose dx is made together, a few tiles: their rows lie as far apart as there are inputs, and a tile as wide
as the widest panel writes a piece of each. One panel for all samples and then the next takes up to 1.4 times as long.
"""


@inlined
def overlapping_width(columns: int, tiling: Tiling) -> int:
    """The width of panels that cover so many columns, whole vectors: no wider than all of them, unless it is one."""
    panels = max((columns + tiling.widest - 1) // tiling.widest, 2 if columns % tiling.lanes else 1)
    return whole_vectors((columns + panels - 1) // panels, tiling.lanes)


@inlined
def make_products(
    a: Array, a0: int, a_row: int, a_in: int, b: Array, columns: int, terms: int,
    c: Array, c0: int, c_row: int, rows: int, tiling: Tiling,
) -> None:  # fmt: skip
    """c[m, f] = Σ over k < terms of a[m, k] · b[k, f] for m < rows, f < columns; b a matrix of `columns` columns, flat.

    a[m, k] is the number at a0 + m·a_row + k·a_in of a, c[m, f] that at c0 + m·c_row + f; both flat.
    """
    width = overlapping_width(columns, tiling)
    beyond = min(terms, (tiling.lanes - 1) // columns)  # rows of b from which a vector would run over its end
    sums, place, row = c, c0, c_row
    if columns < width:
        sums, place, row = lines_of_cache(rows * width, c), 0, width
    for begin in range(0, columns, width):
        f = max(0, min(begin, columns - width))
        for k in range(0, terms - beyond, DEPTH):
            rows_product(
                a, a0 + k * a_in, a_row, a_in, 0, b, k * columns + f, columns, 0, sums, place + f, row,
                min(DEPTH, terms - beyond - k), 1, rows, width, k > 0, tiling,
            )  # fmt: skip
    if beyond:
        last = zeroed_lines_of_cache(beyond * width, b)
        first = terms - beyond
        for k in range(beyond):
            for f in range(columns):
                last[k * width + f] = b[(first + k) * columns + f]
        rows_product(
            a, a0 + first * a_in, a_row, a_in, 0, last, 0, width, 0, sums, place, row,
            beyond, 1, rows, width, first > 0, tiling,
        )  # fmt: skip
    if columns < width:
        for m in range(rows):
            for f in range(columns):
                c[c0 + m * c_row + f] = sums[m * width + f]


def dense_tiled_loops(x: Array, kernel: Array, bias: Array, code: int, tiling: Tiling) -> Array:
    """y = f(x · kernel + bias), (N, O), for x (N, I) and kernel (I, O); code: of the activation f (fused.py).

    One task a block of samples.
    """
    n, inputs = x.shape
    outputs = kernel.shape[1]
    y = np.empty((n, outputs), x.dtype)
    flat_x, flat_kernel, flat_y = x.reshape(-1), kernel.reshape(-1), y.reshape(-1)
    parts = min(n, max(2, min(PARTS, n // ROWS // 2 * 2)))
    for part in prange(parts):
        first, last = part * n // parts, (part + 1) * n // parts
        make_products(
            flat_x, first * inputs, inputs, 1, flat_kernel, outputs, inputs,
            flat_y, first * outputs, outputs, last - first, tiling,
        )  # fmt: skip
        for r in range(first, last):
            activate_in_place(y[r], bias, code)
    return y


@inlined
def kernel_gradient(x: Array, dz: Array, first: int, last: int, tiling: Tiling, dkernel: Array) -> None:
    """dkernel[i] = Σ over n of x[n, i] · dz[n] for first <= i < last."""
    n, inputs = x.shape
    outputs = dkernel.shape[1]
    make_products(
        x.reshape(-1), first, 1, inputs, dz.reshape(-1), outputs, n,
        dkernel.reshape(-1), first * outputs, outputs, last - first, tiling,
    )  # fmt: skip


@inlined
def input_gradient(dz: Array, kernel: Array, first: int, last: int, tiling: Tiling, dx: Array) -> None:
    """dx[:, i] = dz · kernel[i] for first <= i < last."""
    n, inputs = dx.shape
    outputs, rows = kernel.shape[1], last - first
    flat_kernel = lines_of_cache(outputs * rows, kernel)
    transpose(kernel[first:last], rows, outputs, flat_kernel.reshape(outputs, rows), 0, 0)
    flat_dz, flat_dx = dz.reshape(-1), dx.reshape(-1)
    for r in range(0, n, TOGETHER):
        make_products(
            flat_dz, r * outputs, outputs, 1, flat_kernel, rows, outputs,
            flat_dx, r * inputs + first, inputs, min(TOGETHER, n - r), tiling,
        )  # fmt: skip


def dense_tiled_backward_loops(
    dy: Array, y: Array, x: Array, kernel: Array, code: int, tiling: Tiling, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """The derivatives of dense_tiled: dz = dy · f'(z), then dkernel = xᵀ · dz and dx = dz · kernelᵀ.

    Overwrites dkernel and dbias; returns dx, or an empty array unless need_dx. dy may be y where the activation is
    linear. One task a block of samples for dz, a block of inputs for the other two; each sum is made by one thread.
    """
    n, inputs = x.shape
    outputs = kernel.shape[1]
    dz, dx = np.empty((n, outputs), x.dtype), np.empty((n, inputs) if need_dx else (0, 0), x.dtype)
    blocks = (n + SAMPLES - 1) // SAMPLES
    sums = np.zeros((blocks, outputs), x.dtype)
    for block in prange(blocks):
        total = sums[block]
        for r in range(block * SAMPLES, min(n, (block + 1) * SAMPLES)):
            row = dz[r]
            activation_gradient(dy[r], y[r], code, row)
            for o in range(outputs):
                total[o] += row[o]
    vectors = (inputs + tiling.lanes - 1) // tiling.lanes
    parts = min(vectors, INPUT_PARTS if vectors >= 2 * INPUT_PARTS else 2)
    for part in prange(parts):
        first, last = part * vectors // parts * tiling.lanes, min(inputs, (part + 1) * vectors // parts * tiling.lanes)
        kernel_gradient(x, dz, first, last, tiling, dkernel)
        if need_dx:
            input_gradient(dz, kernel, first, last, tiling, dx)
    for o in range(outputs):
        dbias[o] = 0
        for block in range(blocks):
            dbias[o] += sums[block, o]
    return dx


dense_tiled = compiled(dense_tiled_loops)
dense_tiled_backward = compiled(dense_tiled_backward_loops)
