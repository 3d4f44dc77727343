"""Winograd's convolution: 3x3 kernels with 4/9 of the multiplications.

In one dimension, two neighbouring outputs of a kernel of three numbers g on four inputs d take six multiplications,

    y0 = d0·g0 + d1·g1 + d2·g2        y1 = d1·g0 + d2·g1 + d3·g2

or four, where what depends on g alone is computed once for all places of the map. This is F(2,3):

    m0 = (d0 − d2)·g0                 m1 = (d1 + d2)·(g0 + g1 + g2)/2          y0 = m0 + m1 + m2
    m3 = (d1 − d3)·g2                 m2 = (d2 − d1)·(g0 − g1 + g2)/2          y1 = m1 − m2 − m3

With matrices, y = Aᵀ[(G g) ⊙ (Bᵀ d)]. Done along rows and columns of a tile d of 4x4 pixels it gives 2x2 outputs,

    Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A      F(2x2,3x3): 16 multiplications instead of 36

and since everything but ⊙ is linear, the sum over the channels is taken before Aᵀ: each of the 16 places is a matrix
product, (tiles, C)·(C, F). Derivatives follow from the transposed matrices; with dz = dL/dY of one tile,

    dL/dg = Gᵀ[Σ over tiles of (Bᵀ d B) ⊙ (A dz Aᵀ)]G
    dL/dd   is a convolution of dz with the kernel turned around, filters and channels exchanged: Y again

Its error in float32 is the definition's, 3e-7 of the largest output. One NaN or infinity spreads over its tile of
pixels, and no further. On the sheet's exercise 7.1 (cnn_cifar10) it made a training step of 139 ms one of 106, and
predicting 256 µs an image instead of 327 (2 cores of an AVX-512 Xeon). F(4x4,3x3), with 36 multiplications instead of
144, was tried and left out: 7 % in predicting and nothing in training, for errors up to 1e-5. The loops would take its
matrices.

Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks"; Winograd 1980, "Arithmetic complexity
of computations". The NumPy versions are the formulas; the loops below them are the parts of what is run,
steps/winograd_kernels.py.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minicnn.geometry import Windows
from minicnn.kernels.jit import inlined
from minicnn.kernels.tiles import Tiling, pooled_tile_product, tile_product
from minicnn.typing import Array

SLOTS = 8
"""Parts that the tiles are dealt to: a fixed number, so that sums over tiles do not depend on the threads."""

BLOCK_BYTES = 3 << 18
"""Aim for the transformed tiles of one block: with the weights they meet they stay in a second-level cache of 2 MB."""


class Transform(NamedTuple):
    """The matrices of F(m x m, 3x3): tiles of m x m outputs from a x a pixels, a = m + 2.

    bt: Bᵀ (a, a). g: G (a, 3). at: Aᵀ (m, a). The others do both directions in one product, on tiles taken flat:
    kernels: G⊗G (a², 9). outputs: Aᵀ⊗Aᵀ (m², a²). gradients: A⊗A (a², m²). kernel_gradients: Gᵀ⊗Gᵀ (9, a²).
    """

    m: int
    bt: Array
    g: Array
    at: Array
    kernels: Array
    outputs: Array
    gradients: Array
    kernel_gradients: Array


@cache
def transform_for(dtype: str) -> Transform:
    """The matrices of F(2x2,3x3) in this dtype."""
    bt = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], dtype)
    g = np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]], dtype)
    at = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], dtype)
    return Transform(2, bt, g, at, np.kron(g, g), np.kron(at, at), np.kron(at.T, at.T), np.kron(g.T, g.T))


# ---------------------------------------------------------------- the formulas


def _input_tiles(x: Array, windows: Windows, transform: Transform) -> Array:
    """Bᵀ d B of every tile: (N, TH, TW, a, a, C)."""
    m, a = transform.m, transform.m + 2
    down, across = -(-windows.oh // m), -(-windows.ow // m)
    n, h, w, channels = x.shape
    frame = np.zeros((n, max(down * m + 2, windows.top + h), max(across * m + 2, windows.left + w), channels), x.dtype)
    frame[:, windows.top : windows.top + h, windows.left : windows.left + w] = x
    tiles = sliding_window_view(frame, (a, a), (1, 2))[:, ::m, ::m][:, :down, :across]  # (N, TH, TW, C, a, a)
    return np.einsum("ik,ntuckl,jl->ntuijc", transform.bt, tiles, transform.bt, optimize=True)


def winograd_numpy(x: Array, kernel: Array, bias: Array, windows: Windows, transform: Transform) -> Array:
    """conv2d_numpy (convolution.py) for kernels of 3x3 with strides and dilation 1, by Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A."""
    weights = np.einsum("ik,klcf,jl->ijcf", transform.g, kernel, transform.g, optimize=True)
    products = np.einsum("ntuijc,ijcf->ntuijf", _input_tiles(x, windows, transform), weights, optimize=True)
    tiles = np.einsum("pi,ntuijf,qj->ntpuqf", transform.at, products, transform.at, optimize=True)
    n, down, m, across, _, filters = tiles.shape
    y = tiles.reshape(n, down * m, across * m, filters)[:, : windows.oh, : windows.ow]
    return np.ascontiguousarray(y + bias)


def winograd_gradient_numpy(x: Array, dz: Array, windows: Windows, transform: Transform) -> tuple[Array, Array]:
    """dkernel = Gᵀ[Σ (Bᵀ d B) ⊙ (A dz Aᵀ)]G, and dbias."""
    inputs = _input_tiles(x, windows, transform)
    n, down, across = inputs.shape[:3]
    m, filters = transform.m, dz.shape[3]
    frame = np.zeros((n, down * m, across * m, filters), dz.dtype)
    frame[:, : windows.oh, : windows.ow] = dz
    tiles = frame.reshape(n, down, m, across, m, filters)
    gradients = np.einsum("pi,ntpuqf,qj->ntuijf", transform.at, tiles, transform.at, optimize=True)
    weights = np.einsum("ntuijc,ntuijf->ijcf", inputs, gradients, optimize=True)
    return np.einsum("ik,ijcf,jl->klcf", transform.g, weights, transform.g, optimize=True), dz.sum((0, 1, 2))


def turned_around(kernel: Array) -> Array:
    """The kernel (3, 3, F, C) whose convolution of dz (N, OH, OW, F) is dx (N, H, W, C)."""
    return np.ascontiguousarray(kernel[::-1, ::-1].swapaxes(2, 3))


def turned_windows(windows: Windows, map_size: tuple[int, int]) -> Windows:
    """Where turned_around's kernel lies on dz, for a map of (height, width) pixels that `windows` lay on."""
    return Windows(3, 3, 1, 1, 1, 1, 2 - windows.top, 2 - windows.left, *map_size)


