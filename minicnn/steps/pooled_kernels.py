"""The loops of a convolution and the 2x2 pool behind it, for predicting: no backward pass will ask what was pooled.

    y = pool((f(convolution(x) + bias) − mean) · scale + beta)

A pooled tile (tiles.py) computes the four windows of each pool at once and stores what the pool leaves of them, so that
neither the map nor the four parts of a row that convolution_kernels.py pools are ever written. Vectors run over the
filters; where filters are few, over the windows of a row. Microseconds an image at batch 256, on 2 cores of an AVX-512
Xeon, by convolution_kernels.py (and NormalizationPoolStep) and here: the first convolution of cnn_relu 4.3 and 2.3, of
lenet5 3.1 and 1.6, of cnn_cifar10 with its normalization 43 and 17. For an image or two the kernel is not packed but
read where it lies: the second convolution of cnn_relu takes 25 µs instead of 54.

The last three are those of a batch normalization with fixed statistics, if there is one. All of it is monotonic, so
that the largest y is that of the largest convolution, or of the smallest where scale is negative: there, kernel and
bias are negated, and what was pooled is negated back.

Sources: the tiles are llvm.py's (Goto and van de Geijn 2008); with fixed statistics a batch normalization is a linear
map (Ioffe and Szegedy 2015, §3.1).
"""

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.dense import FEW
from minicnn.kernels.fused import LINEAR, activate_in_place, activated
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.normalization import repeated
from minicnn.kernels.tiles import Tiling, even_width, lines_of_cache, pooled_rows_product, whole_vectors
from minicnn.steps.convolution_layout import (
    SLOTS,
    Layout,
    bands_per_image,
    frame_sample,
    layout_of,
    packed_kernel,
    place_row,
)
from minicnn.typing import Array


@inlined
def signed(kernel: Array, bias: Array, scale: Array, average: bool) -> tuple[Array, Array, Array]:
    """kernel (D, F), bias and ones, each times −1 for the filters of a largest value with a negative scale."""
    signs, one = np.ones(bias.size, kernel.dtype), kernel.dtype.type(1)
    for f in range(scale.size):
        signs[f] = -one if scale[f] < 0 and not average else one
    return (kernel * signs, bias * signs, signs) if scale.size else (kernel, bias, signs)


@inlined
def finish_pooled(y: Array, signs: Array, mean: Array, scale: Array, beta: Array, code: int) -> None:
    """y[k] = (f(signs[k] · y[k]) − mean[k]) · scale[k] + beta[k]; where there is no scale, f(y[k] + beta[k])."""
    if scale.size:
        zero = y.dtype.type(0)
        for k in range(y.size):
            y[k] = (activated(signs[k] * y[k], code, zero, y.itemsize) - mean[k]) * scale[k] + beta[k]
    elif code != LINEAR:
        activate_in_place(y, beta, code)


@inlined
def pool_rows(
    image: Array, corner: int, first: int, last: int, channels: int, windows: Windows, layout: Layout, few: bool,
    packed: Array, as_it_is: bool, filters: int, biases: Array, average: bool, count: int, line: Array, y: Array,
    tiling: Tiling,
) -> None:  # fmt: skip
    """Rows first <= p < last of one image's pooled convolution, y (P·Q·F,), of `count` pools each.

    packed: the kernel as packed_kernel leaves it, or as it is, which is in the same order but for the panels.
    corner: the place of the first window's first number in the flat image. line: a workspace for a row in the order of
    the vectors, (Q, F'), with few filters (F, Q); empty where that is y's.
    """
    run, across, down = windows.kw * channels, windows.sw * channels, windows.sh * layout.row
    stride = whole_vectors(count, tiling.lanes) if few else layout.filled
    in_place = line.size == 0
    results = y if in_place else line
    for p in range(first, last):
        start, row = corner + 2 * p * down, p * count * filters
        place = row if in_place else 0
        if few:
            for q in range(0, stride, tiling.lanes):
                pooled_rows_product(
                    packed, 0, 1, filters, windows.kw * filters,
                    image, start + 2 * q, 1, layout.width, 0, down,
                    biases, 0, results, place + q, stride,
                    windows.kw, windows.kh * channels, filters, tiling.lanes, True, average, tiling,
                )  # fmt: skip
        else:
            widest = even_width(stride, tiling)
            for f in range(0, stride, widest):
                columns = min(widest, stride - f)
                first_weight, weights = (f, filters) if as_it_is else (f * windows.kh * run, columns)
                pooled_rows_product(
                    image, start, 2 * across, 1, layout.row,
                    packed, first_weight, weights, run * weights, across, down,
                    biases, f, results, place + f, stride,
                    run, windows.kh, count, columns, False, average, tiling,
                )  # fmt: skip
        if not in_place:
            place_row(line, few, stride, count, filters, y[row : row + count * filters])


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
    kh, kw, filters = windows.kh, windows.kw, kernel.shape[3]
    rows, count = windows.oh // 2, windows.ow // 2
    windows_filled = whole_vectors(count, tiling.lanes)
    layout = Layout(*layout_of(x, filters, windows, few, 2 * windows_filled, tiling))
    matrix, bias_of, signs = signed(kernel.reshape(kh * kw * channels, filters), bias, scale, average)
    in_place = filters == layout.filled and not few
    as_it_is = in_place and n <= FEW
    packed = matrix.reshape(-1) if as_it_is else packed_kernel(matrix.reshape(kernel.shape), few, layout.filled, tiling)
    biases = np.zeros(layout.filled, x.dtype)
    biases[:filters] = bias_of
    signs, means, scales = repeated(signs, count), repeated(mean, count), repeated(scale, count)
    betas = repeated(beta, count) if scale.size else np.zeros(count * filters, x.dtype)
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    line_size = windows_filled * filters if few else count * layout.filled

    bands, length = bands_per_image(n, rows), count * filters
    slots = min(SLOTS, n * bands)
    for slot in prange(slots):
        frame = np.zeros(layout.height * layout.row if layout.framed else 0, x.dtype)
        line = lines_of_cache(0 if in_place else line_size, x)
        for unit in range(slot, n * bands, slots):
            sample, band = unit // bands, unit % bands
            image, corner = flat_x, sample * h * w * channels
            if layout.framed:
                frame_sample(x[sample], few, windows.top, windows.left, layout.height, frame)
                image, corner = frame, 0
            first, last = band * rows // bands, (band + 1) * rows // bands
            target = flat_y[sample * rows * length : (sample + 1) * rows * length]
            pool_rows(
                image, corner, first, last, channels, windows, layout, few, packed, as_it_is, filters, biases, average,
                count, line, target, tiling,
            )  # fmt: skip
            for p in range(first, last):
                row = target[p * length : (p + 1) * length]
                finish_pooled(row, signs, means, scales, betas, LINEAR if average else code)


pooled_forward = compiled(pooled_forward_loops)
