"""A dense layer's products: y = x · kernel + bias, and their derivatives; in the fused forms with an activation on top.

Throughout: x (N, I), kernel (I, O), bias (O,), y and dy (N, O), code an activation of fused.py. Cost: N·I·O
multiply-adds for each product. Small layers run as tile products of arrays where they lie (dense_tiles.py), large ones
as the convolution that they are on a map of one pixel (valid_taps.py); on CPUs without generated machine code, and for
the gradients of small layers with very long sums, blocks of samples go through BLAS. Going forward, such sums are made
in parts, a sample or two read the kernel eight rows at a time, and in a large layer few make rank updates
(dense_updates.py); predict and evaluate multiply thousands of samples by its kernel in another way yet (strassen.py).

A last layer of 10 outputs reaches 2 to 5 % of its limit with 84 inputs, 5 to 9 with 512, and 13 to 20 with 1600 or
4096 (bench/results/kernels.md): its rows fill 10 of 16 lanes, and each number of x is used ten times only.
LeNet's hidden layers reach 28 to 63 %: 256 samples through 400x120 are a tenth of a millisecond, in which threads are
woken and results put away.
"""

from typing import Any

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.dense_tiles import LONGEST, dense_tiled, dense_tiled_backward
from minicnn.kernels.dense_updates import dense_updated, updates_pay
from minicnn.kernels.fused import LINEAR, activate_in_place, activation_gradient
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.tiles import tiling_for, update_rank
from minicnn.kernels.valid_taps import valid_taps_backward_numba, valid_taps_numba
from minicnn.typing import Array

FEW = 2
"""Samples or images up to which the kernel is read where it lies."""

TASKS = 8
"""Into how many parts the work on so few is cut, about."""

BLOCKS = 4
"""Blocks of samples, one thread each, and partial sums of the kernel's gradient."""

ROWS = 16
"""Samples of a block at least, where each has such sums to write and to add: 32 samples through a layer 400x120 take
65 µs back in two blocks and 95 in four."""


@inlined
def add_slots(partial: Array, total: Array) -> None:
    """total = Σ over slots of partial (S, R, C), added in order so that the threads do not matter."""
    slots, rows, columns = partial.shape
    for r in range(rows):
        for c in range(columns):
            total[r, c] = partial[0, r, c]
        for slot in range(1, slots):
            for c in range(columns):
                total[r, c] += partial[slot, r, c]


@inlined
def add_slots_activated(partial: Array, bias: Array, code: int, y: Array) -> None:
    """y = f(Σ over slots of partial + bias), for partial (S, R, C), bias (C,) and y (R, C); added in order."""
    add_slots(partial, y)
    for r in range(y.shape[0]):
        activate_in_place(y[r], bias, code)


@inlined
def add_row(value: Any, row: Array, sums: Array) -> None:
    """sums (C,) += value · row (C,)."""
    for c in range(sums.size):
        sums[c] += value * row[c]


@inlined
def add_eight_rows(x: Array, kernel: Array, i: int, sums: Array) -> None:
    """sums (O,) += x[i : i + 8] · kernel[i : i + 8], for x (I,) and kernel (I, O)."""
    a, b, c, d, e, f, g, h = x[i], x[i + 1], x[i + 2], x[i + 3], x[i + 4], x[i + 5], x[i + 6], x[i + 7]
    rows = kernel[i : i + 8]
    for o in range(sums.size):
        upper = a * rows[0, o] + b * rows[1, o] + (c * rows[2, o] + d * rows[3, o])
        lower = e * rows[4, o] + f * rows[5, o] + (g * rows[6, o] + h * rows[7, o])
        sums[o] += upper + lower


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


# ---------------------------------------------------------------- on BLAS, and a sample or two without it


def dense_blocked(x: Array, kernel: Array, bias: Array, code: int) -> Array:
    """y = f(x · kernel + bias), in blocks of samples, one thread each, on single-threaded BLAS."""
    n, outputs = x.shape[0], kernel.shape[1]
    y = np.empty((n, outputs), x.dtype)
    blocks = min(BLOCKS, n)
    for block in prange(blocks):
        first, last = block * n // blocks, (block + 1) * n // blocks
        np.dot(x[first:last], kernel, y[first:last])
        for r in range(first, last):
            activate_in_place(y[r], bias, code)
    return y


