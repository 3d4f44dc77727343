"""The tile product: the one operation that direct convolutions (direct.py) and Winograd's are made of.

A tile is a few rows of a result, each a few vector registers long: small enough to stay in the registers of the CPU
while a sum runs over two nested strides. The two strides are what spares convolution its im2col buffer: a window is
KH runs of KW·C numbers, one image row apart. `tile_product` here is the definition; llvm.py has the generated machine
code that stands for it in compiled kernels.
"""

from functools import cache
from typing import NamedTuple

from minicnn.kernels.jit import generated, inlined
from minicnn.typing import Array


class Tiling(NamedTuple):
    """How the results of a product are cut into tiles.

    lanes: elements of one vector register. limit1 ... limit4: the most rows of a tile that is one ... four vectors
    wide; 0 where the CPU has no room for tiles that wide. widest: elements of the widest row of a tile.
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
def whole_vectors(count: int, lanes: int) -> int:
    """count rounded up to a multiple of lanes."""
    return (count + lanes - 1) // lanes * lanes


@cache
def tiling_for(itemsize: int) -> Tiling | None:
    """The tiling for elements of itemsize bytes on this CPU; None where it has no vector unit that llvm.py knows.

    Kernels take it as an argument, so that none runs before the machine code it calls is there.
    """
    from minicnn.kernels import llvm  # imports Numba

    unit = llvm.vector_unit()
    if unit is None:
        return None
    llvm.provide(itemsize)
    lanes = unit.width // itemsize
    limits = (*unit.rows, 0, 0, 0)
    return Tiling(lanes, limits[0], limits[1], limits[2], limits[3], lanes * len(unit.rows))
