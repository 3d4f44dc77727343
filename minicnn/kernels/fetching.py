"""A product that fetches what the next one needs while it computes: for second factors larger than a cache.

The CPU fetches ahead what lies side by side, but the first tile of a panel catches up with it and waits for every line.
On an AVX-512 Xeon the AlexNets' small convolutions (toeplitz.py) take 0.87 of the time of rows_product (tiles.py) for
256 images, a wide convolution of the sheet's cnn_cifar10 (winograd.py) 0.91, and predicting with the AlexNets, where
strassen.py adds to it, 0.9. What is packed just before gains nothing (valid_taps.py).
"""

from minicnn.kernels.jit import generated, inlined
from minicnn.kernels.tiles import Tiling, rows_product, tile_product
from minicnn.typing import Array

DEPTH = 128
"""Terms that panel_product sums over at a time: so many rows of a panel stay in the first-level cache for all tiles.
Strassen's 49 products of 256 samples through 4096x4096 take 1.02 to 1.05 times as long with 256 (an AVX-512 Xeon)."""

FETCHING = 3
"""Vectors in a row of tiles that fetch, at least, or as many as the widest have. Narrower ones load more for each
product: with those of two vectors fetching as well, in all products, LeNet-5 took 1.07 of the time to train."""


@generated
def fetching_tile_product(
    a: Array, a0: int, a_row: int, a_in: int, a_out: int,
    b: Array, b0: int, b_in: int, b_out: int,
    c: Array, c0: int, c_row: int,
    n_in: int, n_out: int, rows: int, columns: int, add: bool, ahead: int,
) -> None:  # fmt: skip
    """tile_product of tiles of FETCHING vectors or more; meanwhile the lines of cache at ahead + k·b_in of b, which may
    lie beyond its end, come to the second-level cache."""
    tile_product(
        a, a0, a_row, a_in, a_out, b, b0, b_in, b_out, c, c0, c_row, n_in, n_out, rows, columns, add
    )  # fmt: skip


@inlined
def fetching_rows_product(
    a: Array, a0: int, a_row: int, b: Array, b0: int, c: Array, c0: int, c_row: int,
    n_in: int, rows: int, columns: int, add: bool, ahead: int, tiling: Tiling,
) -> None:  # fmt: skip
    """rows_product of numbers of a side by side and b (n_in, columns), which meanwhile fetches b's (n_in, columns) from
    `ahead` on: a vector's width for each tile of rows, so all of them if there are as many tiles."""
    lanes, vectors = tiling[0], columns // tiling[0]
    if vectors < min(FETCHING, tiling.widest // lanes):
        rows_product(a, a0, a_row, 1, 0, b, b0, columns, 0, c, c0, c_row, n_in, 1, rows, columns, add, tiling)
        return
    limit = tiling[vectors]
    tiles = (rows + limit - 1) // limit
    first = 0
    for tile in range(tiles):
        last = (tile + 1) * rows // tiles
        fetching_tile_product(
            a, a0 + first * a_row, a_row, 1, 0,
            b, b0, columns, 0,
            c, c0 + first * c_row, c_row,
            n_in, 1, last - first, columns, add, ahead + tile % vectors * lanes,
        )  # fmt: skip
        first = last


@inlined
def panel_product(
    a: Array, a0: int, a_row: int, b: Array, b0: int, c: Array, c0: int, c_row: int,
    terms: int, rows: int, columns: int, following: int, tiling: Tiling,
) -> None:  # fmt: skip
    """c (rows, columns) = a (rows, terms) · b, a panel (terms, columns), while what comes next of b is fetched.

    following: where the panel begins that is multiplied by after this one. rows of a and c are a_row and c_row apart.
    tiling: of transforms.with_transforms, which sees to it that the machine code called here is there.
    """
    for k in range(0, terms, DEPTH):
        depth = min(DEPTH, terms - k)
        ahead = b0 + (k + depth) * columns if k + depth < terms else following
        fetching_rows_product(
            a, a0 + k, a_row, b, b0 + k * columns, c, c0, c_row, depth, rows, columns, k > 0, ahead, tiling
        )
