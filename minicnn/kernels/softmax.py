"""Softmax, and softmax with cross-entropy as one operation.

Throughout: logits, probabilities and targets are (N, K), one row a sample (or a position of one), K classes.
"""

import math

import numpy as np

from minicnn.kernels.jit import compiled, prange
from minicnn.typing import Array


def softmax_loops(logits: Array) -> Array:
    """p[n,k] = e^(z[n,k] − m) / Σ over j of e^(z[n,j] − m), m = max over j of z[n,j], which keeps e from overflowing.

    Source: Goodfellow et al. 2016, §4.1.
    """
    n, classes = logits.shape
    p = np.empty_like(logits)
    for row in prange(n):
        largest = logits[row, 0]
        for k in range(classes):
            largest = max(largest, logits[row, k])
        total = logits.dtype.type(0)
        for k in range(classes):
            p[row, k] = math.exp(logits[row, k] - largest)
            total += p[row, k]
        for k in range(classes):
            p[row, k] /= total
    return p


def softmax_backward_loops(dp: Array, p: Array) -> Array:
    """dz[n,k] = p[n,k] · (dp[n,k] − Σ over j of dp[n,j]·p[n,j]), since ∂p_j/∂z_k = p_j·(δ_jk − p_k)."""
    n, classes = p.shape
    dz = np.empty_like(p)
    for row in prange(n):
        inner = p.dtype.type(0)
        for k in range(classes):
            inner += dp[row, k] * p[row, k]
        for k in range(classes):
            dz[row, k] = p[row, k] * (dp[row, k] - inner)
    return dz


def softmax_cross_entropy_loops(logits: Array, targets: Array) -> tuple[Array, Array, Array]:
    """Cross-entropy of softmax(logits) with target distributions, and its gradient.

        loss[n] = −Σ over k of t[n,k]·log p[n,k] = Σ over k of t[n,k]·(log Σ over j of e^(z[n,j]−m) − (z[n,k] − m))
        dz[n,k] = p[n,k]·Σ over j of t[n,j] − t[n,k]

    From the logits neither the logarithm of 0 nor the division by p of the two steps done apart can occur, and
    the gradient is exact however sure the model is. Returns loss (N,), p (N, K) and dz (N, K).
    """
    n, classes = logits.shape
    loss = np.empty(n, logits.dtype)
    p = np.empty_like(logits)
    dz = np.empty_like(logits)
    for row in prange(n):
        largest = logits[row, 0]
        for k in range(classes):
            largest = max(largest, logits[row, k])
        total = logits.dtype.type(0)
        for k in range(classes):
            p[row, k] = math.exp(logits[row, k] - largest)
            total += p[row, k]
        log_total = math.log(total)
        value = logits.dtype.type(0)
        mass = logits.dtype.type(0)
        for k in range(classes):
            if targets[row, k] != 0:  # 0 · inf is not a loss
                value += targets[row, k] * (log_total - (logits[row, k] - largest))
            mass += targets[row, k]
        for k in range(classes):
            p[row, k] /= total
            dz[row, k] = p[row, k] * mass - targets[row, k]
        loss[row] = value
    return loss, p, dz


def softmax_numpy(logits: Array) -> Array:
    """softmax_loops."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_backward_numpy(dp: Array, p: Array) -> Array:
    """softmax_backward_loops."""
    return p * (dp - (dp * p).sum(axis=1, keepdims=True))


def softmax_cross_entropy_numpy(logits: Array, targets: Array) -> tuple[Array, Array, Array]:
    """softmax_cross_entropy_loops."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    p = e / total
    terms = np.zeros_like(logits)
    np.multiply(targets, np.log(total) - shifted, out=terms, where=targets != 0)
    return terms.sum(axis=1), p, p * targets.sum(axis=1, keepdims=True) - targets


softmax_numba = compiled(softmax_loops)
softmax_backward_numba = compiled(softmax_backward_loops)
softmax_cross_entropy_numba = compiled(softmax_cross_entropy_loops)
