"""The loops of WinogradStep: a convolution of 3x3 with its bias and activation, and its derivatives.

kernels/winograd.py has the algorithm. A block of tiles at a time is transformed, multiplied and transformed back while
it is in the second-level cache. The transforms are products with small matrices, so that tile_product does all
arithmetic: the plain additions that they stand for would be an eighth of its operations, but both wait for the cache.
"""

import numpy as np

from minicnn.kernels.fused import LINEAR, activate_in_place, activation_gradient_in_place
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.tiles import Tiling, lines_of_cache, rows_product
from minicnn.kernels.winograd import (
    SLOTS,
    Grid,
    Transform,
    pool_outputs,
    strips_per_block,
    transform_gradients,
    transform_inputs,
    transform_outputs,
)
from minicnn.steps.pool_parts import AVERAGE_POOL
from minicnn.steps.pooled_kernels import finish_pooled, signed
from minicnn.typing import Array

DEPTH = 128
"""Channels that one product sums over: so many rows of the weights stay in the first-level cache from tile to tile."""


@inlined
def transform_kernels(
    kernel: Array, c: int, channels: int, filters: int, kernels: Array, weights: Array, tiling: Tiling
) -> None:
    """G g Gᵀ of channel c, from the kernel (9, C, F), flat. weights: place by place, panel by panel, (C, width)."""
    for f in range(0, filters, tiling.widest):
        width = min(tiling.widest, filters - f)
        rows_product(
            kernels, 0, 9, 1, 0, kernel, c * filters + f, channels * filters, 0,
            weights, f * channels + c * width, channels * filters, 9, 1, kernels.shape[0], width, False, tiling,
        )  # fmt: skip


@inlined
def multiply_panel(
    inputs: Array, plane: int, tiles: int, channels: int, weights: Array, filters: int, f: int, width: int,
    places: int, products: Array, tiling: Tiling,
) -> None:  # fmt: skip
    """products (tiles, width) = inputs (tiles, C) · weights (C, width) at each place, for filters f to f + width.

    plane: tiles from one place to the next, in inputs and products.
    """
    for place in range(places):
        panel = (place * filters + f) * channels
        for c in range(0, channels, DEPTH):
            rows_product(
                inputs, place * plane * channels + c, channels, 1, 0, weights, panel + c * width, width, 0,
                products, place * plane * width, width,
                min(DEPTH, channels - c), 1, tiles, width, c > 0, tiling,
            )  # fmt: skip


@inlined
def activate_panel(y: Array, filters: int, f: int, grid: Grid, first: int, strips: int, bias: Array, code: int) -> None:
    """y = f(y + bias) at all pixels of `strips` strips from strip `first` on; y flat, bias (width,) the panel's."""
    for strip in range(first, first + strips):
        image, row = strip // grid.down, strip % grid.down * grid.m
        begin = (image * grid.oh + row) * grid.ow
        for pixel in range(begin, begin + min(grid.m, grid.oh - row) * grid.ow):
            start = pixel * filters + f
            activate_in_place(y[start : start + bias.size], bias, code)


@inlined
def finish_pooled_panel(
    y: Array, filters: int, f: int, first: int, tiles: int,
    signs: Array, mean: Array, scale: Array, beta: Array, code: int,
) -> None:  # fmt: skip
    """finish_pooled for what was pooled from `tiles` tiles from tile `first` on; y flat, signs (width,) and so on."""
    for tile in range(first, first + tiles):
        start = tile * filters + f
        finish_pooled(y[start : start + signs.size], signs, mean, scale, beta, code)


