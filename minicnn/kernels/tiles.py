"""The tile product: the one operation that most convolutions and dense layers are made of.

A tile is a few rows of a result, each a few vector registers long: small enough to stay in the registers of the CPU
while a sum runs over two nested strides. The two strides are what spares convolution its im2col buffer: a window is
KH runs of KW·C numbers, one image row apart. `tile_product` here is the definition; llvm.py has the generated machine
code that stands for it in compiled kernels.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from minicnn.kernels.forking import compile_lock
from minicnn.kernels.jit import generated, inlined
from minicnn.typing import Array


class Tiling(NamedTuple):
    """How the results of a product are cut into tiles.

    lanes: elements of one vector register. limit1 ... limit4: the most rows of a tile that is one ... four vectors
    wide, so that tiling[v] is the limit for v vectors; 0 where the CPU has no room for tiles that wide. widest:
    elements of the widest row of a tile.
    """

    lanes: int
    limit1: int
    limit2: int
    limit3: int
    limit4: int
    widest: int


@generated
def tile_product(
    a: Array, a0: int, a_row: int, a_in: int, a_out: int,
    b: Array, b0: int, b_in: int, b_out: int,
    c: Array, c0: int, c_row: int,
    n_in: int, n_out: int, rows: int, columns: int, add: bool,
) -> None:  # fmt: skip
    """One tile of a product of matrices that lie in memory with two strides along the sum.

        c[m, f] = (c[m, f] if add else 0) + Σ over i < n_out, k < n_in of a[m, i, k] · b[i, k, f]

    for m < rows and f < columns, where a[m, i, k] is the number at a0 + m·a_row + i·a_out + k·a_in of the array a
    taken flat, b[i, k, f] that at b0 + i·b_out + k·b_in + f, and c[m, f] that at c0 + m·c_row + f. Arrays are
    C-contiguous; n_in and n_out at least 1; columns is a multiple of Tiling.lanes, rows within its limit.
    """
    a, b, c = a.reshape(-1), b.reshape(-1), c.reshape(-1)
    for m in range(rows):
        for f in range(columns):
            total = c[c0 + m * c_row + f] if add else a.dtype.type(0)
            for i in range(n_out):
                for k in range(n_in):
                    total += a[a0 + m * a_row + i * a_out + k * a_in] * b[b0 + i * b_out + k * b_in + f]
            c[c0 + m * c_row + f] = total


@generated
def pooled_tile_product(
    a: Array, a0: int, a_row: int, a_in: int, a_out: int,
    b: Array, b0: int, b_in: int, b_out: int, across: int, down: int,
    bias: Array, bias0: int, c: Array, c0: int, c_row: int,
    n_in: int, n_out: int, rows: int, columns: int, turned: bool, mean: bool,
) -> None:  # fmt: skip
    """A tile of tile_product whose results are those of a 2x2 pool: four products for each number of c.

        c[m, f] = the largest over r, s < 2 of bias[f] + Σ over i < n_out, k < n_in of a[m, i, k, r, s] · b[i, k, f]

    where a[m, i, k, r, s] is r·down + s·across behind a[m, i, k] of tile_product. mean: not the largest, but the mean
    of relu. NaN is larger than all. columns is one or two vectors.

    turned, the windows lie in b: c[m, f] is pooled from bias[m] + Σ a[m, i, k] · b[i, k, 2·f + s + r·down]; across is
    not used, and columns is one vector.
    """
    a, b, c, bias = a.reshape(-1), b.reshape(-1), c.reshape(-1), bias.reshape(-1)
    zero, quarter = a.dtype.type(0), a.dtype.type(0.25)
    for m in range(rows):
        for f in range(columns):
            pooled = zero
            for window in range(4):
                r, s = window // 2, window % 2
                pa = a0 + m * a_row + (0 if turned else r * down + s * across)
                pb = b0 + (2 * f + s + r * down if turned else f)
                total = bias[bias0 + (m if turned else f)]
                for i in range(n_out):
                    for k in range(n_in):
                        total += a[pa + i * a_out + k * a_in] * b[pb + i * b_out + k * b_in]
                if mean:
                    pooled += zero if total <= 0 else quarter * total
                elif window == 0 or total > pooled or total != total:
                    pooled = total
            c[c0 + m * c_row + f] = pooled


@generated
def rank_update(
    a: Array, a0: int, a_row: int, b: Array, b0: int, b_row: int, c: Array, c0: int, rank: int, rows: int, lanes: int
) -> None:
    """Adds the product of a few rows of b, which stay in registers, to any number of rows of c, each one vector long.

        c[m, f] += Σ over k < rank of a[m, k] · b[k, f]

    for m < rows and f < lanes, where a[m, k] is the number at a0 + m·a_row + k of the array a taken flat, b[k, f] that
    at b0 + k·b_row + f, and c[m, f] that at c0 + m·lanes + f. rank is update_rank's or 1, lanes Tiling.lanes.

    It is tile_product turned about. There the results stay in registers, and b comes from the cache for each tile anew.
    Here b is read once; it may lie far away, and its rows kilobytes apart.
    """
    a, b, c = a.reshape(-1), b.reshape(-1), c.reshape(-1)
    for m in range(rows):
        for f in range(lanes):
            total = c[c0 + m * lanes + f]
            for k in range(rank):
                total += a[a0 + m * a_row + k] * b[b0 + k * b_row + f]
            c[c0 + m * lanes + f] = total


@inlined
def even_width(columns: int, tiling: Tiling) -> int:
    """The width of the panels that so many columns, one or more, are cut into: whole vectors, as few panels as may be.
    The last one may be narrower.

    The first convolution of the sheet's AlexNets has 96 filters and rows of 8 windows. In panels of 64 and 32 it takes
    1.05 times as long as in two of 48, of which one tile takes all 8 rows (an AVX-512 Xeon).
    """
    panels = (columns + tiling.widest - 1) // tiling.widest
    return whole_vectors((columns + panels - 1) // panels, tiling.lanes)


@inlined
def with_rows(tiling: Tiling, most: int) -> Tiling:
    """The tiling with at most so many rows in a tile."""
    lanes, limit1, limit2, limit3, limit4, widest = tiling
    return Tiling(lanes, min(limit1, most), min(limit2, most), min(limit3, most), min(limit4, most), widest)


@inlined
def rows_product(
    a: Array, a0: int, a_row: int, a_in: int, a_out: int,
    b: Array, b0: int, b_in: int, b_out: int,
    c: Array, c0: int, c_row: int,
    n_in: int, n_out: int, rows: int, columns: int, add: bool, tiling: Tiling,
) -> None:  # fmt: skip
    """tile_product for any number of rows, in tiles as equal as can be; columns still fit one tile."""
    limit = tiling[columns // tiling[0]]
    tiles = (rows + limit - 1) // limit
    first = 0
    for tile in range(tiles):
        last = (tile + 1) * rows // tiles
        tile_product(
            a, a0 + first * a_row, a_row, a_in, a_out,
            b, b0, b_in, b_out,
            c, c0 + first * c_row, c_row,
            n_in, n_out, last - first, columns, add,
        )  # fmt: skip
        first = last


@inlined
def pooled_rows_product(
    a: Array, a0: int, a_row: int, a_in: int, a_out: int,
    b: Array, b0: int, b_in: int, b_out: int, across: int, down: int,
    bias: Array, bias0: int, c: Array, c0: int, c_row: int,
    n_in: int, n_out: int, rows: int, columns: int, turned: bool, mean: bool, tiling: Tiling,
) -> None:  # fmt: skip
    """rows_product for pooled_tile_product, with the tiling of pooled tiles."""
    limit = tiling[columns // tiling[0]]
    tiles = (rows + limit - 1) // limit
    first = 0
    for tile in range(tiles):
        last = (tile + 1) * rows // tiles
        pooled_tile_product(
            a, a0 + first * a_row, a_row, a_in, a_out,
            b, b0, b_in, b_out, across, down,
            bias, bias0 + (first if turned else 0), c, c0 + first * c_row, c_row,
            n_in, n_out, last - first, columns, turned, mean,
        )  # fmt: skip
        first = last


@inlined
def from_a_line(memory: Array, count: int) -> Array:
    """`count` numbers of the memory, which holds 64 bytes more, from the start of a cache line."""
    skip = (64 - np.int64(memory.ctypes.data) % 64) // memory.itemsize
    return memory[skip : skip + count]


@inlined
def lines_of_cache(count: int, like: Array) -> Array:
    """np.empty(count) of like's dtype, from the start of a cache line.

    The memory that kernels get starts there or in the middle of a line, as it happens, and vectors that straddle two
    lines take two reads: Winograd's forward pass takes 10 % longer then, and so does a dense layer 4096x4096.
    """
    return from_a_line(np.empty(count + 64 // like.itemsize, like.dtype), count)


@inlined
def zeroed_lines_of_cache(count: int, like: Array) -> Array:
    """np.zeros(count), likewise."""
    lines = lines_of_cache(count, like)
    lines[:] = 0
    return lines


@inlined
def whole_vectors(count: int, lanes: int) -> int:
    """count rounded up to a multiple of lanes."""
    return (count + lanes - 1) // lanes * lanes


@cache
def tiling_for(itemsize: int) -> Tiling | None:
    """The tiling for elements of itemsize bytes on this CPU; None where vector_unit.py knows no vector unit of it.

    Kernels take it as an argument, so that none runs before the machine code it calls is there.
    """
    return _tiling("tile", itemsize)


@cache
def pooled_tiling_for(itemsize: int) -> Tiling | None:
    """tiling_for, of pooled tiles."""
    return _tiling("pooled", itemsize)


@cache
def update_rank(itemsize: int) -> int:
    """The rank of rank_update for elements of itemsize bytes, on a CPU that tiling_for has a tiling for.

    Kernels take it as an argument, so that none runs before the machine code that it calls is there.
    """
    with compile_lock:
        from minicnn.kernels import machine_code, vector_unit

        unit = vector_unit.vector_unit()
        assert unit is not None
        machine_code.provide("update", itemsize)
    return unit.rank


def _tiling(name: str, itemsize: int) -> Tiling | None:
    with compile_lock:  # from the import of Numba on, no fork comes in between
        from minicnn.kernels import machine_code, vector_unit

        unit = vector_unit.vector_unit()
        if unit is None:
            return None
        machine_code.provide(name, itemsize)
    lanes = unit.width // itemsize
    rows = unit.rows if name == "tile" else unit.pooled
    limits = (*rows, 0, 0, 0)
    return Tiling(lanes, limits[0], limits[1], limits[2], limits[3], lanes * len(rows))
