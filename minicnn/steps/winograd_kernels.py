"""The loops of WinogradStep: a convolution of 3x3, its bias, activation and perhaps a 2x2 pool, and its derivatives.

kernels/winograd.py has the algorithm. A block of tiles at a time is transformed, multiplied and transformed back while
it is in the second-level cache.
"""

import numpy as np

from minicnn.kernels.fetching import panel_product
from minicnn.kernels.fused import (
    LINEAR,
    activate,
    activate_in_place,
    activation_gradient_in_place,
)
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.normalization import repeated
from minicnn.kernels.tiles import Tiling, lines_of_cache, rows_product, zeroed_lines_of_cache
from minicnn.kernels.transforms import OUTPUTS, tile_transform
from minicnn.kernels.winograd import (
    SLOTS,
    Grid,
    Transform,
    blocks_of_strips,
    input_frame,
    odd_lines,
    output_frame,
    transform_gradients,
    transform_inputs,
    transform_outputs,
)
from minicnn.steps.pool_parts import AVERAGE_POOL, max_of_parts, mean_of_parts, unpool_row
from minicnn.steps.pooled_kernels import finish_pooled, signed
from minicnn.typing import Array


@inlined
def transform_kernels(
    kernel: Array, c: int, channels: int, filters: int, kernels: Array, weights: Array, tiling: Tiling
) -> None:
    """G g Gᵀ of channel c, from the kernel (T, C, F), flat. weights: place by place, panel by panel, (C, width).

    kernels: (places, T).
    """
    places, taps = kernels.shape
    for f in range(0, filters, tiling.widest):
        width = min(tiling.widest, filters - f)
        rows_product(
            kernels, 0, taps, 1, 0, kernel, c * filters + f, channels * filters, 0,
            weights, f * channels + c * width, channels * filters, taps, 1, places, width, False, tiling,
        )  # fmt: skip


@inlined
def transform_kernel_gradients(
    kernel_gradients: Array, c: int, channels: int, filters: int, sums: Array, slots: int, size: int, dkernel: Array,
    tiling: Tiling,
) -> None:  # fmt: skip
    """Gᵀ S G of channel c, to dkernel (T, C, F), flat. kernel_gradients: (T, places).

    S: the sum over the slots, `size` numbers apart in sums, each as transform_kernels writes its weights.
    """
    taps, places = kernel_gradients.shape
    for f in range(0, filters, tiling.widest):
        width = min(tiling.widest, filters - f)
        rows_product(
            kernel_gradients, 0, places, 1, 0, sums, f * channels + c * width, channels * filters, size,
            dkernel, c * filters + f, channels * filters, places, slots, taps, width, False, tiling,
        )  # fmt: skip


