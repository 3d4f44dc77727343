"""The loops of NormalizationPoolStep: batch normalization and the 2x2 pool behind it, without the map between them.

    y = pool((x − mean)·scale + beta),   scale = gamma / √(variance + epsilon)

On its own, batch normalization writes its result, as large as x, for the pool to read, and on the way back the pool
writes a gradient as large, which batch normalization reads twice. Here forward reads x and writes what the pool leaves
of it, a quarter; backward reads x once and writes dx once.

What forward keeps is `picked` (N, P, Q, C): for each window the x that the pool let through. For the largest value that
is x at the winner, of which all else follows: it is the first pixel of its window that equals picked, and with
x̂ = (picked − mean) / √(variance + epsilon) the sums are those of one layer on a quarter of the rows,

    dgamma = Σ dy·x̂,   dbeta = Σ dy

For the mean, picked is the mean of the window, and the same holds, since x̂ is linear in x.

Source of the normalization and its derivatives: Ioffe and Szegedy 2015, "Batch normalization".
"""

import numpy as np

from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.normalization import repeated
from minicnn.typing import Array


@inlined
def pick_largest(upper: Array, lower: Array, mean: Array, scale: Array, beta: Array, picked: Array) -> None:
    """One row of windows: picked (Q·C,) = the x whose (x − mean)·scale + beta is the largest, from two rows (W·C,).

    Not the largest x: where scale is negative it is the smallest, and of results that rounding makes equal the first
    one counts. A NaN wins over all.
    """
    channels = mean.size
    for q in range(picked.size // channels):
        left, right, end = 2 * q * channels, (2 * q + 1) * channels, 2 * (q + 1) * channels
        first, second, third, fourth = upper[left:right], upper[right:end], lower[left:right], lower[right:end]
        best = picked[q * channels : (q + 1) * channels]
        for c in range(channels):
            x, largest = first[c], (first[c] - mean[c]) * scale[c] + beta[c]
            y = (second[c] - mean[c]) * scale[c] + beta[c]
            wins = (y > largest) | ((y != y) & (largest == largest))
            x, largest = second[c] if wins else x, y if wins else largest
            y = (third[c] - mean[c]) * scale[c] + beta[c]
            wins = (y > largest) | ((y != y) & (largest == largest))
            x, largest = third[c] if wins else x, y if wins else largest
            y = (fourth[c] - mean[c]) * scale[c] + beta[c]
            wins = (y > largest) | ((y != y) & (largest == largest))
            best[c] = fourth[c] if wins else x


@inlined
def pick_mean(upper: Array, lower: Array, channels: int, corner: Array, means: Array, picked: Array) -> None:
    """One row of windows: picked (Q·C,) = the mean of each 2x2 window. means: a workspace (W·C,).

    There may be few channels, so the loops run over whole rows: a window is computed at every pixel, and every other
    one is used.
    """
    quarter = upper.dtype.type(0.25)
    right, below_right = upper[channels:], lower[channels:]
    for k in range(right.size):
        means[k] = quarter * ((upper[k] + right[k]) + (lower[k] + below_right[k]))
    for k in range(picked.size):
        picked[k] = means[corner[k]]


@inlined
def corners(windows: int, channels: int) -> Array:
    """For each number (q, c) of a row of windows, (Q·C,), its place 2·q·C + c in a row of the map."""
    result = np.empty(windows * channels, np.uint32)  # unsigned: no place counts from the end
    for q in range(windows):
        for c in range(channels):
            result[q * channels + c] = 2 * q * channels + c
    return result


@inlined
def sources(windows: int, channels: int) -> Array:
    """For each number (w, c) of a row of the map that lies in a window, its window's place, (w // 2)·C + c."""
    result = np.empty(2 * windows * channels, np.uint32)
    for w in range(2 * windows):
        for c in range(channels):
            result[w * channels + c] = w // 2 * channels + c
    return result


def normalized_pool_loops(
    x: Array, mean: Array, scale: Array, beta: Array, largest: bool, y: Array, picked: Array
) -> None:
    """Write y and picked (N, P, Q, C) from x (N, H, W, C), P and Q half of H and W, rounded down.

    largest: the pool keeps the largest value of a window, else the mean. picked may be empty if nobody will ask.
    """
    n, h, w, channels = x.shape
    windows = w // 2
    rows = x.reshape(n, h, w * channels)
    results, kept = y.reshape(n, h // 2, windows * channels), picked.reshape(-1, h // 2, windows * channels)
    means, scales, betas = repeated(mean, windows), repeated(scale, windows), repeated(beta, windows)
    corner = corners(0 if largest else windows, channels)
    for sample in prange(n):
        work, row_picked = np.empty(w * channels, x.dtype), np.empty(windows * channels, x.dtype)
        for p in range(h // 2):
            upper, lower = rows[sample, 2 * p], rows[sample, 2 * p + 1]
            chosen = kept[sample, p] if picked.size else row_picked
            if largest:
                pick_largest(upper, lower, mean, scale, beta, chosen)
            else:
                pick_mean(upper, lower, channels, corner, work, chosen)
            result = results[sample, p]
            for k in range(result.size):
                result[k] = (chosen[k] - means[k]) * scales[k] + betas[k]


@inlined
def which_pixel(first: Array, second: Array, third: Array, picked: Array, which: Array) -> None:
    """0 to 3: the first of a window's pixels that equals picked, or is NaN, as picked then is; all (C,)."""
    number = which.dtype.type
    for c in range(which.size):
        winner = number(3)
        winner = number(2) if (third[c] == picked[c]) | (third[c] != third[c]) else winner
        winner = number(1) if (second[c] == picked[c]) | (second[c] != second[c]) else winner
        which[c] = number(0) if (first[c] == picked[c]) | (first[c] != first[c]) else winner


@inlined
def winner_gradient(
    x: Array, mean: Array, b: Array, d: Array, from_batch: bool, share: Array, which: Array, pixel: int, dx: Array
) -> None:
    """One pixel of a window, (C,): what every pixel gets, and the share if it is the winner."""
    zero = x.dtype.type(0)
    for c in range(x.size):
        common = b[c] * (x[c] - mean[c]) + d[c] if from_batch else zero
        dx[c] = common + (share[c] if which[c] == pixel else zero)


@inlined
def run_gradient(x: Array, mean: Array, b: Array, d: Array, from_batch: bool, share: Array, dx: Array) -> None:
    """A run of pixels (L,): what every pixel gets, and its share."""
    zero = x.dtype.type(0)
    for k in range(x.size):
        common = b[k] * (x[k] - mean[k]) + d[k] if from_batch else zero
        dx[k] = common + share[k]


@inlined
def winners_gradient(
    x: Array, picked: Array, mean: Array, b: Array, d: Array, from_batch: bool, shares: Array, which: Array, dx: Array
) -> None:
    """Two rows of dx, (2, W·C), as far as they lie in windows, behind a pool that kept the largest value.

    picked, shares (Q·C,): what each window kept, and what its winner gets. which: a workspace (C,).
    """
    channels = which.size
    for q in range(picked.size // channels):
        left, right, end = 2 * q * channels, (2 * q + 1) * channels, 2 * (q + 1) * channels
        share, winner = shares[left // 2 : end // 2], picked[left // 2 : end // 2]
        which_pixel(x[0, left:right], x[0, right:end], x[1, left:right], winner, which)
        for pixel in range(4):
            row, start = pixel // 2, left + pixel % 2 * channels
            winner_gradient(
                x[row, start : start + channels], mean, b, d, from_batch, share, which, pixel,
                dx[row, start : start + channels],
            )  # fmt: skip


def normalized_pool_backward_loops(
    dy: Array, x: Array, picked: Array, mean: Array, scale: Array, b: Array, d: Array,
    from_batch: bool, largest: bool, dx: Array,
) -> None:  # fmt: skip
    """Write dx (N, H, W, C).

        dx = scale·dy', plus b·(x − mean) + d if mean and variance came from the batch

    dy' is dy (N, P, Q, C) at the winner of each window and 0 elsewhere, or a quarter of dy at each pixel of it; pixels
    in no window have 0. With M values of x in a channel, b = −scale·inverse·dgamma/M and d = −scale·dbeta/M.
    """
    n, h, w, channels = x.shape
    windows = w // 2
    rows, results = x.reshape(n, h, w * channels), dx.reshape(n, h, w * channels)
    gradients, kept = dy.reshape(n, h // 2, windows * channels), picked.reshape(n, h // 2, windows * channels)
    means, all_b, all_d = repeated(mean, w), repeated(b, w), repeated(d, w)
    scales, part = repeated(scale, windows), x.dtype.type(1 if largest else 0.25)
    source = sources(0 if largest else windows, channels)
    done = 2 * windows * channels if largest else 0  # numbers of a row that winners_gradient writes
    for sample in prange(n):
        shares, which = np.empty(windows * channels, x.dtype), np.empty(channels, x.dtype)
        spread = np.zeros(w * channels, x.dtype)  # of the mean, each pixel's share; 0 for all that is in no window
        for p in range(h // 2):
            gradient = gradients[sample, p]
            for k in range(shares.size):
                shares[k] = part * scales[k] * gradient[k]
            for k in range(source.size):
                spread[k] = shares[source[k]]
            if largest:
                winners_gradient(
                    rows[sample, 2 * p : 2 * p + 2], kept[sample, p], mean, b, d, from_batch, shares, which,
                    results[sample, 2 * p : 2 * p + 2],
                )  # fmt: skip
            for r in range(2 * p, 2 * p + 2):
                run_gradient(rows[sample, r, done:], means, all_b, all_d, from_batch, spread, results[sample, r, done:])
        if h % 2:  # a last row in no window
            spread[:] = 0
            run_gradient(rows[sample, h - 1], means, all_b, all_d, from_batch, spread, results[sample, h - 1])


normalized_pool = compiled(normalized_pool_loops)
normalized_pool_backward = compiled(normalized_pool_backward_loops)
