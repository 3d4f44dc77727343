"""Putting a batch together: rows of the data set, in a shuffled order, as floating-point numbers."""

from minicnn.kernels.jit import compiled, prange
from minicnn.typing import Array


def gather_loops(data: Array, rows: Array, batch: Array) -> None:
    """batch[b, :] = data[rows[b], :], converted to batch's dtype on the way.

    data (N, F) of any real dtype, uint8 images as they come; rows (B,) int64; batch (B, F), overwritten. The data set
    itself is never converted as a whole.
    """
    features = data.shape[1]
    for b in prange(rows.size):
        row = rows[b]
        for f in range(features):
            batch[b, f] = data[row, f]


def gather_numpy(data: Array, rows: Array, batch: Array) -> None:
    """gather_loops."""
    batch[...] = data[rows]


gather_numba = compiled(gather_loops)