# ---------------------------------------------------------------- the parts of the loops


class Grid(NamedTuple):
    """The tiles of a batch: strips of `across` tiles side by side, `down` strips to an image, image after image.

    h, w: pixels of the map that is read. oh, ow: of the one that is made. top, left: padding before the former.
    m: pixels to a side of a tile of outputs; tiles may hang over the edge.
    """

    h: int
    w: int
    oh: int
    ow: int
    top: int
    left: int
    m: int
    down: int
    across: int


def grid_of(map_size: tuple[int, int], windows: Windows, m: int) -> Grid:
    """The tiles of maps of (height, width) pixels."""
    oh, ow = windows.out
    return Grid(*map_size, oh, ow, windows.top, windows.left, m, -(-oh // m), -(-ow // m))


@inlined
def strips_per_block(strips: int, across: int, strip_bytes: int) -> int:
    """As many strips as fit BLOCK_BYTES; fewer where there are few, so that a single image keeps both cores busy.

    But not fewer than hold 16 tiles, for which the weights are read again.
    """
    return max((15 + across) // across, min(BLOCK_BYTES // strip_bytes, (strips + SLOTS - 1) // SLOTS))


@inlined
def transform_inputs(
    x: Array, grid: Grid, channels: int, first: int, strips: int, bt: Array,
    rows: Array, inputs: Array, plane: int, tiling: Tiling,
) -> None:  # fmt: skip
    """Bᵀ d B of the tiles of `strips` strips from strip `first` on.

    All arrays flat. rows: for one strip of Bᵀ d, (a, W·C). inputs: place by place, `plane` numbers apart, (tiles, C).
    Pixels outside the map are left out of the sums.
    """
    a, run = grid.m + 2, grid.w * channels
    for strip in range(strips):
        image, row = (first + strip) // grid.down, (first + strip) % grid.down * grid.m - grid.top
        above, below = max(0, -row), min(a, grid.h - row)
        for k in range(0, run, tiling.widest):
            tile_product(
                bt, above, a, 1, 0, x, (image * grid.h + row + above) * run + k, run, 0, rows, k, run,
                below - above, 1, a, min(tiling.widest, run - k), False,
            )  # fmt: skip
        for tile in range(grid.across):
            column = tile * grid.m - grid.left
            before, after = max(0, -column), min(a, grid.w - column)
            for c in range(0, channels, tiling.widest):
                place = (strip * grid.across + tile) * channels + c
                for i in range(a):
                    tile_product(
                        bt, before, a, 1, 0, rows, i * run + (column + before) * channels + c, channels, 0,
                        inputs, i * a * plane + place, plane,
                        after - before, 1, a, min(tiling.widest, channels - c), False,
                    )  # fmt: skip


@inlined
def transform_outputs(
    products: Array, plane: int, grid: Grid, first: int, strips: int, outputs: Array,
    y: Array, filters: int, f: int, width: int,
) -> None:  # fmt: skip
    """Aᵀ M A of the same tiles, for filters f to f + width: from products, (tiles, width) a place, to y."""
    m, places = grid.m, outputs.shape[1]
    for strip in range(strips):
        image, row = (first + strip) // grid.down, (first + strip) % grid.down * m
        for tile in range(grid.across):
            for p in range(min(m, grid.oh - row)):
                tile_product(
                    outputs, p * m * places, places, 1, 0, products, (strip * grid.across + tile) * width, plane, 0,
                    y, ((image * grid.oh + row + p) * grid.ow + tile * m) * filters + f, filters,
                    places, 1, min(m, grid.ow - tile * m), width, False,
                )  # fmt: skip


@inlined
def pool_outputs(
    products: Array, plane: int, first: int, strips: int, across: int, outputs: Array, bias: Array, mean: bool,
    y: Array, filters: int, f: int, width: int, tiling: Tiling,
) -> None:  # fmt: skip
    """transform_outputs and a pool of each tile's 2x2 outputs: one number a tile and filter (pooled_tile_product)."""
    places = outputs.shape[1]
    for tile in range(strips * across):
        for k in range(0, width, tiling.widest):
            pooled_tile_product(
                outputs, 0, 0, 1, 0, products, tile * width + k, plane, 0, places, 2 * places,
                bias, f + k, y, (first * across + tile) * filters + f + k, 0,
                places, 1, 1, min(tiling.widest, width - k), False, mean,
            )  # fmt: skip


@inlined
def transform_gradients(
    dz: Array, filters: int, f: int, width: int, grid: Grid, first: int, strips: int, matrix: Array,
    gradients: Array, plane: int, tiling: Tiling,
) -> None:  # fmt: skip
    """A dz Aᵀ of the same tiles, for filters f to f + width: (tiles, width) a place."""
    m, places = grid.m, matrix.shape[0]
    limit = tiling[width // tiling.lanes]
    for strip in range(strips):
        image, row = (first + strip) // grid.down, (first + strip) % grid.down * m
        for tile in range(grid.across):
            pixel = (image * grid.oh + row) * grid.ow + tile * m
            for place in range(0, places, limit):
                tile_product(
                    matrix, place * m * m, m * m, 1, m, dz, pixel * filters + f, filters, grid.ow * filters,
                    gradients, place * plane + (strip * grid.across + tile) * width, plane,
                    min(m, grid.ow - tile * m), min(m, grid.oh - row), min(limit, places - place), width, False,
                )  # fmt: skip
