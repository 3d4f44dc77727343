"""The loops of a convolution and the 2x2 pool behind it, for predicting: no backward pass will ask what was pooled.

    y = pool((f(convolution(x) + bias) − mean) · scale + beta)

A pooled tile (tiles.py) computes the four windows of each pool at once and stores what the pool leaves of them, so that
neither the map nor the four parts of a row that convolution_kernels.py pools are ever written. Vectors run over the
filters; where filters are few, over the windows of a row. Microseconds an image at batch 256, on 2 cores of an AVX-512
Xeon, by convolution_kernels.py (and NormalizationPoolStep) and here: the first convolution of cnn_relu 4.3 and 2.3, of
lenet5 3.1 and 1.6, of cnn_cifar10 with its normalization 43 and 17.

The last three are those of a batch normalization with fixed statistics, if there is one. All of it is monotonic, so
that the largest y is that of the largest convolution, or of the smallest where scale is negative: there, kernel and
bias are negated, and what was pooled is negated back.
"""

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.direct import pack_columns, pack_planes
from minicnn.kernels.fused import LINEAR, activate_in_place, activated
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.tiles import Tiling, lines_of_cache, pooled_rows_product, whole_vectors
from minicnn.steps.convolution_layout import SLOTS, frame_sample, frame_size, place_row
from minicnn.typing import Array


@inlined
def signed(kernel: Array, bias: Array, scale: Array, average: bool) -> tuple[Array, Array, Array]:
    """kernel (D, F), bias and ones, each times −1 for the filters of a largest value with a negative scale."""
    signs, one = np.ones(bias.size, kernel.dtype), kernel.dtype.type(1)
    for f in range(scale.size):
        signs[f] = -one if scale[f] < 0 and not average else one
    return (kernel * signs, bias * signs, signs) if scale.size else (kernel, bias, signs)


@inlined
def repeated_rows(row: Array, count: int) -> Array:
    """A row, `count` times one after the other."""
    rows = np.empty(count * row.size, row.dtype)
    for k in range(count):
        rows[k * row.size : (k + 1) * row.size] = row
    return rows


@inlined
def finish_pooled(y: Array, signs: Array, mean: Array, scale: Array, beta: Array, code: int) -> None:
    """y[k] = (f(signs[k] · y[k]) − mean[k]) · scale[k] + beta[k]; where there is no scale, f(y[k] + beta[k])."""
    if scale.size:
        zero = y.dtype.type(0)
        for k in range(y.size):
            y[k] = (activated(signs[k] * y[k], code, zero, y.itemsize) - mean[k]) * scale[k] + beta[k]
    elif code != LINEAR:
        activate_in_place(y, beta, code)


def pooled_forward_loops(
    x: Array, kernel: Array, bias: Array, windows: Windows, average: bool, code: int, few: bool, tiling: Tiling,
    mean: Array, scale: Array, beta: Array, y: Array,
) -> None:  # fmt: skip
    """Write y (N, OH / 2, OW / 2, F), rounded down, from x (N, H, W, C).

    average: the pool takes the mean, and f is relu. few: vectors over windows instead of filters; SW must be 1. tiling:
    of pooled tiles. mean, scale, beta (F,), or without a normalization empty. Images are dealt to slots as in
    convolution_forward_loops.
    """
    n, h, w, channels = x.shape
    kh, kw, sh, sw, _, _, top, left, oh, ow = windows
    filters, run, lanes = kernel.shape[3], kw * channels, tiling.lanes
    rows, count = oh // 2, ow // 2
    filled = filters if few else whole_vectors(filters, lanes)
    windows_filled = whole_vectors(count, lanes)
    matrix, bias_of, signs = signed(kernel.reshape(kh * run, filters), bias, scale, average)
    packed, biases = lines_of_cache(kh * run * filled, x), np.zeros(filled, x.dtype)
    biases[:filters] = bias_of
    if few:
        pack_planes(matrix.reshape(kernel.shape), packed)
    else:
        pack_columns(matrix, tiling, packed)
    signs, means, scales = repeated_rows(signs, count), repeated_rows(mean, count), repeated_rows(scale, count)
    betas = repeated_rows(beta, count) if scale.size else np.zeros(count * filters, x.dtype)
    height = frame_size(h, top, oh, sh, kh)
    width = max(frame_size(w, left, ow, sw, kw), 2 * windows_filled + kw - 1 if few else 0)
    framed = few or height > h or width > w
    row = (width if framed else w) * channels
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    in_place = filters == filled and not few

    bands = 1 if n >= SLOTS else min(rows, (SLOTS + n - 1) // max(n, 1))
    slots = min(SLOTS, n * bands)
    for slot in prange(slots):
        frame = np.zeros(height * row if framed else 0, x.dtype)
        line = lines_of_cache(filters * windows_filled if few else count * filled, x)
        for unit in range(slot, n * bands, slots):
            sample, band = unit // bands, unit % bands
            image, corner = flat_x, sample * h * w * channels
            if framed:
                frame_sample(x[sample], few, top, left, height, frame)
                image, corner = frame, 0
            for p in range(band * rows // bands, (band + 1) * rows // bands):
                place, start = (sample * rows + p) * count * filters, corner + 2 * p * sh * row
                target = flat_y[place : place + count * filters]
                if few:
                    for first in range(0, windows_filled, lanes):
                        pooled_rows_product(
                            packed, 0, 1, filters, kw * filters,
                            image, start + 2 * first, 1, width, 0, sh * row,
                            biases, 0, line, first, windows_filled,
                            kw, kh * channels, filters, lanes, True, average, tiling,
                        )  # fmt: skip
                else:
                    for first in range(0, filled, tiling.widest):
                        columns = min(tiling.widest, filled - first)
                        pooled_rows_product(
                            image, start, 2 * sw * channels, 1, row,
                            packed, first * kh * run, columns, run * columns, sw * channels, sh * row,
                            biases, first, flat_y if in_place else line, (place if in_place else 0) + first, filled,
                            run, kh, count, columns, False, average, tiling,
                        )  # fmt: skip
                if not in_place:
                    place_row(line, few, windows_filled if few else filled, count, filters, target)
                finish_pooled(target, signs, means, scales, betas, LINEAR if average else code)


pooled_forward = compiled(pooled_forward_loops)
