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

Its error in float32 is the definition's, 3e-7 of the largest output. NaN reaches the outputs whose windows hold it, as
in the definition, and infinity the same, but as NaN. On the sheet's cnn_cifar10 a training step takes 179 ms with it
and 249 without, on cnn_relu 15.1 and 18.3; predicting an image 348 µs and 565, 27.6 and 36.8 (2 cores of an AVX-512
Xeon at half its speed). Of the definition's limit it reaches 99 to 168 % on an AMD EPYC
(bench/results/kernels_epyc.md), and 97 to 154 on a Xeon (kernels.md). F(4x4,3x3), with 36 multiplications instead of
144, was tried with transforms that were slower than these and left out: 7 % in predicting and nothing in training, for
errors up to 1e-5.

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
from minicnn.kernels.transforms import GRADIENTS, INPUTS, OUTPUTS, SIDES, tile_transform
from minicnn.typing import Array

SLOTS = 8
"""Parts that the tiles are dealt to: a fixed number, so that sums over tiles do not depend on the threads."""

BLOCK_BYTES = 1 << 19
"""Aim for the transformed tiles of one block: with the weights they meet they stay in a second-level cache of 2 MB."""


class Transform(NamedTuple):
    """The matrices of F(m x m, 3x3): tiles of m x m outputs from a x a pixels, a = m + 2.

    bt: Bᵀ (a, a). g: G (a, 3). at: Aᵀ (m, a). The others do both directions in one product, on tiles taken flat:
    kernels: G⊗G (a², 9). kernel_gradients: Gᵀ⊗Gᵀ (9, a²).
    """

    m: int
    bt: Array
    g: Array
    at: Array
    kernels: Array
    kernel_gradients: Array


@cache
def transform_for(dtype: str) -> Transform:
    """The matrices of F(2x2,3x3) in this dtype."""
    bt, at = np.array(SIDES[INPUTS], dtype), np.array(SIDES[OUTPUTS], dtype)
    g = np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]], dtype)
    return Transform(2, bt, g, at, np.kron(g, g), np.kron(g.T, g.T))


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

    h, w: pixels of the map that is read. oh, ow: of the one that is made, which lies in the corner of one of map_h x
    map_w. top, left: padding before the map that is read. m: pixels to a side of a tile of outputs; tiles may hang over
    the edge.
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
    map_h: int
    map_w: int


