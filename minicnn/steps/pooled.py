"""Predicting through a convolution, perhaps a batch normalization, and the 2x2 pool behind them, as one pass.

ConvolutionStep calls it where the pool follows at once; NormalizedConvolutionStep is the step for a normalization
between them.
"""

from __future__ import annotations

from dataclasses import dataclass

from minicnn.geometry import Windows
from minicnn.kernels import workspace
from minicnn.kernels.tiles import Tiling, pooled_tiling_for, tiling_for
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

    windows: an even number of rows and columns of them. grid: of Winograd's tiles, where that is the faster way. The
    rest is as in ConvolutionStep.
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
                self.pool, self.pooled_tiling, mean, scale, beta, y,
            )  # fmt: skip
        else:
            pooled_forward(
                x, kernel, bias, windows, self.pool == AVERAGE_POOL, self.code, self.few, self.pooled_tiling,
                mean, scale, beta, y,
            )  # fmt: skip
        return y


def pooled_prediction(
    layer: Conv2D, windows: Windows, code: int, pool: int, few: bool, winograd: bool
) -> PooledPrediction:
    """For a built layer on a CPU with a vector unit. code: of the activation (kernels/fused.py); pool: MAX_POOL, or
    AVERAGE_POOL for relu alone; few: of ConvolutionStep; winograd: whether Winograd's way may be taken."""
    assert layer.dtype is not None
    assert layer.input_shape is not None
    tiling, pooled_tiling = tiling_for(layer.dtype.itemsize), pooled_tiling_for(layer.dtype.itemsize)
    assert tiling is not None
    assert pooled_tiling is not None
    height, width, channels = layer.input_shape
    windows = windows._replace(oh=windows.oh // 2 * 2, ow=windows.ow // 2 * 2)
    winograd = winograd and pooled_winograd_pays(layer, channels, windows, tiling)
    grid = grid_of((height, width), windows, transform_for(layer.dtype.name).m) if winograd else None
    return PooledPrediction(layer, windows, code, pool, few, tiling, pooled_tiling, grid)


def pooled_winograd_pays(layer: Conv2D, channels: int, windows: Windows, tiling: Tiling) -> bool:
    """Whether Winograd's way is the faster one: each of its tiles is a window of the pool then.

    From 32 channels and 64 filters on: predicting, 11x11x32 to 64 takes 9.3 µs an image and 10.2 directly.
    """
    if layer.kernel_size != (3, 3) or layer.strides != (1, 1) or layer.dilation_rate != (1, 1):
        return False
    whole = channels % tiling.lanes == 0 and layer.filters % tiling.lanes == 0
    return whole and channels >= 32 and layer.filters >= 64 and windows.oh * windows.ow >= 36


def winograd_remark(training: bool, predicting: bool) -> str:
    """What a printed plan says behind a step's layers: when the convolution is Winograd's."""
    if not training and not predicting:
        return ""
    when = "" if training and predicting else " in training" if training else " in predicting"
    return f", by Winograd's algorithm{when}"
