"""ReLU, LeakyReLU and Softmax as layers of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import activations
from minicnn.arguments import finite_number
from minicnn.errors import ConfigError
from minicnn.layers.base import Layer, Run
from minicnn.layers.shapes import axis_number, size_along
from minicnn.typing import Array, Config, Shape

_DEFAULT_SLOPE = 0.3
"""Of LeakyReLU. Known by identity, so that an explicit 0.3 beside alpha is seen as well."""


class ReLU(Layer):
    """The rectifier, with Keras's three parameters.

    forward   y = max_value                      where x >= max_value
              y = x                              where threshold < x < max_value
              y = negative_slope·(x − threshold) where x <= threshold
    backward  each x moves its own y, with slope 0, 1 or negative_slope in these three parts, so dL/dx is dL/dy times
              that slope. At the kinks between them, where there is no derivative, the slope is TensorFlow's

    Shapes: any, the same out.

    Args:
        max_value: None is no limit.
        negative_slope, threshold: 0 for both, and no max_value, gives max(x, 0).

    Raises ConfigError for a negative max_value, slope or threshold.
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else finite_number(max_value, "max_value", str(self), least=0)
        self.negative_slope = finite_number(negative_slope, "negative_slope", str(self), least=0)
        self.threshold = finite_number(threshold, "threshold", str(self), least=0)

    @property
    def _plain(self) -> bool:
        return self.max_value is None and self.negative_slope == 0 and self.threshold == 0

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        if self._plain:
            y = activations.relu.forward(x, run.kernels)
            return y, y
        number = x.dtype.type
        slope = number(self.negative_slope)
        below = slope * (x - number(self.threshold)) if slope else number(0)  # 0 · infinity would be NaN
        y = np.where(x <= self.threshold, below, x)
        if self.max_value is not None:
            y = np.minimum(y, number(self.max_value))
        return y, x

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        if not need_dx:
            return None
        if self._plain:
            return activations.relu.backward(dy, saved, saved, run.kernels)
        one, zero = dy.dtype.type(1), dy.dtype.type(0)
        # At the kinks as TensorFlow: plain leaky slope at 0, else none at the threshold; max_value itself still passes,
        # except that 6 without a threshold is relu6, where it does not.
        plain_leaky = self.max_value is None and self.threshold == 0
        below = saved <= self.threshold if plain_leaky else saved < self.threshold
        slope = np.where(saved > self.threshold, one, zero)
        slope = np.where(below, dy.dtype.type(self.negative_slope), slope)
        if self.max_value is not None:
            beyond = saved >= self.max_value if self.max_value == 6 and self.threshold == 0 else saved > self.max_value
            slope = np.where(beyond & (saved > self.threshold), zero, slope)
        return dy * slope

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


class LeakyReLU(Layer):
    """A rectifier that lets a little through below zero.

    forward   y = x for x > 0, negative_slope·x otherwise
    backward  each x moves its own y, with slope 1 for x > 0 and negative_slope otherwise: dL/dx is dL/dy times that

    Shapes: any, the same out.

    Args:
        negative_slope: 0.3 by default, as in Keras; Keras 2 calls it alpha, which is taken in its place.

    Source: Maas, Hannun and Ng 2013.
    """

    def __init__(self, negative_slope: float = _DEFAULT_SLOPE, **kwargs: Any) -> None:
        alpha = kwargs.pop("alpha", None)
        super().__init__(**kwargs)
        if alpha is not None:
            if negative_slope is not _DEFAULT_SLOPE:
                raise ConfigError(
                    f"{self}: alpha={alpha!r} and negative_slope={negative_slope!r} are one argument; "
                    "leave alpha, its old name, out."
                )
            negative_slope = alpha
        self.negative_slope = finite_number(negative_slope, "negative_slope", str(self), least=0)
        self.activation = activations.LeakyRelu(self.negative_slope)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        return self.activation.forward(x, run.kernels), x

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        return self.activation.backward(dy, saved, saved, run.kernels) if need_dx else None

    def get_config(self) -> Config:
        return {**super().get_config(), "negative_slope": self.negative_slope}


class Softmax(Layer):
    """Turns logits into probabilities along one axis.

    forward   y_k = e^x_k / S,   S = Σ over j of e^x_j
    backward  each x_k moves every y_j, through S. The quotient rule, with ∂S/∂x_k = e^x_k and δ_jk 1 if j = k, else 0:
                  ∂y_j/∂x_k = δ_jk·e^x_j/S − e^x_j·e^x_k/S² = y_j·(δ_jk − y_k)
                  dL/dx_k = Σ over j of dL/dy_j·y_j·(δ_jk − y_k) = y_k·(dL/dy_k − Σ over j of dL/dy_j·y_j)

    Shapes: any, the same out.

    Args:
        axis: counted with the batch as axis 0; −1 is the last. Not the batch itself.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis_number(axis, str(self))

    def output_shape(self, input_shape: Shape) -> Shape:
        size_along(self.axis, input_shape, str(self))
        return input_shape

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        y = activations.softmax.forward(self._axis_last(x), run.kernels)
        return self._axis_back(y), y

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        if not need_dx:
            return None
        return self._axis_back(activations.softmax.backward(self._axis_last(dy), saved, saved, run.kernels))

    def _axis_last(self, x: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(x, self.axis, -1))

    def _axis_back(self, x: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(x, -1, self.axis))

    def get_config(self) -> Config:
        return {**super().get_config(), "axis": self.axis}
