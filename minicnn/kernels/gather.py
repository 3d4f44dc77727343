"""Putting a batch together: rows of the data set, in a shuffled order, as floating-point numbers.

It takes 40 to 290 µs a batch of the sheet's, 7 to 50 % of what memory allows (bench/results/kernels.md): threads are
woken for little, and each line of the result is read into the cache before it is written, which the limit does not
count. In predicting with LeNet-5 on CIFAR-10 that is 5 % of the time, elsewhere less.
"""

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
