"""Activation functions by name, and the base class of a caller's own.

The formulas and derivatives stand in kernels/activation.py and kernels/softmax.py. Source of each: there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minicnn.arguments import finite_number, refuse, refuse_unknown
from minicnn.kernels import NUMPY, KernelSet
from minicnn.kernels.activation import SELU_ALPHA, SELU_SCALE
from minicnn.lending import conforming, not_the_callers, to_read
from minicnn.lookup import resolve, table_of
from minicnn.naming import snake_case
from minicnn.typing import Array, Config


class Activation:
    """A function y = f(x) of arrays, and its gradient. Subclass it for a function of your own:

        class Cube(minicnn.activations.Activation):
            def value(self, x):
                return x**3

            def gradient(self, dy, x, y):
                return dy * 3 * x**2

    value takes x of any shape and returns y of the same shape; gradient returns dL/dx from dy = dL/dy. Neither changes
    its arguments. Subclasses that take arguments add them to get_config.
    """

    def value(self, x: Array) -> Array:
        """y = f(x), entry by entry or along the last axis; same shape and dtype as x."""
        raise NotImplementedError(
            f"{type(self).__name__}: minicnn has no automatic differentiation: write value(x) and gradient(dy, x, y)."
        )

    def gradient(self, dy: Array, x: Array, y: Array) -> Array:
        """dL/dx, where y = value(x) and dy = dL/dy."""
        raise NotImplementedError(
            f"{type(self).__name__}: minicnn has no automatic differentiation: write gradient(dy, x, y)."
        )

    def forward(self, x: Array, kernels: KernelSet) -> Array:
        """value, computed by this set of kernels; the built-in activations have one in each."""
        lent = to_read(x)
        y = self.value(lent)
        return self._conforming(x if y is lent else y, x, "value")

    def backward(self, dy: Array, x: Array, y: Array, kernels: KernelSet) -> Array:
        """gradient, computed by this set of kernels."""
        dx = self.gradient(dy, to_read(x), to_read(y))
        checked = self._conforming(dx, x, "gradient")
        return checked if dx is dy else not_the_callers(checked, dx)

    def _conforming(self, result: Any, x: Array, method: str) -> Array:
        return conforming(result, x.shape, x.dtype, f"{self.name}: {method}", "return one number for each of x")

    def __call__(self, x: Any, **unknown: Any) -> Array:
        """The activation of an array, as Keras's functions are called: relu(x)."""
        refuse_unknown(unknown, self.name)
        x = np.asarray(x)
        return self.value(x if x.dtype in (np.float32, np.float64) else x.astype(np.float32))

    @property
    def name(self) -> str:
        """Keras's name of the function."""
        return snake_case(type(self).__name__)

    def get_config(self) -> Config:
        """The constructor's arguments, as JSON values."""
        return {}

    @classmethod
    def from_config(cls, config: Config) -> Activation:
        """The activation that get_config described."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Activation) and type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"<activation {self.name}>"


class _Elementwise(Activation):
    """An activation with a kernel of its name; `numbers` are the kernel's parameters after the arrays."""

    kernel = ""

    def numbers(self) -> tuple[float, ...]:
        return ()

    def value(self, x: Array) -> Array:
        return self.forward(x, NUMPY)

    def gradient(self, dy: Array, x: Array, y: Array) -> Array:
        return self.backward(dy, x, y, NUMPY)

    def forward(self, x: Array, kernels: KernelSet) -> Array:
        operation = getattr(kernels, self.kernel)
        return _shaped(operation(x.reshape(-1), *(x.dtype.type(v) for v in self.numbers())), x)

    def backward(self, dy: Array, x: Array, y: Array, kernels: KernelSet) -> Array:
        operation = getattr(kernels, f"{self.kernel}_backward")
        numbers = (x.dtype.type(v) for v in self.numbers())
        return _shaped(operation(dy.reshape(-1), x.reshape(-1), y.reshape(-1), *numbers), x)


def _shaped(flat: Array, like: Array) -> Array:
    return np.asarray(flat.reshape(like.shape))


class Linear(Activation):
    """f(x) = x."""

    def value(self, x: Array) -> Array:
        return x

    def gradient(self, dy: Array, x: Array, y: Array) -> Array:
        return dy


class Relu(_Elementwise):
    """f(x) = max(x, 0)."""

    kernel = "relu"

    def __call__(
        self, x: Any, negative_slope: float = 0.0, max_value: None = None, threshold: float = 0.0, **unknown: Any
    ) -> Array:
        refuse(self.name, negative_slope=(negative_slope, 0.0))  # layers.ReLU has all three
        refuse(self.name, max_value=(max_value, None))
        refuse(self.name, threshold=(threshold, 0.0))
        return super().__call__(x, **unknown)


class LeakyRelu(_Elementwise):
    """f(x) = x for x > 0, negative_slope·x otherwise."""

    kernel = "leaky_relu"

    def __init__(self, negative_slope: float = 0.2) -> None:
        self.negative_slope = finite_number(negative_slope, "negative_slope", "leaky_relu")

    def __call__(self, x: Any, negative_slope: float | None = None, **unknown: Any) -> Array:
        other = self if negative_slope is None else LeakyRelu(negative_slope)
        return super(LeakyRelu, other).__call__(x, **unknown)

    def numbers(self) -> tuple[float, ...]:
        return (self.negative_slope,)

    def get_config(self) -> Config:
        return {"negative_slope": self.negative_slope}


