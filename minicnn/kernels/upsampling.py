"""Upsampling: SH x SW output pixels for each pixel of the map, by repeating it or by interpolating between four.

Throughout: x (N, H, W, C), scale (SH, SW), y (N, H·SH, W·SW, C).
"""

from typing import Any

import numpy as np

from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.typing import Array, Pair


def upsample_nearest_loops(x: Array, scale: Pair) -> Array:
    """Each output is the input pixel that it lies in.

    y[n,p,q,c] = x[n, p // SH, q // SW, c]
    """
    n, h, w, channels = x.shape
    sh, sw = scale
    y = np.empty((n, h * sh, w * sw, channels), x.dtype)
    for sample in prange(n):
        for p in range(h * sh):
            for q in range(w * sw):
                for c in range(channels):
                    y[sample, p, q, c] = x[sample, p // sh, q // sw, c]
    return y


def upsample_nearest_backward_loops(dy: Array, scale: Pair) -> Array:
    """Each input pixel collects from all that it was copied to.

    dx[n,h,w,c] = Σ over i < SH, j < SW of dy[n, h·SH + i, w·SW + j, c]
    """
    sh, sw = scale
    n, h, w, channels = dy.shape[0], dy.shape[1] // sh, dy.shape[2] // sw, dy.shape[3]
    dx = np.zeros((n, h, w, channels), dy.dtype)
    for sample in prange(n):
        for p in range(h * sh):
            for q in range(w * sw):
                for c in range(channels):
                    dx[sample, p // sh, q // sw, c] += dy[sample, p, q, c]
    return dx


@inlined
def neighbours(p: int, scale: int, size: int) -> tuple[int, int, float]:
    """The two input pixels between which output pixel p lies along one axis, and how far it is from the first to the
    second, 0 to 1.

    Pixels are squares: the middle of output pixel p lies at (p + 1/2) / scale in units of input pixels, whose own
    middles lie at 1/2, 3/2, ... Beyond the outermost middles both neighbours are the outermost pixel.
    """
    place = (p + 0.5) / scale - 0.5
    before = int(np.floor(place))
    return max(before, 0), min(before + 1, size - 1), place - before


def upsample_bilinear_loops(x: Array, scale: Pair) -> Array:
    """Each output is interpolated between the four nearest input pixels, linearly along both axes.

        y[n,p,q,c] = (1 − s)·((1 − t)·x[n,a,l,c] + t·x[n,a,r,c]) + s·((1 − t)·x[n,b,l,c] + t·x[n,b,r,c])

    (a, b, s) and (l, r, t): neighbours of p along the height and of q along the width.
    Source: TensorFlow's resize with half-pixel centers and without antialiasing.
    """
    n, h, w, channels = x.shape
    sh, sw = scale
    y = np.empty((n, h * sh, w * sw, channels), x.dtype)
    number = x.dtype.type
    for sample in prange(n):
        for p in range(h * sh):
            above, below, s = neighbours(p, sh, h)
            for q in range(w * sw):
                left, right, t = neighbours(q, sw, w)
                for c in range(channels):
                    upper = number(1 - t) * x[sample, above, left, c] + number(t) * x[sample, above, right, c]
                    lower = number(1 - t) * x[sample, below, left, c] + number(t) * x[sample, below, right, c]
                    y[sample, p, q, c] = number(1 - s) * upper + number(s) * lower
    return y


def upsample_bilinear_backward_loops(dy: Array, scale: Pair) -> Array:
    """y is a weighted sum of four x; each of them gets dy times its weight, and adds up what it gets.

    dx[n,a,l,c] += (1 − s)·(1 − t)·dy[n,p,q,c], and so on for the other three
    """
    sh, sw = scale
    n, h, w, channels = dy.shape[0], dy.shape[1] // sh, dy.shape[2] // sw, dy.shape[3]
    dx = np.zeros((n, h, w, channels), dy.dtype)
    number = dy.dtype.type
    for sample in prange(n):
        for p in range(h * sh):
            above, below, s = neighbours(p, sh, h)
            for q in range(w * sw):
                left, right, t = neighbours(q, sw, w)
                for c in range(channels):
                    upper, lower = number(1 - s) * dy[sample, p, q, c], number(s) * dy[sample, p, q, c]
                    dx[sample, above, left, c] += number(1 - t) * upper
                    dx[sample, above, right, c] += number(t) * upper
                    dx[sample, below, left, c] += number(1 - t) * lower
                    dx[sample, below, right, c] += number(t) * lower
    return dx


def upsample_nearest_numpy(x: Array, scale: Pair) -> Array:
    """upsample_nearest_loops, one axis after the other."""
    return np.repeat(np.repeat(x, scale[0], axis=1), scale[1], axis=2)


def upsample_nearest_backward_numpy(dy: Array, scale: Pair) -> Array:
    """upsample_nearest_backward_loops as a sum over the two axes of each block."""
    (sh, sw), (n, height, width, channels) = scale, dy.shape
    return dy.reshape(n, height // sh, sh, width // sw, sw, channels).sum(axis=(2, 4))


def _axis_neighbours(scale: int, size: int, axis: int, dtype: Any) -> tuple[Array, Array, Array]:
    """neighbours of all outputs along one axis; the distances in the shape of an array with that axis."""
    before, after, distance = zip(*(neighbours(p, scale, size) for p in range(size * scale)), strict=True)
    shape = [1] * 4
    shape[axis] = -1
    return np.array(before), np.array(after), np.array(distance, dtype).reshape(shape)


def upsample_bilinear_numpy(x: Array, scale: Pair) -> Array:
    """upsample_bilinear_loops, one axis after the other: first the width, then the height."""
    for axis in (2, 1):
        before, after, t = _axis_neighbours(scale[axis - 1], x.shape[axis], axis, x.dtype)
        x = (1 - t) * np.take(x, before, axis) + t * np.take(x, after, axis)
    return x


def upsample_bilinear_backward_numpy(dy: Array, scale: Pair) -> Array:
    """upsample_bilinear_backward_loops, one axis after the other; np.add.at, since neighbours repeat."""
    for axis in (1, 2):
        size = dy.shape[axis] // scale[axis - 1]
        before, after, t = _axis_neighbours(scale[axis - 1], size, axis, dy.dtype)
        dx = np.zeros((*dy.shape[:axis], size, *dy.shape[axis + 1 :]), dy.dtype)
        along, parts = np.moveaxis(dx, axis, 0), np.moveaxis(dy, axis, 0)
        weights = np.moveaxis(t, axis, 0)
        np.add.at(along, before, (1 - weights) * parts)
        np.add.at(along, after, weights * parts)
        dy = dx
    return dy


upsample_nearest_numba = compiled(upsample_nearest_loops)
upsample_nearest_backward_numba = compiled(upsample_nearest_backward_loops)
upsample_bilinear_numba = compiled(upsample_bilinear_loops)
upsample_bilinear_backward_numba = compiled(upsample_bilinear_backward_loops)
