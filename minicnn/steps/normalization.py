"""NormalizationPoolStep: batch normalization and the 2x2 pool behind it, as one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minicnn.kernels import workspace
from minicnn.layers import AveragePooling2D, BatchNormalization, Layer, MaxPooling2D, Run
from minicnn.losses import Loss
from minicnn.steps.normalization_kernels import normalized_pool, normalized_pool_backward
from minicnn.typing import Array

_NOTHING = (0, 0, 0, 0)


@dataclass(frozen=True)
class NormalizationPoolStep:
    """BatchNormalization over the last axis, and a pool of 2x2 windows that share no pixel; normalization_kernels.py
    says how."""

    normalization: BatchNormalization
    pooling: MaxPooling2D | AveragePooling2D

    @property
    def layers(self) -> Sequence[Layer]:
        return self.normalization, self.pooling

    @property
    def largest(self) -> bool:
        """Whether the pool keeps the largest value, not the mean."""
        return isinstance(self.pooling, MaxPooling2D)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        layer = self.normalization
        n, h, w, channels = x.shape
        mean, inverse, from_batch = layer.moments(x.reshape(-1, channels), run)
        scale = layer.gamma() * inverse
        shape = n, h // 2, w // 2, channels
        y = workspace.empty(shape, x.dtype)
        picked = workspace.empty(shape if run.keep else _NOTHING, x.dtype)
        normalized_pool(x, mean, scale, layer.beta(), self.largest, y, picked)
        return y, (x, picked, mean, inverse, from_batch)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, picked, mean, inverse, from_batch = saved
        layer = self.normalization
        channels = x.shape[3]
        dgamma, dbeta = run.kernels.batch_norm_sums(
            dy.reshape(-1, channels), picked.reshape(-1, channels), mean, inverse
        )
        layer.set_gradients(dgamma, dbeta)
        if not need_dx:
            return None
        scale = layer.gamma() * inverse
        each = -scale / x.dtype.type(max(1, x.size // channels))
        dx = workspace.empty(x.shape, x.dtype)
        normalized_pool_backward(
            dy, x, picked, mean, scale, each * inverse * dgamma, each * dbeta, from_batch, self.largest, dx
        )
        return dx

    def __str__(self) -> str:
        return f"NormalizationPoolStep({self.normalization}, {self.pooling})"


def halves(pooling: MaxPooling2D | AveragePooling2D, height: int, width: int) -> bool:
    """Whether the pool takes 2x2 windows that share no pixel of such a map and leaves out no more than an odd last row
    or column."""
    windows_2x2 = pooling.pool_size == pooling.strides == (2, 2)
    return windows_2x2 and pooling.windows((height, width)).out == (height // 2, width // 2)


def fusing_pays(pooling: MaxPooling2D | AveragePooling2D) -> bool:
    """Whether the pool halves its maps, and is not one for the largest value with few channels.

    There channels must fill a vector, since the loops over them are short: of 6 channels the step took 2.5 ms where its
    two layers took 2.1, of 16 it took 1.8 instead of 2.6 (128 maps of 32x32).
    """
    assert pooling.input_shape is not None
    height, width, channels = pooling.input_shape
    return halves(pooling, height, width) and (channels >= 16 or type(pooling) is not MaxPooling2D)


def normalization_pool_rule(
    layers: Sequence[Layer], i: int, loss: Loss | None
) -> tuple[NormalizationPoolStep, int] | None:
    """BatchNormalization over the last axis of maps, followed by such a pool."""
    if i + 1 >= len(layers):
        return None
    layer, pooling = layers[i], layers[i + 1]
    if type(layer) is not BatchNormalization or type(pooling) not in (MaxPooling2D, AveragePooling2D):
        return None
    assert isinstance(pooling, (MaxPooling2D, AveragePooling2D))
    if pooling.input_shape is None or layer.axis not in (-1, 3) or not fusing_pays(pooling):
        return None
    return NormalizationPoolStep(layer, pooling), 2
