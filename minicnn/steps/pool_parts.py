"""A 2x2 pool on rows of windows that a convolution has just made, forward and back: part of the loops of
ConvolutionStep and WinogradStep.

The four windows of each pool stand in four runs of one length, parts 0 to 3: even and odd windows of an even row, then
of the odd row below it. What a pool keeps for its backward pass is one byte an output, its index: a bit for each part
that a share of the gradient goes to, the first part's lowest.
"""

import numpy as np

from minicnn.kernels.fused import RELU, activation_gradient
from minicnn.kernels.jit import inlined
from minicnn.typing import Array

NO_POOL, MAX_POOL, AVERAGE_POOL = 0, 1, 2


@inlined
def max_of_parts(z: Array, bias: Array, code: int, index: Array) -> Array:
    """The largest of z's four quarters, written over the last of them, and in index the bit of the part it came from.

    Every f here is monotonic, so f of the largest + bias is the largest f. Of equal ones the first wins; NaN wins over
    all, but equals none, so that its bit is the last part's wherever it came from. What relu will cut off has no bit.
    index: empty if nobody will ask.
    """
    length = z.size // 4
    a, b, c, d = z[:length], z[length : 2 * length], z[2 * length : 3 * length], z[3 * length :]
    for k in range(length):
        best = a[k]
        best = b[k] if b[k] > best or b[k] != b[k] else best
        best = c[k] if c[k] > best or c[k] != c[k] else best
        d[k] = d[k] if d[k] > best or d[k] != d[k] else best
    if index.size:
        for k in range(length):
            bit = np.uint8(8)
            bit = np.uint8(4) if c[k] == d[k] else bit
            bit = np.uint8(2) if b[k] == d[k] else bit
            index[k] = np.uint8(1) if a[k] == d[k] else bit
        if code == RELU:
            for k in range(length):
                index[k] = np.uint8(0) if d[k] + bias[k] <= 0 else index[k]
    return d


@inlined
def mean_of_parts(z: Array, bias: Array, y: Array, index: Array) -> None:
    """y = the mean of relu(z + bias) over z's four quarters, and one bit for each that is above zero."""
    length = y.size
    a, b, c, d = z[:length], z[length : 2 * length], z[2 * length : 3 * length], z[3 * length :]
    zero, quarter = z.dtype.type(0), z.dtype.type(0.25)
    for k in range(length):
        p, q, r, s = a[k] + bias[k], b[k] + bias[k], c[k] + bias[k], d[k] + bias[k]
        p, q = zero if p <= 0 else p, zero if q <= 0 else q
        r, s = zero if r <= 0 else r, zero if s <= 0 else s
        y[k] = quarter * (p + q + r + s)
    if index.size:
        for k in range(length):
            low = np.uint8(a[k] + bias[k] > 0) | (np.uint8(b[k] + bias[k] > 0) << np.uint8(1))
            high = (np.uint8(c[k] + bias[k] > 0) << np.uint8(2)) | (np.uint8(d[k] + bias[k] > 0) << np.uint8(3))
            index[k] = low | high


@inlined
def spread(
    line: Array, index: Array, share: float, filters: int, dz: Array, place: int, dz_row: int, filled: int
) -> None:  # fmt: skip
    """One row of dL/dy·f', (Q, F), onto its two rows of dz, F' numbers a window: a share of it to each part in index.

    share: of line's dtype; 1 for the largest value, a quarter for the mean.
    """
    zero = line.dtype.type(0)
    for part in range(4):
        begin, bit = place + part // 2 * dz_row + part % 2 * filled, np.uint8(1 << part)
        for q in range(line.size // filters):
            target = dz[begin + 2 * q * filled : begin + 2 * q * filled + filters]
            gradient, bits = line[q * filters : (q + 1) * filters], index[q * filters : (q + 1) * filters]
            for f in range(filters):
                value = share * gradient[f]  # made first: a conditional read would be a jump, mispredicted at random
                target[f] = value if bits[f] & bit else zero


@inlined
def unpool_row(
    dy: Array, y: Array, index: Array, average: bool, code: int, filters: int, line: Array,
    dz: Array, place: int, dz_row: int, filled: int,
) -> None:  # fmt: skip
    """One row of dy = dL/dy, of y and of index, (Q·F,) each, onto its two rows of dz. line: a workspace for a row."""
    gradient, share = dy, dy.dtype.type(0.25 if average else 1.0)
    if code != RELU:  # else index says where relu is flat
        activation_gradient(dy, y, code, line)
        gradient = line
    spread(gradient, index, share, filters, dz, place, dz_row, filled)


@inlined
def spread_apart(line: Array, filters: int, dz: Array, place: int, filled: int) -> None:
    """One row of dL/dy·f' onto its row of dz, F' numbers a window."""
    for q in range(line.size // filters):
        target, gradient = dz[place + q * filled : place + q * filled + filters], line[q * filters : (q + 1) * filters]
        for f in range(filters):
            target[f] = gradient[f]