def winograd_forward_loops(
    x: Array, kernel: Array, bias: Array, grid: Grid, code: int, transform: Transform, tiling: Tiling,
    pool: int, pooled_tiling: Tiling, mean: Array, scale: Array, beta: Array, y: Array,
) -> None:  # fmt: skip
    """y = f(convolution + bias) for x (N, H, W, C) and kernel (3, 3, C, F), both C and F whole vectors.

    code: of the activation f (fused.py). bias: empty if there is neither bias nor activation. Overwrites y.

    pool: of the 2x2 pool that follows, each window of which is a tile; the grid has no tiles over the edge then. mean,
    scale, beta (F,): of a normalization between the two, as in pooled_kernels.py, or empty.

    Filters are taken in panels as wide as a tile.
    """
    n, channels, filters = x.shape[0], x.shape[3], y.shape[3]
    a, widest = transform.m + 2, tiling.widest
    places = a * a
    average = pool == AVERAGE_POOL
    matrix, biases, signs = signed(kernel.reshape(9 * channels, filters), bias, scale, average)
    flat_x, flat_y, flat_kernel = x.reshape(-1), y.reshape(-1), matrix.reshape(-1)
    betas = beta if scale.size else np.zeros(filters, x.dtype)
    weights = lines_of_cache(places * channels * filters, x)
    for c in prange(channels):
        transform_kernels(flat_kernel, c, channels, filters, transform.kernels, weights, tiling)

    strips = n * grid.down
    most = strips_per_block(strips, grid.across, places * grid.across * (channels + widest) * x.itemsize)
    blocks, plane = (strips + most - 1) // most, most * grid.across
    slots = min(SLOTS, blocks)
    groups = max(1, min(SLOTS // max(1, slots), (filters + widest - 1) // widest))  # of panels, where tiles are few
    for part in prange(slots * groups):
        slot, group = part // groups, part % groups
        rows = lines_of_cache(a * grid.w * channels, x)
        inputs, products = lines_of_cache(places * plane * channels, x), lines_of_cache(places * plane * widest, x)
        for block in range(slot, blocks, slots):
            first = block * most
            count = min(most, strips - first)
            tiles = count * grid.across
            transform_inputs(flat_x, grid, channels, first, count, transform.bt, rows, inputs, plane * channels, tiling)
            for f in range(group * widest, filters, groups * widest):
                last = min(f + widest, filters)
                width = last - f
                multiply_panel(inputs, plane, tiles, channels, weights, filters, f, width, places, products, tiling)
                if pool:
                    pool_outputs(
                        products, plane * width, first, count, grid.across, transform.outputs, biases, average,
                        flat_y, filters, f, width, pooled_tiling,
                    )  # fmt: skip
                    finish_pooled_panel(
                        flat_y, filters, f, first * grid.across, tiles, signs[f:last],
                        mean[f:last], scale[f:last], betas[f:last], LINEAR if average else code,
                    )  # fmt: skip
                else:
                    transform_outputs(
                        products, plane * width, grid, first, count, transform.outputs, flat_y, filters, f, width
                    )
                    if bias.size:
                        activate_panel(flat_y, filters, f, grid, first, count, bias[f:last], code)


@inlined
def differentiate_strips(dy: Array, y: Array, filters: int, grid: Grid, first: int, strips: int, code: int) -> None:
    """dy becomes dz = dy · f'(z) at all pixels of `strips` strips from strip `first` on; dy and y = f(z) flat."""
    line = grid.ow * filters
    for strip in range(first, first + strips):
        image, row = strip // grid.down, strip % grid.down * grid.m
        begin = (image * grid.oh + row) * line
        for start in range(begin, begin + min(grid.m, grid.oh - row) * line, line):
            activation_gradient_in_place(dy[start : start + line], y[start : start + line], code)


@inlined
def add_panel_products(
    inputs: Array, gradients: Array, plane: int, tiles: int, channels: int, filters: int, f: int, width: int, m: int,
    ones: Array, sums: Array, begin: int, adding: bool, tiling: Tiling,
) -> None:  # fmt: skip
    """inputs (tiles, C) transposed · gradients (tiles, width) at each place, and the sum of the tiles' dz, for filters
    f to f + width: written to a slot's sums, from sums[begin] on, or added to them.

    plane: tiles from one place to the next. ones: (1,), as a factor of the tiles' sum.
    """
    places = (m + 2) * (m + 2)
    for place in range(places):
        rows_product(
            inputs, place * plane * channels, 1, channels, 0, gradients, place * plane * width, width, 0,
            sums, begin + (place * filters + f) * channels, width, tiles, 1, channels, width, adding, tiling,
        )  # fmt: skip
    rows_product(
        ones, 0, 0, 0, 0, gradients, (m + 3) * plane * width, width, 0,
        sums, begin + places * channels * filters + f, 0, tiles, 1, 1, width, adding, tiling,
    )  # fmt: skip


def winograd_gradient_loops(
    x: Array, y: Array, dy: Array, grid: Grid, code: int, transform: Transform, tiling: Tiling,
    dkernel: Array, dbias: Array,
) -> None:  # fmt: skip
    """dkernel and dbias from dy = dL/dy and the output y = f(z). Overwrites both, and dy with dz = dL/dz.

    Blocks of strips as in the forward pass; dealt to slots, each of which sums in transformed space. The sums are
    added and transformed back in one product at the end. One of the places of A dz Aᵀ, (1, 1), is the sum of the
    tile's dz: dbias.
    """
    n, channels, filters = x.shape[0], x.shape[3], dy.shape[3]
    m, a = transform.m, transform.m + 2
    places, widest = a * a, tiling.widest
    flat_x, flat_y, flat_dy, flat_dkernel = x.reshape(-1), y.reshape(-1), dy.reshape(-1), dkernel.reshape(-1)
    strips = n * grid.down
    most = strips_per_block(strips, grid.across, places * grid.across * (channels + widest) * x.itemsize)
    blocks, plane = (strips + most - 1) // most, most * grid.across
    slots = max(1, min(SLOTS, blocks))
    size = (places * channels + 1) * filters  # the last row of a slot is dbias
    partial, ones = lines_of_cache(slots * size, x), np.ones(1, x.dtype)
    if blocks == 0:
        partial[:] = 0
    for slot in prange(slots):
        rows = lines_of_cache(a * grid.w * channels, x)
        inputs, gradients = lines_of_cache(places * plane * channels, x), lines_of_cache(places * plane * widest, x)
        for block in range(slot, blocks, slots):
            first = block * most
            count = min(most, strips - first)
            if code != LINEAR:
                differentiate_strips(flat_dy, flat_y, filters, grid, first, count, code)
            transform_inputs(flat_x, grid, channels, first, count, transform.bt, rows, inputs, plane * channels, tiling)
            for f in range(0, filters, widest):
                width = min(widest, filters - f)
                transform_gradients(
                    flat_dy, filters, f, width, grid, first, count, transform.gradients,
                    gradients, plane * width, tiling,
                )  # fmt: skip
                add_panel_products(
                    inputs, gradients, plane, count * grid.across, channels, filters, f, width, m,
                    ones, partial, slot * size, block > slot, tiling,
                )  # fmt: skip
    for c in prange(channels):
        for f in range(0, filters, widest):
            width = min(widest, filters - f)
            rows_product(
                transform.kernel_gradients, 0, places, 1, 0,
                partial, f * channels + c * width, channels * filters, size,
                flat_dkernel, c * filters + f, channels * filters, places, slots, 9, width, False, tiling,
            )  # fmt: skip
    for f in range(filters):
        dbias[f] = partial[size - filters + f]
        for slot in range(1, slots):
            dbias[f] += partial[(slot + 1) * size - filters + f]


winograd_forward = compiled(winograd_forward_loops)
winograd_gradient = compiled(winograd_gradient_loops)
