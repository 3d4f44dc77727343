"""Batch normalization: every channel with mean 0 and variance 1 over the batch.

Throughout: x, y and dy are (M, C), the M = N·H·W positions of all samples in rows; mean, variance, gamma, beta and
inverse are (C,), where inverse = 1 / √(variance + epsilon). Source: Ioffe and Szegedy 2015.
"""

import numpy as np

from minicnn.kernels.jit import compiled, prange
from minicnn.typing import Array

SLOTS = 16
"""Partial sums over the rows: a fixed number, added in order, so that the bits do not depend on the threads."""


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


batch_norm_statistics_numba = compiled(batch_norm_statistics_loops)
batch_norm_apply_numba = compiled(batch_norm_apply_loops)
batch_norm_sums_numba = compiled(batch_norm_sums_loops)
batch_norm_backward_numba = compiled(batch_norm_backward_loops)
