"""Pooling: each output is the largest value, or the mean, of a window that slides over the input.

Throughout: x (N, H, W, C), y (N, OH, OW, C); windows says where they lie (geometry.Windows). The pixel (i, j) of
window (p, q) is the input's

    h = p·SH + i − top,   w = q·SW + j − left

and does not exist outside the map: padding is never the largest value and is not counted in a mean.
"""

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.typing import Array


@inlined
def clip_window(start: int, extent: int, size: int) -> tuple[int, int]:
    """The part of a window that exists on one axis, as a range of pixels."""
    return max(start, 0), min(start + extent, size)


# ---------------------------------------------------------------- the largest value


def max_pool_loops(x: Array, windows: Windows) -> tuple[Array, Array]:
    """The largest value of each window, and where it was.

        y[n,p,q,c] = max over the window's pixels of x[n,h,w,c]

    Returns y and where (N, OH, OW, C) int32, the winner's place h·W + w in its map. Of equal values the first in
    row-major order wins, as in TensorFlow; a NaN wins over all. Cost: N·OH·OW·C·KH·KW comparisons.
    Source: Goodfellow et al. 2016, §9.3.
    """
    n, h, w, channels = x.shape
    oh, ow = windows.oh, windows.ow
    y = np.empty((n, oh, ow, channels), x.dtype)
    where = np.empty((n, oh, ow, channels), np.int32)
    for sample in prange(n):  # samples share nothing: one thread each
        for p in range(oh):
            top, bottom = clip_window(p * windows.sh - windows.top, windows.kh, h)
            for q in range(ow):
                left, right = clip_window(q * windows.sw - windows.left, windows.kw, w)
                best, place = y[sample, p, q], where[sample, p, q]
                best[:] = x[sample, top, left]
                place[:] = top * w + left
                for i in range(top, bottom):
                    for j in range(left, right):
                        for c in range(channels):
                            value = x[sample, i, j, c]
                            if value > best[c] or (value != value and best[c] == best[c]):
                                best[c] = value
                                place[c] = i * w + j
    return y, where


def max_pool_backward_loops(dy: Array, where: Array, x_shape: tuple[int, int, int, int]) -> Array:
    """Hand each output's gradient to the input that won its window.

        dx[n, h, w, c] = Σ of dy[n,p,q,c] over the windows with where[n,p,q,c] = h·W + w

    Overlapping windows may have one winner: it collects from all of them. Returns dx of shape x_shape.
    """
    n, oh, ow, channels = dy.shape
    dx = np.zeros((n, x_shape[1] * x_shape[2], channels), dy.dtype)  # pixel h·W + w of each map
    for sample in prange(n):
        for p in range(oh):
            for q in range(ow):
                for c in range(channels):
                    dx[sample, where[sample, p, q, c], c] += dy[sample, p, q, c]
    return dx.reshape(x_shape)


def max_pool_numpy(x: Array, windows: Windows) -> tuple[Array, Array]:
    """max_pool_loops one window pixel at a time; a later one must be larger to win, so ties go to the first."""
    n, h, w, channels = x.shape
    kh, kw, oh, ow = windows.kh, windows.kw, windows.oh, windows.ow
    rows = np.arange(oh) * windows.sh - windows.top
    columns = np.arange(ow) * windows.sw - windows.left
    y = np.full((n, oh, ow, channels), -np.inf, x.dtype)
    where = np.full((n, oh, ow, channels), -1, np.int32)
    for i in range(kh):
        for j in range(kw):
            inside = _inside(rows + i, h)[:, None] & _inside(columns + j, w)
            row, column = np.clip(rows + i, 0, h - 1), np.clip(columns + j, 0, w - 1)
            value = x[:, row][:, :, column]  # (N, OH, OW, C)
            wins = inside[:, :, None] & ((where < 0) | (value > y) | (np.isnan(value) & ~np.isnan(y)))
            y = np.where(wins, value, y)
            where = np.where(wins, (row[:, None] * w + column)[:, :, None].astype(np.int32), where)
    return y, where


def max_pool_backward_numpy(dy: Array, where: Array, x_shape: tuple[int, int, int, int]) -> Array:
    """max_pool_backward_loops by one scattered addition; np.add.at, since winners may repeat."""
    n, h, w, channels = x_shape
    dx = np.zeros((n, h * w, channels), dy.dtype)
    sample, c = np.arange(n)[:, None, None, None], np.arange(channels)
    np.add.at(dx, (sample, where, c), dy)
    return dx.reshape(x_shape)


def _inside(index: Array, size: int) -> Array:
    return (index >= 0) & (index < size)


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


def _window_sums(x_shape: tuple[int, int, int, int], windows: Windows) -> tuple[Array, Array]:
    """For each axis a matrix (OUT, IN), True where the window covers the pixel; its row sums count real cells."""
    first_row = (np.arange(windows.oh) * windows.sh - windows.top)[:, None]
    first_column = (np.arange(windows.ow) * windows.sw - windows.left)[:, None]
    row, column = np.arange(x_shape[1]), np.arange(x_shape[2])
    return (
        (row >= first_row) & (row < first_row + windows.kh),
        (column >= first_column) & (column < first_column + windows.kw),
    )


def average_pool_numpy(x: Array, windows: Windows) -> Array:
    """average_pool_loops as two small products, one an axis: a window's sum is a sum of row sums."""
    rows, columns = _window_sums(x.shape, windows)
    cells = rows.sum(1)[:, None] * columns.sum(1)
    sums = np.einsum("ph,nhwc,qw->npqc", rows.astype(x.dtype), x, columns.astype(x.dtype), optimize=True)
    return np.ascontiguousarray(sums / cells[:, :, None].astype(x.dtype))


def average_pool_backward_numpy(dy: Array, x_shape: tuple[int, int, int, int], windows: Windows) -> Array:
    """average_pool_backward_loops: the transposed products."""
    rows, columns = _window_sums(x_shape, windows)
    cells = rows.sum(1)[:, None] * columns.sum(1)
    share = dy / cells[:, :, None].astype(dy.dtype)
    dx = np.einsum("ph,npqc,qw->nhwc", rows.astype(dy.dtype), share, columns.astype(dy.dtype), optimize=True)
    return np.ascontiguousarray(dx)


max_pool_numba = compiled(max_pool_loops)
max_pool_backward_numba = compiled(max_pool_backward_loops)
average_pool_numba = compiled(average_pool_loops)
average_pool_backward_numba = compiled(average_pool_backward_loops)