def dense_few(x: Array, kernel: Array, bias: Array, code: int) -> Array:
    """dense_blocked for a sample or two, eight rows at a time, without BLAS, whose threads take longer to set."""
    n, inputs = x.shape
    outputs = kernel.shape[1]
    y = np.zeros((n, outputs), x.dtype)
    for sample in prange(n):
        sums = y[sample]
        eights = inputs // 8 * 8
        for i in range(0, eights, 8):
            add_eight_rows(x[sample], kernel, i, sums)
        for i in range(eights, inputs):
            add_row(x[sample, i], kernel[i], sums)
        activate_in_place(sums, bias, code)
    return y


def dense_backward_blocked(
    dy: Array, y: Array, x: Array, kernel: Array, code: int, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """The derivatives of dense_blocked in blocks of samples: dz = dy · f'(z), then dense_backward_numpy on the block.

    Each block has its own partial sums of dkernel and dbias, which are added in order. Overwrites dkernel and
    dbias; returns dx, or an empty array unless need_dx. dy may be y where the activation is linear.
    """
    n, inputs = x.shape
    outputs = kernel.shape[1]
    dz, dx = np.empty((n, outputs), x.dtype), np.empty((n, inputs) if need_dx else (0, 0), x.dtype)
    blocks = max(1, min(BLOCKS, n // ROWS))
    partial, sums = np.empty((blocks, inputs, outputs), x.dtype), np.zeros((blocks, outputs), x.dtype)
    for block in prange(blocks):
        first, last = block * n // blocks, (block + 1) * n // blocks
        total = sums[block]
        for r in range(first, last):
            row = dz[r]
            activation_gradient(dy[r], y[r], code, row)
            for o in range(outputs):
                total[o] += row[o]
        np.dot(x[first:last].T, dz[first:last], partial[block])
        if need_dx:
            np.dot(dz[first:last], kernel.T, dx[first:last])
    add_slots(partial, dkernel)
    add_slots(sums.reshape(blocks, 1, outputs), dbias.reshape(1, outputs))
    return dx


dense_few_numba = compiled(dense_few)
dense_blocked_numba = compiled(dense_blocked, uses_blas=True)
dense_backward_blocked_numba = compiled(dense_backward_blocked, uses_blas=True)


# ---------------------------------------------------------------- a sample or two through a large layer


def dense_streamed(x: Array, kernel: Array, bias: Array, code: int) -> Array:
    """dense_blocked for a sample or two: every number of the kernel is read once, eight rows side by side.

    The time is that of reading it: 1.25 ms, 53 GB/s, for a kernel 4096x4096 and one sample, where packing it for tile
    products takes 2.7 ms. Eight rows are eight streams that the CPU fetches ahead: row by row it takes 1.05 times as
    long where a cache of the machine holds the kernel, 1.2 times from memory, and twice with busy neighbours. The
    inputs are cut into TASKS parts with their own sums.
    """
    n, inputs = x.shape
    outputs = kernel.shape[1]
    partial = np.zeros((TASKS, n, outputs), x.dtype)
    for part in prange(TASKS):
        begin, end = part * inputs // TASKS, (part + 1) * inputs // TASKS
        eights = begin + (end - begin) // 8 * 8
        for i in range(begin, eights, 8):
            for r in range(n):
                add_eight_rows(x[r], kernel, i, partial[part, r])
        for i in range(eights, end):
            for r in range(n):
                add_row(x[r, i], kernel[i], partial[part, r])
    y = np.empty((n, outputs), x.dtype)
    add_slots_activated(partial, bias, code, y)
    return y


dense_streamed_numba = compiled(dense_streamed)


# ---------------------------------------------------------------- which way for which shapes

ONE_PIXEL = Windows(kh=1, kw=1, sh=1, sw=1, dh=1, dw=1, top=0, left=0, oh=1, ow=1)


def streaming_pays(inputs: int, outputs: int) -> bool:
    """Whether a sample or two had better go through the kernel on all threads: dense_streamed, not dense_few.

    On its own that takes no longer from 400x120 on, but the threads wait to be woken, and each has sums of its own: one
    image through LeNet-5 takes 1.1 times as long if all its dense layers are streamed.
    """
    return inputs * outputs >= 1 << 16


def is_large(inputs: int, outputs: int) -> bool:
    """Whether packing pays: with kernels beyond 128k numbers, and outputs for a tile of AVX-512's.

    Time over that of dense_tiles.py, forward and back: 784x128 1.5 and 0.9 for 32 samples, 1.0 and 1.0 for 128;
    1024x256 1.5 and 0.85, 0.9 and 0.85; 1024x512 0.95 and 0.55, 0.85 and 0.75 (2 cores of an AVX-512 Xeon).
    """
    return outputs >= 64 and inputs * outputs >= 1 << 17


def activate_rows(y: Array, bias: Array, code: int) -> None:
    """y = f(y + bias), in place, for y (N, O)."""
    for r in prange(len(y)):
        activate_in_place(y[r], bias, code)


activate_rows_numba = compiled(activate_rows)


def dense_in_parts(x: Array, kernel: Array, bias: Array, code: int) -> Array:
    """y = f(x · kernel + bias) for more than LONGEST inputs: sums over a part of them each, which are then added."""
    inputs, no_bias = len(kernel), np.zeros_like(bias)
    parts = -(-inputs // LONGEST)
    y = np.zeros((len(x), len(bias)), x.dtype)
    for part in range(parts):
        some = slice(part * inputs // parts, (part + 1) * inputs // parts)
        y += dense_activated(np.ascontiguousarray(x[:, some]), kernel[some], no_bias, LINEAR)
    activate_rows_numba(y, bias, code)
    return y


def dense_activated(x: Array, kernel: Array, bias: Array, code: int) -> Array:
    """y = f(x · kernel + bias), the way that was found to be fast for these shapes."""
    inputs, outputs = kernel.shape
    if len(x) <= FEW:
        return (dense_streamed_numba if streaming_pays(inputs, outputs) else dense_few_numba)(x, kernel, bias, code)
    tiling = tiling_for(x.itemsize)
    if tiling is None:
        return dense_blocked_numba(x, kernel, bias, code)
    if inputs > LONGEST:
        return dense_in_parts(x, kernel, bias, code)
    if not is_large(inputs, outputs):
        return dense_tiled(x, kernel, bias, code, tiling)
    if updates_pay(len(x), inputs, outputs, tiling.lanes):
        return dense_updated(x, kernel, bias, code, tiling.lanes, update_rank(x.itemsize))
    pixels, taps = x.reshape(len(x), 1, 1, -1), kernel.reshape(1, 1, *kernel.shape)
    return valid_taps_numba(pixels, taps, bias, ONE_PIXEL, code, tiling).reshape(len(x), len(bias))


def dense_backward_in_parts(
    dy: Array, y: Array, x: Array, kernel: Array, code: int, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """dense_activated_backward for more than LONGEST samples: sums over a part of them each, which are then added."""
    n, dxs = len(x), []
    parts = -(-n // LONGEST)
    of_part, bias_of_part = np.empty_like(dkernel), np.empty_like(dbias)
    dkernel[...], dbias[...] = 0, 0
    for part in range(parts):
        some = slice(part * n // parts, (part + 1) * n // parts)
        dxs.append(dense_activated_backward(dy[some], y[some], x[some], kernel, code, of_part, bias_of_part, need_dx))
        dkernel += of_part
        dbias += bias_of_part
    return np.concatenate(dxs)


def dense_activated_backward(
    dy: Array, y: Array, x: Array, kernel: Array, code: int, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """dense_backward_blocked, the way that was found to be fast for these shapes."""
    tiling = tiling_for(x.itemsize) if len(x) else None
    large = is_large(*kernel.shape)
    if tiling is None or (not large and max(dy.shape) > LONGEST):  # of samples, for dkernel, and outputs, for dx
        return dense_backward_blocked_numba(dy, y, x, kernel, code, dkernel, dbias, need_dx)
    if not large:
        return dense_tiled_backward(dy, y, x, kernel, code, tiling, dkernel, dbias, need_dx)
    if len(x) > LONGEST:
        return dense_backward_in_parts(dy, y, x, kernel, code, dkernel, dbias, need_dx)
    n, taps = len(x), (1, 1, *kernel.shape)
    dx = valid_taps_backward_numba(
        dy.reshape(n, 1, 1, -1), y.reshape(n, 1, 1, -1), x.reshape(n, 1, 1, -1), kernel.reshape(taps), ONE_PIXEL,
        code, tiling, dkernel.reshape(taps), dbias, need_dx,
    )  # fmt: skip
    return dx.reshape(len(dx), len(kernel))


def dense_numba(x: Array, kernel: Array, bias: Array) -> Array:
    """dense_loops, as above."""
    return dense_activated(x, kernel, bias, LINEAR)


def dense_backward_numba(dy: Array, x: Array, kernel: Array, dkernel: Array, dbias: Array, need_dx: bool) -> Array:
    """dense_backward_loops, as above."""
    return dense_activated_backward(dy, dy, x, kernel, LINEAR, dkernel, dbias, need_dx)
