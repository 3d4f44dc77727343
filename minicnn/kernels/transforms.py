"""The transforms of Winograd's, Toeplitz's and Strassen's products: small matrices of 0, 1 and −1 on both sides.

`tile_transform` here is the definition; llvm.py has the generated machine code that stands for it in compiled kernels:
the additions and subtractions alone, between vectors in registers.
"""

import numpy as np

from minicnn.kernels.forking import compile_lock
from minicnn.kernels.jit import generated
from minicnn.kernels.tiles import Tiling
from minicnn.typing import Array

INPUTS, OUTPUTS, GRADIENTS = 0, 1, 2
"""The kinds of tile_transform for Winograd's convolution, by the place of their matrix in SIDES."""

TWO_INPUTS, TWO_OUTPUTS, TWO_GRADIENTS = 3, 4, 5
FOUR_INPUTS, FOUR_OUTPUTS, FOUR_GRADIENTS = 6, 7, 8
"""For maps of 2x2 and of 4x4 pixels."""

LEFT, RIGHT, SUMS = 9, 10, 11
"""And for Strassen's product."""

_BT, _AT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)), ((1, 1, 1, 0), (0, 1, -1, -1))
_HALVES = ((1, 1), (0, 1), (1, 0))
_OF_HALVES = ((1, 1, 0), (1, 0, 1))


def _nested(matrix: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    """The Kronecker product of a matrix with itself."""
    return tuple(map(tuple, np.kron(matrix, matrix).tolist()))


def _transposed(matrix: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(zip(*matrix, strict=True))


_LEFT = ((1, 0, 0, 1), (0, 0, 1, 1), (1, 0, 0, 0), (0, 0, 0, 1), (1, 1, 0, 0), (-1, 0, 1, 0), (0, 1, 0, -1))
_RIGHT = ((1, 0, 0, 1), (1, 0, 0, 0), (0, 1, 0, -1), (-1, 0, 1, 0), (0, 0, 0, 1), (1, 1, 0, 0), (0, 0, 1, 1))
_SUMS = ((1, 0, 0, 1, -1, 0, 1), (0, 0, 1, 0, 1, 0, 0), (0, 1, 0, 1, 0, 0, 0), (1, -1, 1, 0, 0, 1, 0))

SIDES = (
    *(_BT, _AT, _transposed(_AT)),
    *(_HALVES, _OF_HALVES, _transposed(_OF_HALVES)),
    *(_nested(_HALVES), _nested(_OF_HALVES), _transposed(_nested(_OF_HALVES))),
    *(_LEFT, _RIGHT, _SUMS),
)
"""Of Winograd's F(2,3): B transposed, A transposed, and A (winograd.py). Of maps of 2x2 and then of 4x4 pixels: B, A,
and A transposed (toeplitz.py). Of Strassen's product: L, R and S (strassen.py)."""


@generated
def tile_transform(
    a: Array, a0: int, a_row: int, a_column: int, a_tile: int,
    b: Array, b0: int, b_row: int, b_column: int, b_tile: int,
    kind: int, tiles: int, columns: int,
) -> None:  # fmt: skip
    """S d Sᵀ of each of a row of tiles, for `columns` numbers side by side: S is the matrix SIDES[kind].

        b[t, i, j, f] = Σ over k, l of S[i, k] · S[j, l] · a[t, k, l, f]

    for t < tiles and f < columns, where a[t, k, l, f] is the number at a0 + t·a_tile + k·a_row + l·a_column + f of the
    array a taken flat, and b's likewise. columns is a multiple of Tiling.lanes.
    """
    a, b, side = a.reshape(-1), b.reshape(-1), np.array(SIDES[kind], a.dtype)
    for t in range(tiles):
        for f in range(columns):
            start = a0 + t * a_tile + f
            d = np.array(
                [[a[start + k * a_row + m * a_column] for m in range(side.shape[1])] for k in range(side.shape[1])]
            )
            result = side @ d @ side.T
            for i in range(side.shape[0]):
                for j in range(side.shape[0]):
                    b[b0 + t * b_tile + i * b_row + j * b_column + f] = result[i, j]


def with_transforms(tiling: Tiling, itemsize: int) -> Tiling:
    """The tiling that tiling_for gave, for kernels that call tile_transform and panel_product as well."""
    with compile_lock:
        from minicnn.kernels import machine_code

        machine_code.provide("transform", itemsize)
        machine_code.provide("fetching", itemsize)
    return tiling
