"""A large dense layer's product with 49 products of blocks instead of 64: Strassen's algorithm, twice.

Two matrices of 2x2 blocks are multiplied with eight products of blocks, or with seven,

    m0 = (x00 + x11)·(k00 + k11)      m1 = (x10 + x11)·k00      m2 = x00·(k01 − k11)      m3 = x11·(k10 − k00)
    m4 = (x00 + x01)·k11              m5 = (x10 − x00)·(k00 + k01)                        m6 = (x01 − x11)·(k10 + k11)

    y00 = m0 + m3 − m4 + m6           y01 = m2 + m4             y10 = m1 + m3             y11 = m0 − m1 + m2 + m5

and each of the seven in the same way. Written as a matrix [a][b], of which a is the number of the block among the four,
row by row, and b that of the block within it, x and k are taken apart by L x Lᵀ and R k Rᵀ, and the 49 products put
together by S m Sᵀ, for matrices L, R and S of the signs above: one tile_transform each, as in Winograd's convolution
(winograd.py), which saves multiplications in the same way.

What depends on the kernel alone takes three times its memory, and as long to make as two batches gain. So it pays where
predict or evaluate keeps it for many batches (Run.once in layers/base.py), and not in training. For 256 samples a layer
4096x4096 takes 0.77 of the time on an AMD EPYC, and 0.88 on a Xeon that multiplies half as fast again and has the same
206 MB to read for each batch. Predicting 4096 images in batches of 256 was 1.11 to 1.14 times as fast with the
sheet's alexnet_cifar10 and 1.14 to 1.18 with its alexnet_mnist on 2026-11-29, and 1.08 to 1.10 times with both the day
after (2 cores of an AMD EPYC with AVX-512).

The sums add numbers that have nothing to do with each other: beside a large sample, input or output a small one would
lose its digits. So each is first scaled by a power of two, which is exact: the outputs' columns of the kernel, then the
inputs' rows of it, which x is multiplied by in turn, and then the samples. The error in float32 is 5e-6 of a
sample's largest output for 1024 inputs and 1.1e-5 for 4096, the most that are taken (7e-6 of a batch's), where sums in
the usual order, one product after the other, have 2e-6 and 4e-6. The last bits depend on the other samples of the
batch. NaN or infinity would reach them too: a batch that has one is multiplied as it is defined, and so is every batch
if the kernel has one.

Source: Strassen 1969, "Gaussian elimination is not optimal"; Higham 2002, "Accuracy and stability of numerical
algorithms", section 23.2.2, for the error and the scaling. strassen_numpy is the formulas; the loops below it are what
is run.
"""

from typing import NamedTuple

import numpy as np

from minicnn.kernels.fetching import panel_product
from minicnn.kernels.fused import activate
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.tiles import Tiling, even_width, lines_of_cache
from minicnn.kernels.transforms import LEFT, RIGHT, SIDES, SUMS, tile_transform
from minicnn.kernels.winograd import odd_lines
from minicnn.typing import Array

PLACES = 49
"""Products of blocks."""

TOGETHER, TASKS = 4, 4
"""How often the widest panel fits into the outputs that one task computes, at most, so that it reads the samples' sums
once for all of them; and how many tasks there are at least. Through 4096x4096 256 samples take 34.3 ms with one, 33.6
with two, 33.2 with four and 34.5 with eight (an AMD EPYC)."""

ROWS = 4
"""Rows of the kernel that are taken apart at a time: their 16 blocks stay in the first-level cache."""

PARTS = 16
"""Into how many parts the panels of a task are cut where they are made, by rows."""

PANEL = 3
"""Vectors in a row of most panels of the kernel. With four the products of 256 samples through 4096x4096 take 22.6 ms
instead of 20.5 (an AVX-512 Xeon): a tile of three by eight reads less of the weights for each product than one of four
by six. Without fetching what comes next (fetching.py) they took 24.6 instead of 22.3."""

