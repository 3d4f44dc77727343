"""ConvolutionStep: a convolution with its bias, its activation and perhaps the 2x2 pool behind it, as one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn import activations
from minicnn.geometry import Windows
from minicnn.kernels import workspace
from minicnn.kernels.forking import made_once
from minicnn.kernels.fused import CODES, RELU
from minicnn.kernels.tiles import Tiling, tiling_for
from minicnn.layers import AveragePooling2D, Conv2D, Layer, MaxPooling2D, Run
from minicnn.layers.core import bias_or_zeros, kernel_and_bias_grads
from minicnn.losses import Loss
from minicnn.steps.convolution_backward import convolution_backward
from minicnn.steps.convolution_kernels import convolution_forward
from minicnn.steps.normalization import halves
from minicnn.steps.pool_parts import AVERAGE_POOL, MAX_POOL, NO_POOL
from minicnn.steps.pooled import PooledPrediction, pooled_prediction
from minicnn.typing import Array

_NOTHING = (0, 0, 0, 0)


@dataclass(frozen=True)
class ConvolutionStep:
    """Conv2D, and the pool that follows if it is one of 2x2; convolution_kernels.py and
    convolution_backward.py say how.

    code: of the activation (kernels/fused.py). pool: NO_POOL, MAX_POOL or AVERAGE_POOL. few (filters),
    scatter: which variants of the products (kernels/direct.py).
    """

    convolution: Conv2D
    pooling: Layer | None
    windows: Windows
    code: int
    pool: int
    few: bool
    scatter: bool
    tiling: Tiling

    @property
    def layers(self) -> Sequence[Layer]:
        return (self.convolution,) if self.pooling is None else (self.convolution, self.pooling)

    @made_once
    def predicting(self) -> PooledPrediction:
        """For a step with a pool."""
        return pooled_prediction(self.convolution, self.windows, self.code, self.pool, self.few)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        windows, layer = self.windows, self.convolution
        if self.pool and not run.keep:
            return self.predicting.predict(x), None
        halved = 2 if self.pool else 1
        shape = len(x), windows.oh // halved, windows.ow // halved, layer.filters
        y = workspace.empty(shape, x.dtype)
        index = np.empty(shape if self.pool and run.keep else _NOTHING, np.uint8)
        convolution_forward(
            x,
            layer.params["kernel"],
            bias_or_zeros(layer),
            windows,
            self.pool,
            self.code,
            self.few,
            self.tiling,
            y,
            index,
        )
        return y, (x, y, index)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, y, index = saved
        dx = workspace.empty(x.shape if need_dx else _NOTHING, x.dtype)
        convolution_backward(
            dy, y, index, x, self.convolution.params["kernel"], self.windows, self.pool, self.code, self.few,
            self.scatter, self.tiling, *kernel_and_bias_grads(self.convolution), dx,
        )  # fmt: skip
        return dx if need_dx else None

    def __str__(self) -> str:
        return f"ConvolutionStep({', '.join(str(layer) for layer in self.layers)})"


def activation_code(activation: activations.Activation) -> int | None:
    """The code of an activation that fused steps know; None for any other."""
    code = CODES.get(activation.name)
    return code if code is not None and activation == activations.get(activation.name) else None


def scattering_pays(channels: int, lanes: int) -> bool:
    """Whether so much of a vector over the channels would be empty that dx is made run by run instead."""
    return -(-channels // lanes) * lanes > 1.5 * channels


def filters_are_few(filters: int, windows: Windows, lanes: int) -> bool:
    """Whether vectors over the filters would be half empty or more."""
    return 2 * filters <= lanes and windows.sw == 1


def convolution_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[ConvolutionStep, int] | None:
    """Conv2D of one group, without dilation, with an activation that fused steps know, on a CPU with a vector unit."""
    layer = layers[i]
    if type(layer) is not Conv2D or layer.input_shape is None or layer.dtype is None:
        return None
    if layer.groups > 1 or max(layer.dilation_rate) > 1:
        return None
    code = activation_code(layer.activation)
    tiling = tiling_for(layer.dtype.itemsize)
    if code is None or tiling is None:
        return None
    windows = layer.windows(layer.input_shape)
    pooling = layers[i + 1] if i + 1 < len(layers) else None
    pool = fusible_pool(pooling, windows, code)
    scatter = max(windows.sh, windows.sw) > 1 or scattering_pays(layer.input_shape[2], tiling.lanes)
    few = filters_are_few(layer.filters, windows, tiling.lanes)
    step = ConvolutionStep(layer, pooling if pool else None, windows, code, pool, few, scatter, tiling)
    return step, len(step.layers)


def fusible_pool(layer: Layer | None, windows: Windows, code: int) -> int:
    """The kind of pool if it halves the map (normalization.py); a mean is fused with relu alone (pool_parts.py)."""
    kind = {MaxPooling2D: MAX_POOL, AveragePooling2D: AVERAGE_POOL}.get(type(layer), NO_POOL)  # type: ignore[arg-type]
    if kind == NO_POOL or (kind == AVERAGE_POOL and code != RELU):
        return NO_POOL
    assert isinstance(layer, (MaxPooling2D, AveragePooling2D))
    return kind if halves(layer, windows.oh, windows.ow) else NO_POOL
