"""A dense layer's products: y = x · kernel + bias, and their derivatives.

Throughout: x (N, I), kernel (I, O), bias (O,), y and dy (N, O). Cost: N·I·O multiply-adds for each product.
"""

import numpy as np

from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.typing import Array

ROWS = 32
"""Rows of x, or of the kernel's gradient, that one iteration of prange computes."""


@inlined
def add_slots(partial: Array, total: Array) -> None:
    """total = Σ over slots of partial (S, R, C), added in order so that the threads do not matter."""
    slots, rows, columns = partial.shape
    for r in prange(rows):
        for c in range(columns):
            total[r, c] = partial[0, r, c]
        for slot in range(1, slots):
            for c in range(columns):
                total[r, c] += partial[slot, r, c]


def dense_loops(x: Array, kernel: Array, bias: Array) -> Array:
    """y[n,o] = bias[o] + Σ over i of x[n,i] · kernel[i,o]."""
    n, inputs = x.shape
    outputs = kernel.shape[1]
    y = np.empty((n, outputs), x.dtype)
    for sample in prange(n):
        for o in range(outputs):
            total = bias[o]
            for i in range(inputs):
                total += x[sample, i] * kernel[i, o]
            y[sample, o] = total
    return y


def dense_backward_loops(dy: Array, x: Array, kernel: Array, dkernel: Array, dbias: Array, need_dx: bool) -> Array:
    """The three derivatives of y.

        dkernel[i,o] = Σ over n of x[n,i] · dy[n,o]
        dbias[o]     = Σ over n of dy[n,o]
        dx[n,i]      = Σ over o of dy[n,o] · kernel[i,o]

    Overwrites dkernel and dbias; returns dx, or an empty array unless need_dx.
    """
    n, inputs = x.shape
    outputs = kernel.shape[1]
    dx = np.zeros((n, inputs) if need_dx else (0, 0), x.dtype)
    dkernel[...] = 0
    dbias[...] = 0
    for sample in range(n):
        for o in range(outputs):
            dbias[o] += dy[sample, o]
            for i in range(inputs):
                dkernel[i, o] += x[sample, i] * dy[sample, o]
                if need_dx:
                    dx[sample, i] += dy[sample, o] * kernel[i, o]
    return dx


def column_sums_numpy(rows: Array) -> Array:
    """Σ over the rows of (R, C), as a product with a row of ones.

    It has BLAS's accuracy and is faster than sum(axis=0): 0.10 ms against 1.17 ms for (100352, 6) in float32.
    """
    return np.ones(rows.shape[0], rows.dtype) @ rows


def dense_numpy(x: Array, kernel: Array, bias: Array) -> Array:
    """dense_loops as one product."""
    return x @ kernel + bias


def dense_backward_numpy(dy: Array, x: Array, kernel: Array, dkernel: Array, dbias: Array, need_dx: bool) -> Array:
    """dense_backward_loops as two products: dK = xᵀ · dy, dx = dy · Kᵀ."""
    np.matmul(x.T, dy, out=dkernel)
    dbias[...] = column_sums_numpy(dy)
    return dy @ kernel.T if need_dx else np.empty((0, 0), x.dtype)


def dense_blocked(x: Array, kernel: Array, bias: Array) -> Array:
    """dense_numpy in blocks of ROWS samples, one thread each, on single-threaded BLAS."""
    n = x.shape[0]
    outputs = kernel.shape[1]
    y = np.empty((n, outputs), x.dtype)
    for block in prange((n + ROWS - 1) // ROWS):
        out = y[block * ROWS : min(n, (block + 1) * ROWS)]
        np.dot(x[block * ROWS : min(n, (block + 1) * ROWS)], kernel, out)
        for r in range(out.shape[0]):
            for o in range(outputs):
                out[r, o] += bias[o]
    return y


def dense_backward_blocked(dy: Array, x: Array, kernel: Array, dkernel: Array, dbias: Array, need_dx: bool) -> Array:
    """dense_backward_numpy in blocks: of samples for dx, of input features for dkernel, whose rows are independent.

    No partial sums are needed: each row of dkernel is summed over the batch inside one product.
    """
    n, inputs = x.shape
    outputs = kernel.shape[1]
    for block in prange((inputs + ROWS - 1) // ROWS):
        first, last = block * ROWS, min(inputs, (block + 1) * ROWS)
        features = np.ascontiguousarray(x[:, first:last].T)  # (ROWS, N)
        np.dot(features, dy, dkernel[first:last])
    for o in range(outputs):
        dbias[o] = 0
    for sample in range(n):
        for o in range(outputs):
            dbias[o] += dy[sample, o]
    dx = np.empty((n, inputs) if need_dx else (0, 0), x.dtype)
    if need_dx:
        for block in prange((n + ROWS - 1) // ROWS):
            np.dot(
                dy[block * ROWS : min(n, (block + 1) * ROWS)], kernel.T, dx[block * ROWS : min(n, (block + 1) * ROWS)]
            )
    return dx


dense_numba = compiled(dense_blocked, uses_blas=True)
dense_backward_numba = compiled(dense_backward_blocked, uses_blas=True)