STRIP = 256
"""Columns whose largest numbers are kept side by side."""


def strassen_numpy(x: Array, kernel: Array, levels: int = 2) -> Array:
    """x (N, I) · kernel (I, O). N, I and O are multiples of 2 to the power of levels."""
    if levels == 0:
        return x @ kernel
    left, right, sums = (np.array(SIDES[kind], x.dtype) for kind in (LEFT, RIGHT, SUMS))
    products = [
        strassen_numpy(a, b, levels - 1)
        for a, b in zip(np.tensordot(left, _quadrants(x), 1), np.tensordot(right, _quadrants(kernel), 1), strict=True)
    ]
    y00, y01, y10, y11 = np.tensordot(sums, np.stack(products), 1)
    return np.block([[y00, y01], [y10, y11]])


def _quadrants(matrix: Array) -> Array:
    """(4, R / 2, C / 2) of (R, C), row by row."""
    rows, columns = matrix.shape[0] // 2, matrix.shape[1] // 2
    return matrix.reshape(2, rows, 2, columns).swapaxes(1, 2).reshape(4, rows, columns)


class Apart(NamedTuple):
    """A kernel (I, O) taken apart: R k Rᵀ of k = scaled kernel, as strassen_weights makes it.

    inputs (I,): what the samples' numbers are multiplied by before the product, and outputs (O,): what the products are
    multiplied by after it, so that the kernel's scales have no effect.
    """

    weights: Array
    inputs: Array
    outputs: Array


def powers_of_two(largest: Array) -> tuple[Array, Array]:
    """The powers that bring numbers of this size below 1, and those that bring them back; 1 and 0 where it is 0.

    They are normal numbers of the dtype; so it is below 4 at the very end of float32 and float64.
    """
    most, one = -np.finfo(largest.dtype).minexp, largest.dtype.type(1)
    exponents = np.clip(np.frexp(largest)[1], -most, most)
    return np.ldexp(one, -exponents), np.where(largest == 0, 0 * one, np.ldexp(one, exponents))


