"""Predicting through a convolution, perhaps a batch normalization, and the 2x2 pool behind them, as one pass.

ConvolutionStep calls it where the pool follows at once, and WinogradStep for few images; NormalizedConvolutionStep is
the step for a normalization between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels import workspace
from minicnn.kernels.tiles import Tiling, pooled_tiling_for, tiling_for
from minicnn.kernels.transforms import with_transforms
from minicnn.kernels.winograd import Grid, grid_of, transform_for
from minicnn.layers import BatchNormalization, Conv2D
from minicnn.layers.core import bias_or_zeros
from minicnn.steps.pool_parts import AVERAGE_POOL
from minicnn.steps.pooled_kernels import pooled_forward
from minicnn.steps.winograd_kernels import winograd_forward
from minicnn.typing import Array


@dataclass(frozen=True)
class PooledPrediction:
    """Predicting through `layer` and a 2x2 pool, with all that does not depend on the images decided beforehand.

    windows: an even number of rows and columns of them. grid: of Winograd's tiles, if they are used. The rest is as
    in ConvolutionStep.
    """

    layer: Conv2D
    windows: Windows
    code: int
    pool: int
    few: bool
    tiling: Tiling
    pooled_tiling: Tiling
    grid: Grid | None

    def predict(self, x: Array, normalization: BatchNormalization | None = None) -> Array:
        """y (N, OH / 2, OW / 2, F) of x (N, H, W, C), rounded down. normalization: between activation and pool, by its
        moving averages."""
        layer, windows = self.layer, self.windows
        kernel, bias = layer.params["kernel"], bias_or_zeros(layer)
        mean = scale = beta = bias[:0]
        if normalization is not None:
            mean, scale, beta = normalization.moving_affine()
        y = workspace.empty((len(x), windows.oh // 2, windows.ow // 2, layer.filters), x.dtype)
        if self.grid is not None:
            winograd_forward(
                x, kernel, bias, self.grid, self.code, transform_for(x.dtype.name), self.tiling,
                self.pool, mean, scale, beta, y, np.empty((0, 0, 0, 0), np.uint8),
            )  # fmt: skip
        else:
            pooled_forward(
                x, kernel, bias, windows, self.pool == AVERAGE_POOL, self.code, self.few, self.pooled_tiling,
                mean, scale, beta, y,
            )  # fmt: skip
        return y


def even_windows(windows: Windows) -> Windows:
    """Those that a pool of 2x2 reads: an even number of rows and columns."""
    return windows._replace(oh=windows.oh // 2 * 2, ow=windows.ow // 2 * 2)


def pooled_prediction(
    layer: Conv2D, windows: Windows, code: int, pool: int, few: bool = False, winograd: bool = False
) -> PooledPrediction:
    """For a built layer on a CPU with a vector unit. code: of the activation (kernels/fused.py); pool: MAX_POOL, or
    AVERAGE_POOL for relu alone; few: of ConvolutionStep; winograd: by Winograd's algorithm."""
    assert layer.dtype is not None
    assert layer.input_shape is not None
    tiling, pooled_tiling = tiling_for(layer.dtype.itemsize), pooled_tiling_for(layer.dtype.itemsize)
    assert tiling is not None
    assert pooled_tiling is not None
    windows, grid = even_windows(windows), None
    if winograd:
        height, width, _ = layer.input_shape
        grid = grid_of((height, width), windows, transform_for(layer.dtype.name).m)
        tiling = with_transforms(tiling, layer.dtype.itemsize)
    return PooledPrediction(layer, windows, code, pool, few, tiling, pooled_tiling, grid)
