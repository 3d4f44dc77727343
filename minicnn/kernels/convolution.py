"""Two-dimensional convolution, as its definition and as im2col and a matrix product.

Throughout: x (N, H, W, C), kernel (KH, KW, C, F), bias (F,), y (N, OH, OW, F); windows says where the kernel lies
(geometry.Windows: strides SH, SW, dilation DH, DW, and top, left, the pixels of padding before the map). The pixel
(i, j) of window (p, q) is the input's

    h = p·SH + i·DH − top,   w = q·SW + j·DW − left

and counts as zero outside the map. As in every framework the kernel is not flipped: this is cross-correlation.
"""

from typing import Any

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.dense import add_slots, column_sums_numpy
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.typing import Array

BLOCK_BYTES = 1 << 18
"""Aim for the columns of one block: a quarter of a megabyte stays in a core's second-level cache."""

SLOTS = 8
"""Partial sums of a kernel's gradient. A fixed number, added in order: the bits do not depend on the threads."""


# ---------------------------------------------------------------- the definition


def conv2d_loops(x: Array, kernel: Array, bias: Array, windows: Windows) -> Array:
    """Each output is the product of a window with the kernel, summed, plus a bias.

        y[n,p,q,f] = bias[f] + Σ over i < KH, j < KW, c < C of x[n,h,w,c] · kernel[i,j,c,f]

    Cost: N·OH·OW·F·KH·KW·C multiply-adds. Source: Goodfellow et al. 2016, §9.1, with strides and zero padding.
    """
    n, h, w, channels = x.shape
    kh, kw, _, filters = kernel.shape
    oh, ow = windows.oh, windows.ow
    y = np.empty((n, oh, ow, filters), x.dtype)
    for sample in prange(n):  # samples share nothing
        for p in range(oh):
            for q in range(ow):
                for f in range(filters):
                    total = bias[f]
                    for i in range(kh):
                        for j in range(kw):
                            row = p * windows.sh + i * windows.dh - windows.top
                            column = q * windows.sw + j * windows.dw - windows.left
                            if 0 <= row < h and 0 <= column < w:
                                for c in range(channels):
                                    total += x[sample, row, column, c] * kernel[i, j, c, f]
                    y[sample, p, q, f] = total
    return y