def largest_of_columns_loops(matrix: Array) -> Array:
    """The largest magnitude of each column of (R, C); NaN is passed over."""
    rows, columns = matrix.shape
    largest = np.zeros(columns, matrix.dtype)
    for block in prange((columns + STRIP - 1) // STRIP):
        part = largest[block * STRIP : (block + 1) * STRIP]
        for r in range(rows):
            row = matrix[r, block * STRIP :][: part.size]
            for c in range(part.size):
                part[c] = max(part[c], abs(row[c]))
    return largest


def largest_of_rows_loops(matrix: Array, factors: Array) -> Array:
    """The largest magnitude of each row of matrix (R, C) · factors (C,); NaN where a number is not finite."""
    rows, columns = matrix.shape
    result = np.empty(rows, matrix.dtype)
    for r in prange(rows):
        largest, not_finite = np.zeros(STRIP, matrix.dtype), np.zeros(STRIP, matrix.dtype)
        for start in range(0, columns, STRIP):
            row, part = matrix[r, start : start + STRIP], factors[start : start + STRIP]
            for c in range(row.size):
                number = row[c] * part[c]
                largest[c] = max(largest[c], abs(number))
                not_finite[c] += number - number
        result[r] = largest.max() + not_finite.sum()
    return result


@inlined
def corner_of(outer: int, inner: int, rows: int, columns: int) -> tuple[int, int]:
    """The first row and column of block [outer][inner], for blocks (rows, columns)."""
    return (outer // 2 * 2 + inner // 2) * rows, (outer % 2 * 2 + inner % 2) * columns


@inlined
def gather_blocks(
    matrix: Array, by_row: Array, by_column: Array, row: int, rows: int, block_rows: int, column: int, width: int,
    blocks: Array,
) -> None:  # fmt: skip
    """Of each of the 4x4 blocks of a matrix, `rows` rows from `row` on and `width` columns from `column` on.

    blocks: flat, (4, 4, rows, width), [a][b] as the module's docstring has it. block_rows: rows of a block; what lies
    below the matrix is 0. by_row (R,), by_column (C,): scales.
    """
    for outer in range(4):
        for inner in range(4):
            down, right = corner_of(outer, inner, block_rows, matrix.shape[1] // 4)
            start = right + column
            for r in range(rows):
                target = blocks[((4 * outer + inner) * rows + r) * width :][:width]
                at = down + row + r
                if at < matrix.shape[0]:
                    source, scales, scale = matrix[at, start:][:width], by_column[start:][:width], by_row[at]
                    for c in range(width):
                        target[c] = source[c] * scales[c] * scale
                else:
                    target[:] = 0


@inlined
def columns_of_a_task(outputs: int, tiling: Tiling) -> int:
    """How many outputs of a block one task computes, of so many."""
    return max(1, min(TOGETHER, outputs // tiling.widest // TASKS)) * tiling.widest


@inlined
def next_width(columns: int, tiling: Tiling) -> int:
    """Of the first of the panels that so many columns of a task are cut into: PANEL vectors, or the widest if they are
    fewer. What would be two of the widest or less is cut in the middle, so that no panel is too narrow to fetch."""
    return even_width(columns, tiling) if columns <= 2 * tiling.widest else min(PANEL * tiling.lanes, tiling.widest)


@inlined
def weights_plane(inputs: int, outputs: int, itemsize: int) -> int:
    """The numbers from one place of a kernel's sums to the next, for blocks (inputs, outputs)."""
    return odd_lines(inputs * outputs, itemsize)


def strassen_weights_loops(kernel: Array, by_row: Array, by_column: Array, tiling: Tiling, weights: Array) -> None:
    """R k Rᵀ of k = kernel (I, O) · by_row (I, 1) · by_column (O,), place by place, panel by panel, (I / 4, width).

    Overwrites weights, flat. I and O are multiples of four vectors.
    """
    inputs, outputs = kernel.shape[0] // 4, kernel.shape[1] // 4
    plane = weights_plane(inputs, outputs, kernel.itemsize)
    columns = columns_of_a_task(outputs, tiling)
    for task in prange((outputs + columns - 1) // columns * PARTS):
        f, part = task // PARTS * columns, task % PARTS
        last, end = min(outputs, f + columns), (part + 1) * inputs // PARTS
        blocks = lines_of_cache(16 * ROWS * tiling.widest, kernel)
        while f < last:
            width = next_width(last - f, tiling)
            for row in range(part * inputs // PARTS, end, ROWS):
                rows = min(ROWS, end - row)
                gather_blocks(kernel, by_row, by_column, row, rows, inputs, f, width, blocks)
                tile_transform(
                    blocks, 0, 4 * rows * width, rows * width, width,
                    weights, f * inputs + row * width, 7 * plane, plane, width, RIGHT, rows, width,
                )  # fmt: skip
            f += width


@inlined
def take_samples_apart(
    x: Array, by_sample: Array, by_input: Array, row: int, block_rows: int, blocks: Array, parts: Array, plane: int
) -> None:
    """L x Lᵀ of the four rows of x that are number `row` of the `block_rows` rows of their blocks.

    blocks: a workspace of 4·I numbers. parts: place by place, `plane` numbers apart, (block_rows, I / 4).
    """
    inputs = x.shape[1] // 4
    gather_blocks(x, by_sample, by_input, row, 1, block_rows, 0, inputs, blocks)
    tile_transform(
        blocks, 0, 4 * inputs, inputs, 0, parts, row * inputs, 7 * plane, plane, 0, LEFT, 1, inputs
    )  # fmt: skip


@inlined
def multiply_places(
    parts: Array, plane: int, block_rows: int, inputs: int, weights: Array, outputs: int, first: int, last: int,
    products: Array, products_plane: int, tiling: Tiling,
) -> None:  # fmt: skip
    """The 49 products (block_rows, inputs) · (inputs, outputs first <= f < last), in panels (block_rows, width)."""
    of_weights = weights_plane(inputs, outputs, weights.itemsize)
    for place in range(PLACES):
        f = first
        while f < last:
            width = next_width(last - f, tiling)
            panel = place * of_weights + f * inputs
            following = panel + inputs * width if f + width < last else (place + 1) * of_weights + first * inputs
            panel_product(
                parts, place * plane, inputs, weights, panel,
                products, place * products_plane + (f - first) * block_rows, width,
                inputs, block_rows, width, following, tiling,
            )  # fmt: skip
            f += width


@inlined
def put_together(
    products: Array, start: int, plane: int, row: int, block_rows: int, f: int, width: int,
    of_samples: Array, of_outputs: Array, bias: Array, code: int, sums: Array, y: Array,
) -> None:  # fmt: skip
    """S m Sᵀ of one row of a panel of products, that of four samples; scaled back, with bias and activation, to y.

    start: of the row in the first place. sums: a workspace of 16 widths.
    """
    tile_transform(products, start, 7 * plane, plane, 0, sums, 0, 4 * width, width, 0, SUMS, 1, width)
    for outer in range(4):
        for inner in range(4):
            down, right = corner_of(outer, inner, block_rows, y.shape[1] // 4)
            at, o = down + row, right + f
            if at < y.shape[0]:
                z = sums[(4 * outer + inner) * width :][:width]
                factors, factor = of_outputs[o:][:width], of_samples[at]
                for k in range(width):
                    z[k] = z[k] * factors[k] * factor
                activate(z, bias[o : o + width], code, y[at, o : o + width])


def strassen_forward_loops(
    x: Array, by_sample: Array, of_samples: Array, kernel: Apart, bias: Array, code: int, tiling: Tiling, y: Array
) -> None:
    """y (N, O) = f(x · kernel + bias) for x (N, I) and a kernel (I, O) taken apart. Overwrites y.

    by_sample, of_samples (N,): scales_of_rows of x and kernel.inputs. code: of the activation f (fused.py).
    """
    block_rows, inputs, outputs = (x.shape[0] + 3) // 4, x.shape[1] // 4, y.shape[1] // 4
    plane = odd_lines(block_rows * inputs, x.itemsize)
    parts = lines_of_cache(PLACES * plane, x)
    for row in prange(block_rows):
        blocks = lines_of_cache(16 * inputs, x)
        take_samples_apart(x, by_sample, kernel.inputs, row, block_rows, blocks, parts, plane)
    columns = columns_of_a_task(outputs, tiling)
    for task in prange((outputs + columns - 1) // columns):
        first, last = task * columns, min(outputs, (task + 1) * columns)
        products_plane = odd_lines(block_rows * (last - first), x.itemsize)
        products, sums = lines_of_cache(PLACES * products_plane, x), lines_of_cache(16 * tiling.widest, x)
        multiply_places(
            parts, plane, block_rows, inputs, kernel.weights, outputs, first, last, products, products_plane, tiling
        )
        f = first
        while f < last:
            width = next_width(last - f, tiling)
            for row in range(block_rows):
                put_together(
                    products, (f - first) * block_rows + row * width, products_plane, row, block_rows, f, width,
                    of_samples, kernel.outputs, bias, code, sums, y,
                )  # fmt: skip
            f += width


largest_of_columns = compiled(largest_of_columns_loops)
largest_of_rows = compiled(largest_of_rows_loops)
strassen_weights = compiled(strassen_weights_loops)
strassen_forward = compiled(strassen_forward_loops)


def scales_of_rows(matrix: Array, factors: Array) -> tuple[Array, Array] | None:
    """powers_of_two for the rows of matrix (R, C) · factors (C,); None if a number is not finite."""
    largest = largest_of_rows(matrix, factors)
    return powers_of_two(largest) if np.isfinite(largest).all() else None
