"""The transpose of a convolution: what hands gradients back in conv2d, used forwards, to make a map larger.

Throughout: x (N, OH, OW, C), kernel (KH, KW, F, C), bias (F,), y (N, H, W, F). windows are those of the convolution
whose transpose this is: it would read the map (H, W) of y, and have a window (p, q) for each pixel of x. As there,

    h = p·SH + i·DH − top,   w = q·SW + j·DW − left

is the pixel (i, j) of window (p, q). kernel is that convolution's kernel too, from F channels to C.
"""

from collections.abc import Callable

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.convolution import (
    col2im_image,
    col2im_numpy,
    conv2d_backward_numba,
    conv2d_backward_numpy,
    conv2d_numba,
    conv2d_numpy,
)
from minicnn.kernels.dense import column_sums_numpy
from minicnn.kernels.jit import compiled, prange
from minicnn.typing import Array, Pair


def conv2d_transpose_loops(x: Array, kernel: Array, bias: Array, windows: Windows, map_size: Pair) -> Array:
    """Each input pixel lays the kernel, times its value, on the output map.

        y[n,h,w,f] = bias[f] + Σ over all (p, q, i, j) that touch (h, w), and c < C, of x[n,p,q,c] · kernel[i,j,f,c]

    map_size: (H, W) of y. Cost: N·OH·OW·C·KH·KW·F multiply-adds.
    Source: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", §4.
    """
    n, oh, ow, channels = x.shape
    kh, kw, filters, _ = kernel.shape
    h, w = map_size
    y = np.empty((n, h, w, filters), x.dtype)
    for sample in prange(n):
        y[sample] = bias
        for p in range(oh):
            for q in range(ow):
                for i in range(kh):
                    for j in range(kw):
                        row = p * windows.sh + i * windows.dh - windows.top
                        column = q * windows.sw + j * windows.dw - windows.left
                        if 0 <= row < h and 0 <= column < w:
                            for f in range(filters):
                                for c in range(channels):
                                    y[sample, row, column, f] += x[sample, p, q, c] * kernel[i, j, f, c]
    return y


def conv2d_transpose_backward_loops(
    dy: Array, x: Array, kernel: Array, windows: Windows, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """The three derivatives, each read off the definition of y.

        dkernel[i,j,f,c] = Σ over n, p, q of x[n,p,q,c] · dy[n,h,w,f]
        dbias[f]         = Σ over n, h, w of dy[n,h,w,f]
        dx[n,p,q,c]      = Σ over i, j, f of dy[n,h,w,f] · kernel[i,j,f,c]

    where (h, w) lies on the map. Overwrites dkernel and dbias; returns dx, or an empty array unless need_dx.
    """
    n, oh, ow, channels = x.shape
    kh, kw, filters, _ = kernel.shape
    h, w = dy.shape[1], dy.shape[2]
    dx = np.zeros(x.shape if need_dx else (0, 0, 0, 0), x.dtype)
    dkernel[...] = 0
    dbias[...] = 0
    for sample in range(n):
        for row in range(h):
            for column in range(w):
                for f in range(filters):
                    dbias[f] += dy[sample, row, column, f]
        for p in range(oh):
            for q in range(ow):
                for i in range(kh):
                    for j in range(kw):
                        row = p * windows.sh + i * windows.dh - windows.top
                        column = q * windows.sw + j * windows.dw - windows.left
                        if 0 <= row < h and 0 <= column < w:
                            for f in range(filters):
                                gradient = dy[sample, row, column, f]
                                for c in range(channels):
                                    dkernel[i, j, f, c] += x[sample, p, q, c] * gradient
                                    if need_dx:
                                        dx[sample, p, q, c] += kernel[i, j, f, c] * gradient
    return dx


def conv2d_transpose_numpy(x: Array, kernel: Array, bias: Array, windows: Windows, map_size: Pair) -> Array:
    """conv2d_transpose_loops as one product and col2im: conv2d_backward's dx with x for dy."""
    channels = x.shape[3]
    columns = x.reshape(-1, channels) @ kernel.reshape(-1, channels).T  # (N·OH·OW, KH·KW·F)
    return col2im_numpy(columns, (x.shape[0], *map_size, kernel.shape[2]), windows) + bias


def conv2d_transpose_blocked(x: Array, kernel: Array, bias: Array, windows: Windows, map_size: Pair) -> Array:
    """conv2d_transpose_numpy an image at a time, one thread each."""
    n, oh, ow, channels = x.shape
    kh, kw, filters, _ = kernel.shape
    depth = kh * kw * filters
    matrix = np.ascontiguousarray(kernel.reshape(depth, channels).T)
    y = np.empty((n, map_size[0], map_size[1], filters), x.dtype)
    for sample in prange(n):
        columns = np.empty((oh * ow, depth), x.dtype)
        np.dot(x[sample].reshape(oh * ow, channels), matrix, columns)
        col2im_image(columns, windows, y[sample])
        y[sample] += bias
    return y


def _backward_by(
    conv2d: Callable[..., Array], conv2d_backward: Callable[..., Array],
    dy: Array, x: Array, kernel: Array, windows: Windows, dkernel: Array, dbias: Array, need_dx: bool,
) -> Array:  # fmt: skip
    """dx is the convolution of dy with the kernel, and for it dkernel is the kernel's gradient, with dy for its input
    and x for the gradient of its output."""
    conv2d_backward(x, dy, kernel, windows, dkernel, np.empty(x.shape[3], x.dtype), False)
    dbias[...] = column_sums_numpy(dy.reshape(-1, dy.shape[3]))
    return conv2d(dy, kernel, np.zeros(x.shape[3], x.dtype), windows) if need_dx else np.empty((0,) * 4, x.dtype)


def conv2d_transpose_backward_numpy(
    dy: Array, x: Array, kernel: Array, windows: Windows, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """conv2d_transpose_backward_loops by convolutions."""
    return _backward_by(conv2d_numpy, conv2d_backward_numpy, dy, x, kernel, windows, dkernel, dbias, need_dx)


def conv2d_transpose_backward_numba(
    dy: Array, x: Array, kernel: Array, windows: Windows, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """conv2d_transpose_backward_numpy with the compiled convolutions."""
    return _backward_by(conv2d_numba, conv2d_backward_numba, dy, x, kernel, windows, dkernel, dbias, need_dx)


conv2d_transpose_numba = compiled(conv2d_transpose_blocked, uses_blas=True)