def grid_of(map_size: tuple[int, int], windows: Windows, m: int, out_size: tuple[int, int] | None = None) -> Grid:
    """The tiles of maps of (height, width) pixels. out_size: of the maps that are made, if the windows make a part."""
    oh, ow = windows.out
    size = out_size or (oh, ow)
    return Grid(*map_size, oh, ow, windows.top, windows.left, m, -(-oh // m), -(-ow // m), *size)


@inlined
def blocks_of_strips(strips: int, across: int, strip_bytes: int) -> int:
    """Into how many blocks the strips are cut, so that one fits BLOCK_BYTES; more where strips are few, so that a
    single image keeps both cores busy. 0 for no strips.

    But not so many that a block has fewer than 16 tiles, about, for which the weights are read again. As far as that
    allows, more than SLOTS blocks are a multiple of it, since every core has as many then: with 10, for 32 images of
    the sheet's cnn_relu, one of two cores had 6, and a training step took 1.1 times as long as with 16.
    """
    least = (15 + across) // across
    most = max(least, min(BLOCK_BYTES // strip_bytes, (strips + SLOTS - 1) // SLOTS))
    blocks = (strips + most - 1) // most
    even = (blocks + SLOTS - 1) // SLOTS * SLOTS
    return even if blocks > SLOTS and even * least <= strips else blocks


@inlined
def odd_lines(count: int, itemsize: int) -> int:
    """count rounded up to an odd number of cache lines.

    As the distance between a tile's sixteen places it keeps them apart in the first-level cache, where lines an even
    number apart would push each other out.
    """
    line = 64 // itemsize
    return ((count + line - 1) // line | 1) * line


@inlined
def input_frame(grid: Grid, channels: int) -> int:
    """The numbers of transform_inputs's frame: 0 where every tile lies in the map that is read."""
    height, width = grid.down * grid.m + 2, grid.across * grid.m + 2
    inside = grid.top == 0 and grid.left == 0 and height <= grid.h and width <= grid.w
    return 0 if inside else (grid.m + 2) * width * channels


@inlined
def output_frame(grid: Grid, width: int) -> int:
    """The numbers of a frame of outputs, `width` filters each: 0 where every tile lies in the map that is made."""
    inside = grid.down * grid.m == grid.oh and grid.across * grid.m == grid.ow
    return 0 if inside else grid.m * grid.across * grid.m * width


@inlined
def transform_inputs(
    x: Array, grid: Grid, channels: int, first: int, strips: int, frame: Array, inputs: Array, plane: int
) -> None:
    """Bᵀ d B of the tiles of `strips` strips from strip `first` on.

    All arrays flat. inputs: place by place, `plane` numbers apart, (tiles, C). frame: a workspace of zeros for the
    pixels of one strip and the zeros around them, (a, across·m + 2, C); empty if no tile reaches beyond the map.
    """
    a, run, zero = grid.m + 2, grid.w * channels, x.dtype.type(0)
    for strip in range(strips):
        image, row = (first + strip) // grid.down, (first + strip) % grid.down * grid.m - grid.top
        pixels, start, line = x, (image * grid.h + row) * run, run
        if frame.size:
            pixels, corner, line = frame, grid.left * channels, frame.size // a
            length = min(run, line - corner)
            for i in range(a):
                inside = 0 <= row + i < grid.h
                for k in range(length):
                    frame[corner + i * line + k] = x[start + i * run + k] if inside else zero
            start = 0
        tile_transform(
            pixels, start, line, channels, grid.m * channels,
            inputs, strip * grid.across * channels, a * plane, plane, channels, INPUTS, grid.across, channels,
        )  # fmt: skip


@inlined
def transform_outputs(
    products: Array, plane: int, grid: Grid, first: int, strips: int, frame: Array,
    y: Array, filters: int, f: int, width: int,
) -> None:  # fmt: skip
    """Aᵀ M A of the same tiles, for filters f to f + width: from products, (tiles, width) a place, to y, of whole maps.

    frame: a workspace for the outputs of one strip, (m, across·m, width), of any width that occurs; empty if no tile
    reaches beyond the map.
    """
    m, a = grid.m, grid.m + 2
    for strip in range(strips):
        image, row = (first + strip) // grid.down, (first + strip) % grid.down * m
        start = (image * grid.map_h + row) * grid.map_w * filters + f
        target, place, line, step = y, start, grid.map_w * filters, filters
        if frame.size:
            target, place, line, step = frame, 0, grid.across * m * width, width
        tile_transform(
            products, strip * grid.across * width, a * plane, plane, width,
            target, place, line, step, m * step, OUTPUTS, grid.across, width,
        )  # fmt: skip
        if frame.size:
            for p in range(min(m, grid.oh - row)):
                for q in range(grid.ow):
                    for k in range(width):
                        y[start + (p * grid.map_w + q) * filters + k] = frame[p * line + q * width + k]


@inlined
def transform_gradients(
    dz: Array, filters: int, f: int, width: int, grid: Grid, first: int, strips: int, frame: Array,
    gradients: Array, plane: int,
) -> None:  # fmt: skip
    """A dz Aᵀ of the same tiles, for filters f to f + width: (tiles, width) a place. frame: as in transform_outputs."""
    m, a, zero = grid.m, grid.m + 2, dz.dtype.type(0)
    for strip in range(strips):
        image, row = (first + strip) // grid.down, (first + strip) % grid.down * m
        start = (image * grid.oh + row) * grid.ow * filters + f
        source, place, line, step = dz, start, grid.ow * filters, filters
        if frame.size:
            source, place, line, step = frame, 0, grid.across * m * width, width
            for p in range(m):
                for q in range(grid.across * m):
                    inside = row + p < grid.oh and q < grid.ow
                    for k in range(width):
                        number = dz[start + (p * grid.ow + q) * filters + k] if inside else zero
                        frame[p * line + q * width + k] = number
        tile_transform(
            source, place, line, step, m * step,
            gradients, strip * grid.across * width, a * plane, plane, width, GRADIENTS, grid.across, width,
        )  # fmt: skip
