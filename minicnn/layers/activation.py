"""ReLU, LeakyReLU and Softmax as layers of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import activations
from minicnn.arguments import finite_number
from minicnn.errors import ConfigError, ShapeError
from minicnn.layers.base import Layer, Run, batched
from minicnn.typing import Array, Config, Shape


class ReLU(Layer):
    """The rectifier, with Keras's three parameters.

    forward   y = max_value where x >= max_value;  x where threshold < x < max_value;  negative_slope·(x − threshold)
    below
    backward  dL/dx = dL/dy times 0, 1 or negative_slope in these three parts

    Args:
        max_value: None is no limit. negative_slope, threshold: 0 gives max(x, 0).

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
    backward  dL/dx = dL/dy, times negative_slope where x <= 0

    Args:
        negative_slope: 0.3 by default, as in Keras; Keras 2 calls it alpha, which is taken too.

    Source: Maas, Hannun and Ng 2013.
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
        super().__init__(**kwargs)
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

    forward   y_k = e^x_k / Σ over j of e^x_j
    backward  ∂y_j/∂x_k = y_j·(δ_jk − y_k), so dL/dx_k = y_k·(dL/dy_k − Σ over j of dL/dy_j·y_j)

    Args:
        axis: counted with the batch as axis 0; −1 is the last. Not the batch itself.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not isinstance(axis, int) or axis == 0:
            raise ConfigError(f"{self}: axis must be an integer other than 0, the batch; got {axis!r}.")
        self.axis = axis

    def output_shape(self, input_shape: Shape) -> Shape:
        rank = len(input_shape) + 1
        if not -rank < self.axis < rank:
            raise ShapeError(f"{self}: axis {self.axis} is not in input {batched(input_shape)}; use axis=-1.")
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
