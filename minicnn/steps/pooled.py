"""Predicting through a convolution, perhaps a batch normalization, and the 2x2 pool behind them, as one pass.

ConvolutionStep calls it where the pool follows at once; NormalizedConvolutionStep is the step for a normalization
between them.
"""

from __future__ import annotations

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels import workspace
from minicnn.kernels.tiles import Tiling, pooled_tiling_for, tiling_for
from minicnn.kernels.winograd import grid_of, transform_for
from minicnn.layers import BatchNormalization, Conv2D
from minicnn.layers.core import bias_or_zeros
from minicnn.steps.pool_parts import AVERAGE_POOL
from minicnn.steps.pooled_kernels import pooled_forward
from minicnn.steps.winograd_kernels import winograd_forward
from minicnn.typing import Array


def predict_pooled(
    x: Array,
    layer: Conv2D,
    windows: Windows,
    code: int,
    pool: int,
    few: bool,
    normalization: BatchNormalization | None = None,
) -> Array:
    """y (N, OH / 2, OW / 2, F) of x (N, H, W, C), rounded down; a CPU with a vector unit only.

    code: of the activation (kernels/fused.py). pool: MAX_POOL or AVERAGE_POOL, the latter for relu alone. few: of
    ConvolutionStep. normalization: between activation and pool, by its moving averages.
    """
    tiling, pooled_tiling = tiling_for(x.itemsize), pooled_tiling_for(x.itemsize)
    assert tiling is not None
    assert pooled_tiling is not None
    windows = windows._replace(oh=windows.oh // 2 * 2, ow=windows.ow // 2 * 2)
    kernel, bias = layer.params["kernel"], bias_or_zeros(layer)
    mean = scale = beta = np.empty(0, x.dtype)
    if normalization is not None:
        mean, scale, beta = normalization.moving_affine()
    y = workspace.empty((len(x), windows.oh // 2, windows.ow // 2, layer.filters), x.dtype)
    if pooled_winograd_pays(layer, x.shape[3], windows, tiling):
        transform = transform_for(x.dtype.name)
        grid = grid_of(x.shape[1:3], windows, transform.m)
        winograd_forward(
            x, kernel, bias, grid, code, transform, tiling, pool, pooled_tiling, mean, scale, beta, y
        )  # fmt: skip
    else:
        pooled_forward(
            x, kernel, bias, windows, pool == AVERAGE_POOL, code, few, pooled_tiling, mean, scale, beta, y
        )  # fmt: skip
    return y


def pooled_winograd_pays(layer: Conv2D, channels: int, windows: Windows, tiling: Tiling) -> bool:
    """Whether Winograd's way is the faster one: each of its tiles is a window of the pool then.

    From 32 channels and 64 filters on: predicting, 11x11x32 to 64 takes 9.3 µs an image and 10.2 directly.
    """
    if layer.kernel_size != (3, 3) or layer.strides != (1, 1) or layer.dilation_rate != (1, 1):
        return False
    whole = channels % tiling.lanes == 0 and layer.filters % tiling.lanes == 0
    return whole and channels >= 32 and layer.filters >= 64 and windows.oh * windows.ow >= 36
