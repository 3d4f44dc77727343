"""Batch normalization: every channel with mean 0 and variance 1 over the batch.

Throughout: x, y and dy are (M, C), the M = N·H·W positions of all samples in rows; mean, variance, gamma, beta and
inverse are (C,), where inverse = 1 / √(variance + epsilon). Source: Ioffe and Szegedy 2015.
"""

import numpy as np

from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.typing import Array

SLOTS = 16
"""Partial sums over the rows: a fixed number, added in order, so that the bits do not depend on the threads."""

RUN = 256
"""Numbers that the blocked versions take in one go: several rows where there are few channels."""

BLOCK = 64
"""Runs that are summed in x's own dtype, before the sums are added up in float64."""

# ---------------------------------------------------------------- the definitions


def batch_norm_statistics_loops(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel, in two passes, summed in float64.

    mean[c] = 1/M · Σ over m of x[m,c],   variance[c] = 1/M · Σ over m of (x[m,c] − mean[c])²
    """
    m, channels = x.shape
    per_slot = (m + SLOTS - 1) // SLOTS
    partial = np.zeros((SLOTS, channels))
    for slot in prange(SLOTS):
        for row in range(slot * per_slot, min(m, (slot + 1) * per_slot)):
            for c in range(channels):
                partial[slot, c] += x[row, c]
    mean = np.zeros(channels)
    for slot in range(SLOTS):
        for c in range(channels):
            mean[c] += partial[slot, c]
    for c in range(channels):
        mean[c] /= m
    partial[...] = 0
    for slot in prange(SLOTS):
        for row in range(slot * per_slot, min(m, (slot + 1) * per_slot)):
            for c in range(channels):
                deviation = x[row, c] - mean[c]
                partial[slot, c] += deviation * deviation
    variance = np.zeros(channels)
    for slot in range(SLOTS):
        for c in range(channels):
            variance[c] += partial[slot, c]
    for c in range(channels):
        variance[c] /= m
    return mean.astype(x.dtype), variance.astype(x.dtype)


def batch_norm_apply_loops(x: Array, mean: Array, inverse: Array, gamma: Array, beta: Array) -> Array:
    """y[m,c] = gamma[c] · (x[m,c] − mean[c]) · inverse[c] + beta[c]."""
    m, channels = x.shape
    y = np.empty_like(x)
    scale = gamma * inverse
    for row in prange(m):
        for c in range(channels):
            y[row, c] = (x[row, c] - mean[c]) * scale[c] + beta[c]
    return y


def batch_norm_sums_loops(dy: Array, x: Array, mean: Array, inverse: Array) -> tuple[Array, Array]:
    """The gradients of gamma and beta, with x̂ = (x − mean)·inverse, summed in float64.

    dgamma[c] = Σ over m of dy[m,c]·x̂[m,c],   dbeta[c] = Σ over m of dy[m,c]
    """
    m, channels = x.shape
    per_slot = (m + SLOTS - 1) // SLOTS
    partial = np.zeros((SLOTS, 2, channels))
    for slot in prange(SLOTS):
        for row in range(slot * per_slot, min(m, (slot + 1) * per_slot)):
            for c in range(channels):
                partial[slot, 0, c] += dy[row, c] * ((x[row, c] - mean[c]) * inverse[c])
                partial[slot, 1, c] += dy[row, c]
    total = np.zeros((2, channels))
    for slot in range(SLOTS):
        for k in range(2):
            for c in range(channels):
                total[k, c] += partial[slot, k, c]
    return total[0].astype(x.dtype), total[1].astype(x.dtype)


def batch_norm_backward_loops(
    dy: Array, x: Array, mean: Array, inverse: Array, gamma: Array, dgamma: Array, dbeta: Array
) -> Array:
    """dx where mean and variance come from the batch itself, and so depend on every x[m,c] of their channel.

    dx[m,c] = gamma[c]·inverse[c] · (dy[m,c] − dbeta[c]/M − x̂[m,c]·dgamma[c]/M)
    """
    m, channels = x.shape
    dx = np.empty_like(x)
    scale = gamma * inverse
    rows = x.dtype.type(m)
    mean_dy = dbeta / rows
    mean_dy_x = dgamma / rows
    for row in prange(m):
        for c in range(channels):
            normalized = (x[row, c] - mean[c]) * inverse[c]
            dx[row, c] = scale[c] * (dy[row, c] - mean_dy[c] - normalized * mean_dy_x[c])
    return dx


def batch_norm_statistics_numpy(x: Array) -> tuple[Array, Array]:
    """batch_norm_statistics_loops."""
    mean = x.mean(axis=0, dtype=np.float64)
    variance = np.mean((x - mean) ** 2, axis=0)
    return mean.astype(x.dtype), variance.astype(x.dtype)


def batch_norm_apply_numpy(x: Array, mean: Array, inverse: Array, gamma: Array, beta: Array) -> Array:
    """batch_norm_apply_loops."""
    return (x - mean) * (gamma * inverse) + beta


def batch_norm_sums_numpy(dy: Array, x: Array, mean: Array, inverse: Array) -> tuple[Array, Array]:
    """batch_norm_sums_loops."""
    dgamma = (dy * ((x - mean) * inverse)).sum(axis=0, dtype=np.float64)
    dbeta = dy.sum(axis=0, dtype=np.float64)
    return dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def batch_norm_backward_numpy(
    dy: Array, x: Array, mean: Array, inverse: Array, gamma: Array, dgamma: Array, dbeta: Array
) -> Array:
    """batch_norm_backward_loops."""
    rows = x.dtype.type(x.shape[0])
    return gamma * inverse * (dy - dbeta / rows - (x - mean) * inverse * (dgamma / rows))


# ---------------------------------------------------------------- blocked
#
# The loops above convert every number to float64, and start anew with each row, which may have 6 channels. Here x is
# taken flat, in runs of R whole rows, about RUN numbers. The R·C places of a run are treated as channels of their own
# (place k belongs to channel k mod C) until the very end. Runs are summed in x's dtype, as vector code, BLOCK of them
# at a time, and the blocks' sums are added up in float64. The rows that fill no run are done one by one.


@inlined
def rows_per_run(channels: int) -> int:
    """R: how many whole rows make a run of at most RUN numbers; at least one."""
    return max(1, RUN // max(1, channels))


@inlined
def whole_runs(x: Array) -> Array:
    """x (M, C) without the last M mod R rows, as runs (M // R, R·C)."""
    m, channels = x.shape
    together = rows_per_run(channels)
    count = m // together
    return x[: count * together].reshape(count, together * channels)


@inlined
def repeated(values: Array, times: int) -> Array:
    """values (C,) end to end: one for each place of a run of `times` rows."""
    result = np.empty(times * values.size, values.dtype)
    for k in range(times):
        for c in range(values.size):
            result[k * values.size + c] = values[c]
    return result


@inlined
def merge_moments(count: int, mean: Array, squares: Array, more: int, more_mean: Array, more_squares: Array) -> None:
    """Make mean and Σ (x − mean)² of `count` numbers at each place those of `more` others too.

        δ = mean' − mean,   squares += squares' + δ²·n·n'/(n + n'),   mean += δ·n'/(n + n')

    Nothing is lost however far the means are from 0. Source: Chan, Golub and LeVeque 1983.
    """
    if more == 0:
        return
    share = more / (count + more)
    for k in range(mean.size):
        difference = more_mean[k] - mean[k]
        squares[k] += more_squares[k] + difference * difference * (count * share)
        mean[k] += share * difference


@inlined
def block_sums(runs: Array, near: Array, sums: Array, squares: Array) -> None:
    """Σ (x − near) and Σ (x − near)² over the runs (B, L) of one block."""
    for k in range(sums.size):
        sums[k] = 0
        squares[k] = 0
    for i in range(runs.shape[0]):
        run = runs[i]
        for k in range(run.size):
            difference = run[k] - near[k]
            sums[k] += difference
            squares[k] += difference * difference


@inlined
def moments(runs: Array, mean: Array, squares: Array) -> None:
    """Mean and Σ (x − mean)² at each place of runs (B, L), in one pass over memory. mean and squares come as zeros.

    Sums are of differences to `near`, the mean of the block before. How far that is from a block's own mean is part of
    the variance itself, so that the rounding of the squares is a few units of x's precision times the variance, for
    any mean and any order of the rows.
    """
    length = mean.size
    near, sums, around = np.zeros(length, runs.dtype), np.empty(length, runs.dtype), np.empty(length, runs.dtype)
    block_mean, block_squares = np.empty(length), np.empty(length)
    for start in range(0, runs.shape[0], BLOCK):
        block = runs[start : start + BLOCK]
        rows = block.shape[0]
        share = 1 / rows
        if start == 0:  # no block before it
            block_sums(block, near, sums, around)
            for k in range(length):
                near[k] = sums[k] * share
        block_sums(block, near, sums, around)
        for k in range(length):
            total = np.float64(sums[k])
            block_squares[k] = around[k] - total * total * share
            block_mean[k] = near[k] + total * share
        for k in range(length):
            near[k] = block_mean[k]
        merge_moments(start, mean, squares, rows, block_mean, block_squares)


def batch_norm_statistics_blocked(x: Array) -> tuple[Array, Array]:
    """batch_norm_statistics_loops in one pass over memory, slot by slot as in `moments`."""
    m, channels = x.shape
    together = rows_per_run(channels)
    runs = whole_runs(x)
    count, length = runs.shape
    means, squares = np.zeros((SLOTS, length)), np.zeros((SLOTS, length))
    for slot in prange(SLOTS):
        moments(runs[slot * count // SLOTS : (slot + 1) * count // SLOTS], means[slot], squares[slot])
    for slot in range(1, SLOTS):
        first, last = slot * count // SLOTS, (slot + 1) * count // SLOTS
        merge_moments(first, means[0], squares[0], last - first, means[slot], squares[slot])
    mean, variance = np.zeros(channels), np.zeros(channels)
    for k in range(together):
        place = slice(k * channels, (k + 1) * channels)
        merge_moments(k * count, mean, variance, count, means[0, place], squares[0, place])
    for row in range(count * together, m):
        merge_moments(row, mean, variance, 1, x[row].astype(np.float64), np.zeros(channels))
    for c in range(channels):
        variance[c] /= m
    return mean.astype(x.dtype), variance.astype(x.dtype)


def batch_norm_apply_blocked(x: Array, mean: Array, inverse: Array, gamma: Array, beta: Array) -> Array:
    """batch_norm_apply_loops a run at a time."""
    together = rows_per_run(x.shape[1])
    y = np.empty_like(x)
    scale = np.empty_like(gamma)
    for c in range(gamma.size):
        scale[c] = gamma[c] * inverse[c]
    runs, results = whole_runs(x), whole_runs(y)
    means, scales, betas = repeated(mean, together), repeated(scale, together), repeated(beta, together)
    for i in prange(runs.shape[0]):
        run, result = runs[i], results[i]
        for k in range(run.size):
            result[k] = (run[k] - means[k]) * scales[k] + betas[k]
    for row in range(runs.shape[0] * together, x.shape[0]):
        for c in range(mean.size):
            y[row, c] = (x[row, c] - mean[c]) * scale[c] + beta[c]
    return y


@inlined
def gradient_sums(gradients: Array, runs: Array, means: Array, with_x: Array, alone: Array) -> None:
    """Σ dy·(x − mean) and Σ dy at each place of runs (B, L), added to with_x and alone, in float64."""
    length = means.size
    sums, sums_alone = np.empty(length, runs.dtype), np.empty(length, runs.dtype)
    for start in range(0, runs.shape[0], BLOCK):
        for k in range(length):
            sums[k] = 0
            sums_alone[k] = 0
        for i in range(start, min(runs.shape[0], start + BLOCK)):
            run, gradient = runs[i], gradients[i]
            for k in range(length):
                sums[k] += gradient[k] * (run[k] - means[k])
                sums_alone[k] += gradient[k]
        for k in range(length):
            with_x[k] += sums[k]
            alone[k] += sums_alone[k]


def batch_norm_sums_blocked(dy: Array, x: Array, mean: Array, inverse: Array) -> tuple[Array, Array]:
    """batch_norm_sums_loops slot by slot as in `gradient_sums`; inverse multiplies the finished sum."""
    m, channels = x.shape
    together = rows_per_run(channels)
    runs, gradients = whole_runs(x), whole_runs(dy)
    count, length = runs.shape
    means = repeated(mean, together)
    partial = np.zeros((2, SLOTS, length))
    for slot in prange(SLOTS):
        part = slice(slot * count // SLOTS, (slot + 1) * count // SLOTS)
        gradient_sums(gradients[part], runs[part], means, partial[0, slot], partial[1, slot])
    dgamma, dbeta = np.zeros(channels), np.zeros(channels)
    for slot in range(SLOTS):
        for k in range(0, length, channels):
            for c in range(channels):
                dgamma[c] += partial[0, slot, k + c]
                dbeta[c] += partial[1, slot, k + c]
    for row in range(count * together, m):
        for c in range(channels):
            dgamma[c] += dy[row, c] * (x[row, c] - mean[c])
            dbeta[c] += dy[row, c]
    for c in range(channels):
        dgamma[c] *= inverse[c]
    return dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def batch_norm_backward_blocked(
    dy: Array, x: Array, mean: Array, inverse: Array, gamma: Array, dgamma: Array, dbeta: Array
) -> Array:
    """batch_norm_backward_loops a run at a time, its formula sorted by what is multiplied:

    dx = a·dy + b·(x − mean) + d with a = gamma·inverse, b = −a·inverse·dgamma/M, d = −a·dbeta/M
    """
    together = rows_per_run(x.shape[1])
    rows = x.dtype.type(x.shape[0])
    a, b, d = np.empty_like(gamma), np.empty_like(gamma), np.empty_like(gamma)
    for c in range(gamma.size):
        a[c] = gamma[c] * inverse[c]
        b[c] = -a[c] * inverse[c] * (dgamma[c] / rows)
        d[c] = -a[c] * (dbeta[c] / rows)
    dx = np.empty_like(x)
    runs, gradients, results = whole_runs(x), whole_runs(dy), whole_runs(dx)
    means, all_a = repeated(mean, together), repeated(a, together)
    all_b, all_d = repeated(b, together), repeated(d, together)
    for i in prange(runs.shape[0]):
        run, gradient, result = runs[i], gradients[i], results[i]
        for k in range(run.size):
            result[k] = all_a[k] * gradient[k] + (all_b[k] * (run[k] - means[k]) + all_d[k])
    for row in range(runs.shape[0] * together, x.shape[0]):
        for c in range(mean.size):
            dx[row, c] = a[c] * dy[row, c] + (b[c] * (x[row, c] - mean[c]) + d[c])
    return dx


batch_norm_statistics_numba = compiled(batch_norm_statistics_blocked)
batch_norm_apply_numba = compiled(batch_norm_apply_blocked)
batch_norm_sums_numba = compiled(batch_norm_sums_blocked)
batch_norm_backward_numba = compiled(batch_norm_backward_blocked)
