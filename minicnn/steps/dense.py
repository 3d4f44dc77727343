"""DenseStep: a dense layer with its activation, as one kernel forward and one backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minicnn.kernels.dense import dense_activated, dense_activated_backward
from minicnn.layers import Dense, Layer, Run
from minicnn.layers.core import bias_or_zeros, kernel_and_bias_grads
from minicnn.losses import Loss
from minicnn.steps.convolution import activation_code
from minicnn.typing import Array


@dataclass(frozen=True)
class DenseStep:
    """y = f(x · kernel + bias) for x (N, I). code: of f (kernels/fused.py)."""

    layer: Dense
    code: int

    @property
    def layers(self) -> Sequence[Layer]:
        return (self.layer,)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        y = dense_activated(x, self.layer.params["kernel"], bias_or_zeros(self.layer), self.code)
        return y, (x, y)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, y = saved
        dx = dense_activated_backward(
            dy, y, x, self.layer.params["kernel"], self.code, *kernel_and_bias_grads(self.layer), need_dx
        )
        return dx if need_dx else None

    def __str__(self) -> str:
        return f"DenseStep({self.layer})"


def dense_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[DenseStep, int] | None:
    """Dense on samples of one axis, with an activation that can be fused. To be asked after logits_rule."""
    layer = layers[i]
    if type(layer) is not Dense or layer.input_shape is None or len(layer.input_shape) != 1:
        return None
    code = activation_code(layer.activation)
    return None if code is None else (DenseStep(layer, code), 1)
