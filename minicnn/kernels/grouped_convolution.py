"""Convolution in groups: channels and filters are dealt out, and each filter sees the channels of its group alone.

Throughout, with G groups: x (N, H, W, C), kernel (KH, KW, D, F) with D = C/G channels and P = F/G filters a group,
bias (F,), y (N, OH, OW, F); windows and the pixel (h, w) of a window as in convolution.py. Filter f belongs to group
g = f // P, whose channels are g·D, ..., g·D + D − 1.

One group is conv2d. As many groups as channels, D = 1, is a depthwise convolution with P filters a channel: Keras's
depthwise kernel (KH, KW, C, P) has, read as (KH, KW, 1, C·P), the very same order in memory.
"""

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.convolution import tap_slices
from minicnn.kernels.jit import compiled, prange
from minicnn.typing import Array


def grouped_conv2d_loops(x: Array, kernel: Array, bias: Array, windows: Windows) -> Array:
    """Each output is the product of a window with the kernel, over the channels of one group, plus a bias.

        y[n,p,q,f] = bias[f] + Σ over i < KH, j < KW, d < D of x[n,h,w,g·D + d] · kernel[i,j,d,f],   g = f // P

    Cost: N·OH·OW·F·KH·KW·D multiply-adds, 1/G of conv2d's. Source: Krizhevsky et al. 2012, §3.5.
    """
    n, h, w, channels = x.shape
    kh, kw, depth, filters = kernel.shape
    groups = channels // depth
    share = filters // groups
    y = np.empty((n, windows.oh, windows.ow, filters), x.dtype)
    for sample in prange(n):  # samples share nothing
        for p in range(windows.oh):
            for q in range(windows.ow):
                for f in range(filters):
                    y[sample, p, q, f] = bias[f]
                for i in range(kh):
                    for j in range(kw):
                        row = p * windows.sh + i * windows.dh - windows.top
                        column = q * windows.sw + j * windows.dw - windows.left
                        if 0 <= row < h and 0 <= column < w:
                            for g in range(groups):
                                for f in range(g * share, (g + 1) * share):
                                    for d in range(depth):
                                        y[sample, p, q, f] += x[sample, row, column, g * depth + d] * kernel[i, j, d, f]
    return y


def grouped_conv2d_backward_loops(
    dy: Array, x: Array, kernel: Array, windows: Windows, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """The three derivatives, each read off the definition of y.

        dkernel[i,j,d,f]  = Σ over n, p, q of x[n,h,w,g·D + d] · dy[n,p,q,f],   g = f // P
        dbias[f]          = Σ over n, p, q of dy[n,p,q,f]
        dx[n,h,w,g·D + d] = Σ over all (p, q, i, j) that touch (h, w), and the f of group g, of
                            dy[n,p,q,f] · kernel[i,j,d,f]

    Overwrites dkernel and dbias; returns dx, or an empty array unless need_dx. Cost: twice that of the forward pass.
    A filter's sums run in one thread and in one order, so the bits do not depend on the number of threads, and in
    float64: in float32 a sum of 800,000 terms 0.1 is wrong by 0.8 %.
    """
    n, h, w, channels = x.shape
    kh, kw, depth, filters = kernel.shape
    share = filters // (channels // depth)
    for f in prange(filters):
        first = f // share * depth  # channel of the group
        of_kernel, of_bias = np.zeros((kh, kw, depth)), np.float64(0)
        for sample in range(n):
            for p in range(windows.oh):
                for q in range(windows.ow):
                    gradient = dy[sample, p, q, f]
                    of_bias += gradient
                    for i in range(kh):
                        for j in range(kw):
                            row = p * windows.sh + i * windows.dh - windows.top
                            column = q * windows.sw + j * windows.dw - windows.left
                            if 0 <= row < h and 0 <= column < w:
                                for d in range(depth):
                                    of_kernel[i, j, d] += x[sample, row, column, first + d] * gradient
        dkernel[:, :, :, f], dbias[f] = of_kernel, of_bias
    dx = np.zeros(x.shape if need_dx else (0, 0, 0, 0), x.dtype)
    for sample in prange(len(dx)):
        for p in range(windows.oh):
            for q in range(windows.ow):
                for i in range(kh):
                    for j in range(kw):
                        row = p * windows.sh + i * windows.dh - windows.top
                        column = q * windows.sw + j * windows.dw - windows.left
                        if 0 <= row < h and 0 <= column < w:
                            for f in range(filters):
                                for d in range(depth):
                                    c = f // share * depth + d
                                    dx[sample, row, column, c] += kernel[i, j, d, f] * dy[sample, p, q, f]
    return dx


def grouped_conv2d_numpy(x: Array, kernel: Array, bias: Array, windows: Windows) -> Array:
    """grouped_conv2d_loops one window pixel at a time: for it, a small product a group, of (N·OH·OW, D) and (D, P)."""
    n, h, w, channels = x.shape
    kh, kw, depth, filters = kernel.shape
    groups = channels // depth
    y = np.empty((n, *windows.out, groups, filters // groups), x.dtype)
    y[...] = bias.reshape(groups, -1)
    inputs, taps = x.reshape(n, h, w, groups, depth), kernel.reshape(kh, kw, depth, groups, -1)
    for i in range(kh):
        for j in range(kw):
            (ps, qs), (rows, columns) = tap_slices(windows, (h, w), i, j)
            y[:, ps, qs] += np.einsum("npqgd,dgf->npqgf", inputs[:, rows, columns], taps[i, j])
    return y.reshape(n, *windows.out, filters)


def grouped_conv2d_backward_numpy(
    dy: Array, x: Array, kernel: Array, windows: Windows, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """grouped_conv2d_backward_loops one window pixel at a time, by the two products that belong to the forward one."""
    n, h, w, channels = x.shape
    kh, kw, depth, filters = kernel.shape
    groups = channels // depth
    inputs, taps = x.reshape(n, h, w, groups, depth), kernel.reshape(kh, kw, depth, groups, -1)
    gradients = dy.reshape(n, *windows.out, groups, filters // groups)
    dx = np.zeros(inputs.shape if need_dx else (0, 0, 0, 0), x.dtype)
    dbias[...] = dy.sum(axis=(0, 1, 2), dtype=np.float64)
    for i in range(kh):
        for j in range(kw):
            (ps, qs), (rows, columns) = tap_slices(windows, (h, w), i, j)
            part = gradients[:, ps, qs]
            sums = np.einsum("npqgd,npqgf->dgf", inputs[:, rows, columns], part, dtype=np.float64)
            dkernel[i, j] = sums.reshape(depth, filters)
            if need_dx:
                dx[:, rows, columns] += np.einsum("npqgf,dgf->npqgd", part, taps[i, j])
    return dx.reshape(x.shape) if need_dx else dx


grouped_conv2d_numba = compiled(grouped_conv2d_loops)
grouped_conv2d_backward_numba = compiled(grouped_conv2d_backward_loops)