@inlined
def multiply_panel(
    inputs: Array, input_plane: int, tiles: int, channels: int, weights: Array, filters: int, f: int, width: int,
    next_f: int, places: int, products: Array, product_plane: int, tiling: Tiling,
) -> None:  # fmt: skip
    """products (tiles, width) = inputs (tiles, C) · weights (C, width) at each place, for filters f to f + width.

    input_plane, product_plane: numbers from one place to the next. next_f: where the panel begins that is multiplied by
    after this one.
    """
    for place in range(places):
        panel = (place * filters + f) * channels
        following = ((place + 1) * filters + f if place + 1 < places else next_f) * channels
        panel_product(
            inputs, place * input_plane, channels, weights, panel, products, place * product_plane, width,
            channels, tiles, width, following, tiling,
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
def repeated_panels(row: Array, count: int, widest: int) -> Array:
    """A row (F,) in panels of `widest` numbers, each panel `count` times one after the other."""
    panels = np.empty(count * row.size, row.dtype)
    for f in range(0, row.size, widest):
        last = min(f + widest, row.size)
        panels[f * count : last * count] = repeated(row[f:last], count)
    return panels


@inlined
def pool_strips(
    products: Array, plane: int, grid: Grid, first: int, strips: int, average: bool, code: int,
    biases: Array, signs: Array, mean: Array, scale: Array, beta: Array, parts: Array, pooled: Array, chosen: Array,
    y: Array, index: Array, filters: int, f: int, width: int,
) -> None:  # fmt: skip
    """transform_outputs with all that follows, up to a pool whose windows are the tiles.

    biases and so on: of the panel, once for each tile of a strip, as pooled_kernels.py has them. index: what a pool
    keeps (pool_parts.py), of y's size, or empty. Workspaces: parts, the four outputs of each tile (4, across, width);
    pooled and chosen, a strip of y and of index.
    """
    a, run = grid.m + 2, grid.across * width
    for strip in range(strips):
        tile_transform(
            products, strip * run, a * plane, plane, width, parts, 0, 2 * run, run, width, OUTPUTS, grid.across, width
        )
        if average:
            mean_of_parts(parts, biases, pooled, chosen)
        else:
            activate(max_of_parts(parts, biases, code, chosen), biases, LINEAR if scale.size else code, pooled)
        if scale.size:
            finish_pooled(pooled, signs, mean, scale, beta, LINEAR if average else code)
        for tile in range(grid.across):
            target = ((first + strip) * grid.across + tile) * filters + f
            for k in range(width):
                y[target + k] = pooled[tile * width + k]
            if index.size:
                for k in range(width):
                    index[target + k] = chosen[tile * width + k]


def winograd_forward_loops(
    x: Array, kernel: Array, bias: Array, grid: Grid, code: int, transform: Transform, tiling: Tiling,
    pool: int, mean: Array, scale: Array, beta: Array, y: Array, index: Array,
) -> None:  # fmt: skip
    """y = f(convolution + bias) for x (N, H, W, C) and kernel (3, 3, C, F), both C and F whole vectors.

    code: of the activation f (fused.py). bias: empty if there is neither bias nor activation. Overwrites y.

    pool: of the 2x2 pool that follows, each window of which is a tile; the grid has no tiles over the edge then. index:
    uint8 of y's shape, what the backward pass will need of it; or empty. mean, scale, beta (F,): of a normalization
    between the two, as in pooled_kernels.py, or empty.

    Filters are taken in panels as wide as a tile.
    """
    n, channels, filters = x.shape[0], x.shape[3], y.shape[3]
    a, across, widest = transform.m + 2, grid.across, tiling.widest
    places = a * a
    average = pool == AVERAGE_POOL
    matrix, biases, signs = signed(kernel.reshape(9 * channels, filters), bias, scale, average)
    flat_x, flat_y, flat_kernel = x.reshape(-1), y.reshape(-1), matrix.reshape(-1)
    weights = lines_of_cache(places * channels * filters, x)
    for c in prange(channels):
        transform_kernels(flat_kernel, c, channels, filters, transform.kernels, weights, tiling)
    if pool:
        biases, signs = repeated_panels(biases, across, widest), repeated_panels(signs, across, widest)
    means, scales = repeated_panels(mean, across, widest), repeated_panels(scale, across, widest)
    betas, flat_index = repeated_panels(beta, across, widest), index.reshape(-1)

    strips = n * grid.down
    blocks = blocks_of_strips(strips, across, places * across * (channels + widest) * x.itemsize)
    most = -(-strips // max(1, blocks))
    input_plane = odd_lines(most * across * channels, x.itemsize)
    product_plane = odd_lines(most * across * widest, x.itemsize)
    slots = min(SLOTS, blocks)
    groups = max(1, min(SLOTS // max(1, slots), (filters + widest - 1) // widest))  # of panels, where tiles are few
    for part in prange(slots * groups):
        slot, group = part // groups, part % groups
        pixels = zeroed_lines_of_cache(input_frame(grid, channels), x)
        inputs, products = lines_of_cache(places * input_plane, x), lines_of_cache(places * product_plane, x)
        outputs = lines_of_cache(4 * across * widest if pool else output_frame(grid, widest), x)
        pooled = lines_of_cache(across * widest if pool else 0, x)
        chosen = np.empty(pooled.size if index.size else 0, np.uint8)
        for block in range(slot, blocks, slots):
            first = block * strips // blocks
            count = (block + 1) * strips // blocks - first
            transform_inputs(flat_x, grid, channels, first, count, pixels, inputs, input_plane)
            for f in range(group * widest, filters, groups * widest):
                last = min(f + widest, filters)
                width = last - f
                next_f = f + groups * widest if f + groups * widest < filters else group * widest
                multiply_panel(
                    inputs, input_plane, count * across, channels, weights, filters, f, width, next_f,
                    places, products, product_plane, tiling,
                )  # fmt: skip
                if pool:
                    begin, end, run = f * across, last * across, width * across
                    pool_strips(
                        products, product_plane, grid, first, count, average, code, biases[begin:end], signs[begin:end],
                        means[begin:end], scales[begin:end], betas[begin:end],
                        outputs[: 4 * run], pooled[:run], chosen[:run], flat_y, flat_index, filters, f, width,
                    )  # fmt: skip
                else:
                    transform_outputs(products, product_plane, grid, first, count, outputs, flat_y, filters, f, width)
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
def unpool_strips(
    dy: Array, y: Array, index: Array, average: bool, code: int, filters: int, grid: Grid, first: int, strips: int,
    line: Array, dz: Array,
) -> None:  # fmt: skip
    """dz = dL/dz at all pixels of `strips` strips from what a pool behind f made of them: dy, y and index, flat.

    line: a workspace for a row of dy.
    """
    row = grid.ow * filters
    for strip in range(first, first + strips):
        begin, end = strip * line.size, (strip + 1) * line.size
        unpool_row(
            dy[begin:end], y[begin:end], index[begin:end], average, code, filters, line,
            dz, strip * 2 * row, row, filters,
        )  # fmt: skip


@inlined
def add_panel_products(
    inputs: Array, input_plane: int, gradients: Array, plane: int,
    tiles: int, channels: int, filters: int, f: int, width: int, m: int,
    ones: Array, sums: Array, begin: int, adding: bool, tiling: Tiling,
) -> None:  # fmt: skip
    """inputs (tiles, C) transposed · gradients (tiles, width) at each place, and the sum of the tiles' dz, for filters
    f to f + width: written to a slot's sums, from sums[begin] on, or added to them.

    input_plane, plane: numbers from one place to the next in inputs and gradients. ones: (1,), a factor of the tiles'
    sum.
    """
    places = (m + 2) * (m + 2)
    for place in range(places):
        rows_product(
            inputs, place * input_plane, 1, channels, 0, gradients, place * plane, width, 0,
            sums, begin + (place * filters + f) * channels, width, tiles, 1, channels, width, adding, tiling,
        )  # fmt: skip
    rows_product(
        ones, 0, 0, 0, 0, gradients, (m + 3) * plane, width, 0,
        sums, begin + places * channels * filters + f, 0, tiles, 1, 1, width, adding, tiling,
    )  # fmt: skip


def winograd_gradient_loops(
    x: Array, y: Array, dy: Array, index: Array, pool: int, grid: Grid, code: int, transform: Transform, tiling: Tiling,
    dz: Array, dkernel: Array, dbias: Array,
) -> None:  # fmt: skip
    """dz = dL/dz, dkernel and dbias from dy = dL/dy and the output y = f(z), or with a pool, pool(f(z)).

    Overwrites the three. Without a pool dz holds dy to begin with, and dy is not read; index as forward left it.

    Blocks of strips as in the forward pass; dealt to slots, each of which sums in transformed space. The sums are
    added and transformed back in one product at the end. One of the places of A dz Aᵀ, (1, 1), is the sum of the
    tile's dz: dbias.
    """
    n, channels, filters = x.shape[0], x.shape[3], dy.shape[3]
    m, a = transform.m, transform.m + 2
    places, widest = a * a, tiling.widest
    flat_x, flat_y, flat_dy, flat_index = x.reshape(-1), y.reshape(-1), dy.reshape(-1), index.reshape(-1)
    flat_dz, flat_dkernel = dz.reshape(-1), dkernel.reshape(-1)
    strips = n * grid.down
    blocks = blocks_of_strips(strips, grid.across, places * grid.across * (channels + widest) * x.itemsize)
    most = -(-strips // max(1, blocks))
    input_plane = odd_lines(most * grid.across * channels, x.itemsize)
    plane = odd_lines(most * grid.across * widest, x.itemsize)
    slots = max(1, min(SLOTS, blocks))
    size = (places * channels + 1) * filters  # the last row of a slot is dbias
    partial, ones = lines_of_cache(slots * size, x), np.ones(1, x.dtype)
    if blocks == 0:
        partial[:] = 0
    for slot in prange(slots):
        pixels = zeroed_lines_of_cache(input_frame(grid, channels), x)
        outputs = lines_of_cache(output_frame(grid, widest), x)
        inputs, gradients = lines_of_cache(places * input_plane, x), lines_of_cache(places * plane, x)
        line = np.empty(grid.across * filters if pool else 0, x.dtype)
        for block in range(slot, blocks, slots):
            first = block * strips // blocks
            count = (block + 1) * strips // blocks - first
            if pool:
                unpool_strips(
                    flat_dy, flat_y, flat_index, pool == AVERAGE_POOL, code, filters, grid, first, count, line, flat_dz
                )
            elif code != LINEAR:
                differentiate_strips(flat_dz, flat_y, filters, grid, first, count, code)
            transform_inputs(flat_x, grid, channels, first, count, pixels, inputs, input_plane)
            for f in range(0, filters, widest):
                width = min(widest, filters - f)
                transform_gradients(flat_dz, filters, f, width, grid, first, count, outputs, gradients, plane)
                add_panel_products(
                    inputs, input_plane, gradients, plane, count * grid.across, channels, filters, f, width, m,
                    ones, partial, slot * size, block > slot, tiling,
                )  # fmt: skip
    for c in prange(channels):
        transform_kernel_gradients(
            transform.kernel_gradients, c, channels, filters, partial, slots, size, flat_dkernel, tiling
        )
    for f in range(filters):
        dbias[f] = partial[size - filters + f]
        for slot in range(1, slots):
            dbias[f] += partial[(slot + 1) * size - filters + f]


winograd_forward = compiled(winograd_forward_loops)
winograd_gradient = compiled(winograd_gradient_loops)