class Elu(_Elementwise):
    """f(x) = x for x > 0, alpha·(e^x − 1) otherwise."""

    kernel = "elu"

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = finite_number(alpha, "alpha", "elu")

    def __call__(self, x: Any, alpha: float | None = None, **unknown: Any) -> Array:
        other = self if alpha is None else Elu(alpha)
        return super(Elu, other).__call__(x, **unknown)

    def numbers(self) -> tuple[float, ...]:
        return (self.alpha,)

    def get_config(self) -> Config:
        return {"alpha": self.alpha}


class Selu(Activation):
    """f(x) = 1.0507·elu(x) with alpha = 1.6733."""

    def value(self, x: Array) -> Array:
        return self.forward(x, NUMPY)

    def gradient(self, dy: Array, x: Array, y: Array) -> Array:
        return self.backward(dy, x, y, NUMPY)

    def forward(self, x: Array, kernels: KernelSet) -> Array:
        alpha, scale = self._constants(x)
        return _shaped(scale * kernels.elu(x.reshape(-1), alpha), x)

    def backward(self, dy: Array, x: Array, y: Array, kernels: KernelSet) -> Array:
        alpha, scale = self._constants(x)
        dx = scale * kernels.elu_backward(dy.reshape(-1), x.reshape(-1), y.reshape(-1) / scale, alpha)
        return np.where(x == 0, scale * dy, _shaped(dx, x))  # at the kink the slope of the right side, as TensorFlow

    @staticmethod
    def _constants(x: Array) -> tuple[Any, Any]:
        return x.dtype.type(SELU_ALPHA), x.dtype.type(SELU_SCALE)


class Gelu(_Elementwise):
    """f(x) = x·Φ(x), Φ the normal distribution function."""

    kernel = "gelu"

    def __call__(self, x: Any, approximate: bool = False, **unknown: Any) -> Array:
        refuse(self.name, approximate=(approximate, False))
        return super().__call__(x, **unknown)


class Silu(_Elementwise):
    """f(x) = x·sigmoid(x)."""

    kernel = "silu"


class Sigmoid(_Elementwise):
    """f(x) = 1 / (1 + e^−x)."""

    kernel = "sigmoid"


class Tanh(_Elementwise):
    """f(x) = tanh(x)."""

    kernel = "tanh"


class Softplus(_Elementwise):
    """f(x) = log(1 + e^x)."""

    kernel = "softplus"


class Softmax(Activation):
    """f(x)_k = e^x_k / Σ over j of e^x_j, along the last axis."""

    def __call__(self, x: Any, axis: int = -1, **unknown: Any) -> Array:
        refuse(self.name, axis=(axis, -1))
        return super().__call__(x, **unknown)

    def value(self, x: Array) -> Array:
        return self.forward(x, NUMPY)

    def gradient(self, dy: Array, x: Array, y: Array) -> Array:
        return self.backward(dy, x, y, NUMPY)

    def forward(self, x: Array, kernels: KernelSet) -> Array:
        return _shaped(kernels.softmax(x.reshape(-1, x.shape[-1])), x)

    def backward(self, dy: Array, x: Array, y: Array, kernels: KernelSet) -> Array:
        classes = x.shape[-1]
        return _shaped(kernels.softmax_backward(dy.reshape(-1, classes), y.reshape(-1, classes)), x)


ACTIVATIONS = table_of(
    Linear, Relu, LeakyRelu, Elu, Selu, Gelu, Silu, Sigmoid, Tanh, Softplus, Softmax, aliases={"swish": Silu}
)

linear, relu, leaky_relu, elu, selu = Linear(), Relu(), LeakyRelu(), Elu(), Selu()
gelu, silu, swish, sigmoid, tanh = Gelu(), Silu(), Silu(), Sigmoid(), Tanh()
softplus, softmax = Softplus(), Softmax()


def get(identifier: Any, custom_objects: Mapping[str, type] | None = None, owner: str = "") -> Activation:
    """The activation for a name, a class, an instance or a config; None is linear. Raises ConfigError otherwise.

    custom_objects: the caller's own classes by name. owner: messages begin with it: "Dense 'dense': activation".
    """
    if identifier is None:
        return linear
    return resolve("activation", Activation, ACTIVATIONS, identifier, custom_objects, owner)


def deserialize(config: Any, custom_objects: Mapping[str, type] | None = None) -> Activation:
    """The activation of a config {"class_name", "config"}; get, under Keras's other name."""
    return get(config, custom_objects)


def serialize(activation: Activation) -> Any:
    """Its name, or a config where it has arguments that differ from the defaults."""
    config, cls = activation.get_config(), type(activation)
    if cls not in ACTIVATIONS.values():
        return {"class_name": cls.__name__, "config": config}
    return activation.name if config == cls().get_config() else {"class_name": activation.name, "config": config}