def conv2d_backward_loops(
    dy: Array, x: Array, kernel: Array, windows: Windows, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """The three derivatives, each read off the definition of y.

        dkernel[i,j,c,f] = Σ over n, p, q of x[n,h,w,c] · dy[n,p,q,f]
        dbias[f]         = Σ over n, p, q of dy[n,p,q,f]
        dx[n,h,w,c]      = Σ over all (p, q, i, j) that touch (h, w), and f, of dy[n,p,q,f] · kernel[i,j,c,f]

    In the first, x[n,h,w,c] is what kernel[i,j,c,f] was multiplied by to give y[n,p,q,f]. Overwrites dkernel and
    dbias; returns dx, or an empty array unless need_dx. Cost: twice that of conv2d_loops.
    """
    n, h, w, channels = x.shape
    kh, kw, _, filters = kernel.shape
    oh, ow = windows.oh, windows.ow
    dx = np.zeros(x.shape if need_dx else (0, 0, 0, 0), x.dtype)
    dkernel[...] = 0
    dbias[...] = 0
    for sample in range(n):
        for p in range(oh):
            for q in range(ow):
                for f in range(filters):
                    gradient = dy[sample, p, q, f]
                    dbias[f] += gradient
                    for i in range(kh):
                        for j in range(kw):
                            row = p * windows.sh + i * windows.dh - windows.top
                            column = q * windows.sw + j * windows.dw - windows.left
                            if 0 <= row < h and 0 <= column < w:
                                for c in range(channels):
                                    dkernel[i, j, c, f] += x[sample, row, column, c] * gradient
                                    if need_dx:
                                        dx[sample, row, column, c] += kernel[i, j, c, f] * gradient
    return dx


# ---------------------------------------------------------------- im2col: windows become rows


@inlined
def im2col_image(image: Array, windows: Windows, columns: Array) -> None:
    """Write each window of one image (H, W, C) as a row of columns (OH·OW, KH·KW·C).

        columns[p·OW + q, (i·KW + j)·C + c] = image[h, w, c], zero outside

    A row of a window that lies inside the map is copied in one run when the window is dense.
    """
    h, w, channels = image.shape
    kh, kw, sh, sw, dh, dw, top, left, oh, ow = windows
    run = kw * channels
    flat = image.reshape(h, w * channels)
    for p in range(oh):
        for i in range(kh):
            row = p * sh + i * dh - top
            inside = 0 <= row < h
            for q in range(ow):
                target = columns[p * ow + q]
                first = q * sw - left
                start = i * run
                if inside and dw == 1 and first >= 0 and first + kw <= w:
                    for k in range(run):
                        target[start + k] = flat[row, first * channels + k]
                else:
                    for j in range(kw):
                        column = first + j * dw
                        for c in range(channels):
                            if inside and 0 <= column < w:
                                target[start + j * channels + c] = image[row, column, c]
                            else:
                                target[start + j * channels + c] = 0


@inlined
def col2im_image(columns: Array, windows: Windows, image: Array) -> None:
    """The transpose of im2col_image: add each row of columns to the pixels it was read from. Overwrites image."""
    h, w, channels = image.shape
    kh, kw, sh, sw, dh, dw, top, left, oh, ow = windows
    image[...] = 0
    run = kw * channels
    flat = image.reshape(h, w * channels)
    for p in range(oh):
        for i in range(kh):
            row = p * sh + i * dh - top
            if 0 <= row < h:
                for q in range(ow):
                    source = columns[p * ow + q]
                    first = q * sw - left
                    start = i * run
                    if dw == 1 and first >= 0 and first + kw <= w:
                        for k in range(run):
                            flat[row, first * channels + k] += source[start + k]
                    else:
                        for j in range(kw):
                            column = first + j * dw
                            if 0 <= column < w:
                                for c in range(channels):
                                    image[row, column, c] += source[start + j * channels + c]


def im2col_loops(x: Array, windows: Windows) -> Array:
    """Every window of every image as a row: (N·OH·OW, KH·KW·C), so that convolution is one matrix product.

    The copy holds each pixel up to KH·KW times.
    Source: Chellapilla et al. 2006, "High performance convolutional neural networks for document processing".
    """
    n, _, _, channels = x.shape
    positions = windows.oh * windows.ow
    columns = np.empty((n * positions, windows.kh * windows.kw * channels), x.dtype)
    for sample in prange(n):
        im2col_image(x[sample], windows, columns[sample * positions : (sample + 1) * positions])
    return columns


def col2im_loops(columns: Array, x_shape: tuple[int, int, int, int], windows: Windows) -> Array:
    """The transpose of im2col: (N·OH·OW, KH·KW·C) back to x_shape, adding where windows overlap."""
    positions = windows.oh * windows.ow
    x = np.empty(x_shape, columns.dtype)
    for sample in prange(x_shape[0]):
        col2im_image(columns[sample * positions : (sample + 1) * positions], windows, x[sample])
    return x


def tap_slices(windows: Windows, map_size: tuple[int, int], i: int, j: int) -> Any:
    """The output positions where the window's pixel (i, j) lies inside the map, and the input that it reads there.

    Two pairs of slices, of rows and columns each.
    """
    axes = (
        (map_size[0], windows.oh, windows.sh, i * windows.dh - windows.top),
        (map_size[1], windows.ow, windows.sw, j * windows.dw - windows.left),
    )
    outputs, inputs = [], []
    for size, out, stride, offset in axes:
        first = max(0, -(offset // stride))  # the smallest p with p·stride + offset >= 0
        last = min(out - 1, (size - 1 - offset) // stride)
        count = max(0, last - first + 1)
        outputs.append(slice(first, first + count))
        start = first * stride + offset
        inputs.append(slice(start, start + (count - 1) * stride + 1, stride) if count else slice(0, 0))
    return tuple(outputs), tuple(inputs)


def im2col_numpy(x: Array, windows: Windows) -> Array:
    """im2col_loops, one window pixel at a time: all windows at once are a strided slice of x."""
    n, h, w, channels = x.shape
    kh, kw, oh, ow = windows.kh, windows.kw, windows.oh, windows.ow
    columns = np.zeros((n, oh, ow, kh, kw, channels), x.dtype)
    for i in range(kh):
        for j in range(kw):
            (ps, qs), (rows, cols) = tap_slices(windows, (h, w), i, j)
            columns[:, ps, qs, i, j] = x[:, rows, cols]
    return columns.reshape(n * oh * ow, kh * kw * channels)


def col2im_numpy(columns: Array, x_shape: tuple[int, int, int, int], windows: Windows) -> Array:
    """col2im_loops, one window pixel at a time; within one pixel no two windows meet, so += is safe."""
    n, h, w, channels = x_shape
    kh, kw, oh, ow = windows.kh, windows.kw, windows.oh, windows.ow
    parts = columns.reshape(n, oh, ow, kh, kw, channels)
    x = np.zeros(x_shape, columns.dtype)
    for i in range(kh):
        for j in range(kw):
            (ps, qs), (rows, cols) = tap_slices(windows, (h, w), i, j)
            x[:, rows, cols] += parts[:, ps, qs, i, j]
    return x


im2col_numba = compiled(im2col_loops)
col2im_numba = compiled(col2im_loops)


# ---------------------------------------------------------------- convolution as a matrix product


def conv2d_numpy(x: Array, kernel: Array, bias: Array, windows: Windows) -> Array:
    """conv2d_loops as im2col and one product: (N·OH·OW, KH·KW·C) · (KH·KW·C, F)."""
    filters = kernel.shape[3]
    y = im2col_numpy(x, windows) @ kernel.reshape(-1, filters)
    y += bias
    return y.reshape(x.shape[0], *windows.out, filters)


def conv2d_backward_numpy(
    dy: Array, x: Array, kernel: Array, windows: Windows, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """conv2d_backward_loops as two products.

    With cols = im2col(x) the forward pass is y = cols · K + bias, so

        dK = colsᵀ · dy,   dcols = dy · Kᵀ,   dx = col2im(dcols)
    """
    filters = kernel.shape[3]
    rows = dy.reshape(-1, filters)  # (N·OH·OW, F)
    dkernel[...] = (im2col_numpy(x, windows).T @ rows).reshape(kernel.shape)
    dbias[...] = column_sums_numpy(rows)
    if not need_dx:
        return np.empty((0, 0, 0, 0), x.dtype)
    return col2im_numpy(rows @ kernel.reshape(-1, filters).T, x.shape, windows)


@inlined
def images_per_block(windows: Windows, depth: int, itemsize: int) -> int:
    """How many images' columns, each row `depth` wide, fit BLOCK_BYTES; at least one."""
    return max(1, BLOCK_BYTES // max(1, windows.oh * windows.ow * depth * itemsize))


@inlined
def with_bias_row(kernel: Array, bias: Array) -> Array:
    """The kernel as a matrix (KH·KW·C + 1, F) with the bias as its last row."""
    depth, filters = kernel.shape[0] * kernel.shape[1] * kernel.shape[2], kernel.shape[3]
    matrix = np.empty((depth + 1, filters), kernel.dtype)
    matrix[:depth] = kernel.reshape(depth, filters)
    matrix[depth] = bias
    return matrix


def conv2d_blocked(x: Array, kernel: Array, bias: Array, windows: Windows) -> Array:
    """conv2d_numpy a block of images at a time: the columns never leave the cache, and threads share out the blocks.

    The whole batch's columns (KH·KW times the input) would go through memory twice; np.dot here is single-threaded
    BLAS (blas.py says why). Columns get one more entry, 1, which meets the bias in the kernel's last row: the product
    adds the bias, and in the backward pass its gradient comes with the kernel's. That spares two passes over the
    outputs.
    """
    n = x.shape[0]
    filters = kernel.shape[3]
    matrix = with_bias_row(kernel, bias)
    depth = matrix.shape[0]
    positions = windows.oh * windows.ow
    y = np.empty((n, windows.oh, windows.ow, filters), x.dtype)
    per_block = images_per_block(windows, depth, x.itemsize)
    blocks = (n + per_block - 1) // per_block
    slots = min(SLOTS, max(1, blocks))
    for slot in prange(slots):
        columns = np.empty((per_block * positions, depth), x.dtype)
        columns[:, depth - 1] = 1
        for block in range(slot, blocks, slots):
            first = block * per_block
            count = min(per_block, n - first)
            for k in range(count):
                im2col_image(x[first + k], windows, columns[k * positions : (k + 1) * positions])
            rows = y[first : first + count].reshape(count * positions, filters)
            np.dot(columns[: count * positions], matrix, rows)
    return y


def conv2d_backward_blocked(
    dy: Array, x: Array, kernel: Array, windows: Windows, dkernel: Array, dbias: Array, need_dx: bool
) -> Array:
    """conv2d_backward_numpy a block of images at a time, with the columns made again: cheaper than keeping them.

    Blocks are dealt to SLOTS partial sums of dkernel and dbias, whatever the number of threads; adding the slots in
    order makes the result the same for any number of them. dx needs no sum across images.
    """
    n = x.shape[0]
    filters = kernel.shape[3]
    matrix = with_bias_row(kernel, dbias)  # its last row meets the columns' 1 and is not used here
    depth = matrix.shape[0]
    transposed = np.ascontiguousarray(matrix.T)
    positions = windows.oh * windows.ow
    dx = np.empty(x.shape if need_dx else (0, 0, 0, 0), x.dtype)
    per_block = images_per_block(windows, depth, x.itemsize)
    blocks = (n + per_block - 1) // per_block
    slots = min(SLOTS, max(1, blocks))
    partial = np.zeros((slots, depth, filters), x.dtype)
    for slot in prange(slots):
        columns = np.empty((per_block * positions, depth), x.dtype)
        product = np.empty((depth, filters), x.dtype)
        for block in range(slot, blocks, slots):
            first = block * per_block
            count = min(per_block, n - first)
            used = columns[: count * positions]
            rows = dy[first : first + count].reshape(count * positions, filters)
            used[:, depth - 1] = 1
            for k in range(count):
                im2col_image(x[first + k], windows, used[k * positions : (k + 1) * positions])
            np.dot(used.T, rows, product)
            for k in range(depth):
                for f in range(filters):
                    partial[slot, k, f] += product[k, f]
            if need_dx:
                np.dot(rows, transposed, used)
                for k in range(count):
                    col2im_image(used[k * positions : (k + 1) * positions], windows, dx[first + k])
    total = np.empty((depth, filters), x.dtype)
    add_slots(partial, total)
    dkernel[...] = total[: depth - 1].reshape(kernel.shape)
    dbias[...] = total[depth - 1]
    return dx


conv2d_numba = compiled(conv2d_blocked, uses_blas=True)
conv2d_backward_numba = compiled(conv2d_backward_blocked, uses_blas=True)
