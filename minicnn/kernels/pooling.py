"""Pooling: each output is the largest value, or the mean, of a window that slides over the input.

Throughout: x (N, H, W, C), y (N, OH, OW, C); windows says where they lie (geometry.Windows). The pixel (i, j) of
window (p, q) is the input's

    h = p·SH + i − top,   w = q·SW + j − left

and does not exist outside the map: padding is never the largest value and is not counted in a mean.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.convolution import tap_slices
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.typing import Array


@inlined
def clip_window(start: int, extent: int, size: int) -> tuple[int, int]:
    """The part of a window that exists on one axis, as a range of pixels."""
    return max(start, 0), min(start + extent, size)


# ---------------------------------------------------------------- the largest value


def max_pool_loops(x: Array, windows: Windows) -> Array:
    """The largest value of each window.

        y[n,p,q,c] = max over the window's pixels of x[n,h,w,c]

    A NaN wins over all. Cost: N·OH·OW·C·KH·KW comparisons. Source: Goodfellow et al. 2016, §9.3.
    """
    n, h, w, channels = x.shape
    y = np.empty((n, windows.oh, windows.ow, channels), x.dtype)
    for sample in prange(n):  # samples share nothing: one thread each
        for p in range(windows.oh):
            top, bottom = clip_window(p * windows.sh - windows.top, windows.kh, h)
            for q in range(windows.ow):
                left, right = clip_window(q * windows.sw - windows.left, windows.kw, w)
                for c in range(channels):
                    best = x[sample, top, left, c]
                    for i in range(top, bottom):
                        for j in range(left, right):
                            value = x[sample, i, j, c]
                            if value > best or (value != value and best == best):
                                best = value
                    y[sample, p, q, c] = best
    return y


def max_pool_backward_loops(dy: Array, x: Array, y: Array, windows: Windows) -> Array:
    """Hand each output's gradient to the input that won its window.

        dx[n,h,w,c] = Σ of dy[n,p,q,c] over the windows (p, q) whose winner is (h, w)

    The winner is the first pixel in row-major order that equals y[n,p,q,c] (or is NaN, as y then is), as in TensorFlow.
    Overlapping windows may have one winner: it collects from all of them. y: what max_pool made of x.
    """
    n, h, w, channels = x.shape
    dx = np.zeros_like(x)
    for sample in prange(n):
        for p in range(windows.oh):
            top, bottom = clip_window(p * windows.sh - windows.top, windows.kh, h)
            for q in range(windows.ow):
                left, right = clip_window(q * windows.sw - windows.left, windows.kw, w)
                for c in range(channels):
                    given = False
                    for i in range(top, bottom):
                        for j in range(left, right):
                            value = x[sample, i, j, c]
                            if not given and (value == y[sample, p, q, c] or value != value):
                                dx[sample, i, j, c] += dy[sample, p, q, c]
                                given = True
    return dx


def max_pool_numpy(x: Array, windows: Windows) -> Array:
    """max_pool_loops one window pixel at a time."""
    y = np.full((x.shape[0], *windows.out, x.shape[3]), -np.inf, x.dtype)
    for outputs, inputs in _window_pixels(x, windows):
        y[outputs] = np.maximum(y[outputs], x[inputs])  # maximum hands NaN on
    return y


def max_pool_backward_numpy(dy: Array, x: Array, y: Array, windows: Windows) -> Array:
    """max_pool_backward_loops one window pixel at a time; within one pixel no two windows meet, so += is safe."""
    dx = np.zeros_like(x)
    left = dy.copy()  # what has not been handed on yet
    for outputs, inputs in _window_pixels(x, windows):
        wins = (x[inputs] == y[outputs]) | np.isnan(x[inputs])
        dx[inputs] += np.where(wins, left[outputs], 0)
        left[outputs] = np.where(wins, 0, left[outputs])
    return dx


def _window_pixels(x: Array, windows: Windows) -> Iterator[tuple[Any, Any]]:
    """For each pixel (i, j) of a window, in row-major order: the outputs whose window has it on the map, and the input.

    Both as indices into arrays (N, rows, columns, C).
    """
    for i in range(windows.kh):
        for j in range(windows.kw):
            outputs, inputs = tap_slices(windows, x.shape[1:3], i, j)
            yield (slice(None), *outputs), (slice(None), *inputs)


# The blocked versions work on whole rows of the map first, and on columns after: the largest of a window is the largest
# of its columns' largest, a sum is the sum of its columns' sums. Overlapping windows then share the columns, and the
# long loops run over W·C numbers. The inner loops have no branch, only selects, and each writes one array: vector code.


@inlined
def larger_of(a: float, b: float) -> float:
    """b if it is larger than a, or NaN; else a."""
    return b if (b > a) | (b != b) else a


def max_pool_blocked(x: Array, windows: Windows) -> Array:
    """max_pool_loops, rows first."""
    n, h, w, channels = x.shape
    rows = x.reshape(n, h, w * channels)
    y = np.empty((n, windows.oh, windows.ow, channels), x.dtype)
    for sample in prange(n):
        columns = np.empty(w * channels, x.dtype)
        for p in range(windows.oh):
            top, bottom = clip_window(p * windows.sh - windows.top, windows.kh, h)
            first = rows[sample, top]
            for k in range(columns.size):
                columns[k] = first[k]
            for i in range(top + 1, bottom):
                row = rows[sample, i]
                for k in range(columns.size):
                    columns[k] = larger_of(columns[k], row[k])
            for q in range(windows.ow):
                left, right = clip_window(q * windows.sw - windows.left, windows.kw, w)
                best = y[sample, p, q]
                start = columns[left * channels : (left + 1) * channels]
                for c in range(channels):
                    best[c] = start[c]
                for j in range(left + 1, right):
                    column = columns[j * channels : (j + 1) * channels]
                    for c in range(channels):
                        best[c] = larger_of(best[c], column[c])
    return y


@inlined
def hand_on(pixel: Array, best: Array, rest: Array, target: Array) -> None:
    """Add to target the gradients in rest whose window this pixel has won, and zero them there; all (C,)."""
    zero = rest.dtype.type(0)
    for c in range(rest.size):
        won = (pixel[c] == best[c]) | (pixel[c] != pixel[c])
        target[c] += rest[c] if won else zero
        rest[c] = zero if won else rest[c]


def max_pool_backward_blocked(dy: Array, x: Array, y: Array, windows: Windows) -> Array:
    """max_pool_backward_loops pixel by pixel, all channels at once: `rest` is what no pixel before has taken."""
    n, h, w, channels = x.shape
    dx = np.empty_like(x)
    for sample in prange(n):
        image = dx[sample].reshape(h * w * channels)
        for k in range(image.size):
            image[k] = 0
        rest = np.empty(channels, x.dtype)
        for p in range(windows.oh):
            top, bottom = clip_window(p * windows.sh - windows.top, windows.kh, h)
            for q in range(windows.ow):
                left, right = clip_window(q * windows.sw - windows.left, windows.kw, w)
                gradient = dy[sample, p, q]
                for c in range(channels):
                    rest[c] = gradient[c]
                for i in range(top, bottom):
                    for j in range(left, right):
                        hand_on(x[sample, i, j], y[sample, p, q], rest, dx[sample, i, j])
    return dx


# ---------------------------------------------------------------- the mean


def average_pool_loops(x: Array, windows: Windows) -> Array:
    """The mean of each window's real cells.

        y[n,p,q,c] = 1/cells(p,q) · Σ over the window's pixels of x[n,h,w,c]

    cells(p, q) counts the pixels that lie on the map, at most KH·KW. Cost: N·OH·OW·C·KH·KW additions.
    """
    n, h, w, channels = x.shape
    oh, ow = windows.oh, windows.ow
    y = np.zeros((n, oh, ow, channels), x.dtype)
    for sample in prange(n):
        for p in range(oh):
            top, bottom = clip_window(p * windows.sh - windows.top, windows.kh, h)
            for q in range(ow):
                left, right = clip_window(q * windows.sw - windows.left, windows.kw, w)
                mean = y[sample, p, q]
                for i in range(top, bottom):
                    for j in range(left, right):
                        for c in range(channels):
                            mean[c] += x[sample, i, j, c]
                cells = x.dtype.type((bottom - top) * (right - left))
                for c in range(channels):
                    mean[c] /= cells
    return y


def average_pool_backward_loops(dy: Array, x_shape: tuple[int, int, int, int], windows: Windows) -> Array:
    """Each of a window's real cells weighs 1/cells in its mean, so it gets that share of dy.

    dx[n,h,w,c] = Σ over the windows (p, q) that cover (h, w) of dy[n,p,q,c] / cells(p,q)
    """
    n, oh, ow, channels = dy.shape
    _, h, w, _ = x_shape
    dx = np.zeros(x_shape, dy.dtype)
    for sample in prange(n):
        for p in range(oh):
            top, bottom = clip_window(p * windows.sh - windows.top, windows.kh, h)
            for q in range(ow):
                left, right = clip_window(q * windows.sw - windows.left, windows.kw, w)
                cells = dy.dtype.type((bottom - top) * (right - left))
                for i in range(top, bottom):
                    for j in range(left, right):
                        for c in range(channels):
                            dx[sample, i, j, c] += dy[sample, p, q, c] / cells
    return dx


def _cells(x_shape: tuple[int, int, int, int], windows: Windows) -> Array:
    """How many pixels of the map each window covers, (OH, OW, 1)."""
    rows = [clip_window(p * windows.sh - windows.top, windows.kh, x_shape[1]) for p in range(windows.oh)]
    columns = [clip_window(q * windows.sw - windows.left, windows.kw, x_shape[2]) for q in range(windows.ow)]
    return np.multiply.outer(np.diff(rows)[:, 0], np.diff(columns))


def average_pool_numpy(x: Array, windows: Windows) -> Array:
    """average_pool_loops one window pixel at a time."""
    y = np.zeros((x.shape[0], *windows.out, x.shape[3]), x.dtype)
    for outputs, inputs in _window_pixels(x, windows):
        y[outputs] += x[inputs]
    return y / _cells(x.shape, windows).astype(x.dtype)


def average_pool_backward_numpy(dy: Array, x_shape: tuple[int, int, int, int], windows: Windows) -> Array:
    """average_pool_backward_loops one window pixel at a time; within one pixel no two windows meet, so += is safe."""
    dx = np.zeros(x_shape, dy.dtype)
    share = dy / _cells(x_shape, windows).astype(dy.dtype)
    for outputs, inputs in _window_pixels(dx, windows):
        dx[inputs] += share[outputs]
    return dx


def average_pool_blocked(x: Array, windows: Windows) -> Array:
    """average_pool_loops, rows first."""
    n, h, w, channels = x.shape
    rows = x.reshape(n, h, w * channels)
    y = np.empty((n, windows.oh, windows.ow, channels), x.dtype)
    for sample in prange(n):
        columns = np.empty(w * channels, x.dtype)
        for p in range(windows.oh):
            top, bottom = clip_window(p * windows.sh - windows.top, windows.kh, h)
            first = rows[sample, top]
            for k in range(columns.size):
                columns[k] = first[k]
            for i in range(top + 1, bottom):
                row = rows[sample, i]
                for k in range(columns.size):
                    columns[k] += row[k]
            for q in range(windows.ow):
                left, right = clip_window(q * windows.sw - windows.left, windows.kw, w)
                cells = x.dtype.type((bottom - top) * (right - left))
                mean = y[sample, p, q]
                start = columns[left * channels : (left + 1) * channels]
                for c in range(channels):
                    mean[c] = start[c]
                for j in range(left + 1, right):
                    column = columns[j * channels : (j + 1) * channels]
                    for c in range(channels):
                        mean[c] += column[c]
                for c in range(channels):
                    mean[c] /= cells
    return y


def average_pool_backward_blocked(dy: Array, x_shape: tuple[int, int, int, int], windows: Windows) -> Array:
    """average_pool_backward_loops: one row of all that the windows (p, ·) hand back, added to each row they cover."""
    n, _, _, channels = dy.shape
    _, h, w, _ = x_shape
    dx = np.empty((n, h, w * channels), dy.dtype)
    for sample in prange(n):
        image = dx[sample].reshape(h * w * channels)
        for k in range(image.size):
            image[k] = 0
        columns = np.empty(w * channels, dy.dtype)
        for p in range(windows.oh):
            top, bottom = clip_window(p * windows.sh - windows.top, windows.kh, h)
            for k in range(columns.size):
                columns[k] = 0
            for q in range(windows.ow):
                left, right = clip_window(q * windows.sw - windows.left, windows.kw, w)
                share = 1 / dy.dtype.type((bottom - top) * (right - left))
                gradient = dy[sample, p, q]
                for j in range(left, right):
                    column = columns[j * channels : (j + 1) * channels]
                    for c in range(channels):
                        column[c] += share * gradient[c]
            for i in range(top, bottom):
                row = dx[sample, i]
                for k in range(row.size):
                    row[k] += columns[k]
    return dx.reshape(x_shape)


max_pool_numba = compiled(max_pool_blocked)
max_pool_backward_numba = compiled(max_pool_backward_blocked)
average_pool_numba = compiled(average_pool_blocked)
average_pool_backward_numba = compiled(average_pool_backward_blocked)
