"""Layers without a map: Dense, Activation, Flatten, Reshape, Rescaling."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from minicnn import activations, initializers, regularizers
from minicnn.arguments import finite_number, refuse
from minicnn.errors import ConfigError, ShapeError
from minicnn.geometry import positive_int
from minicnn.layers.base import Layer, Run
from minicnn.layers.shapes import batched
from minicnn.typing import Array, Config, Shape


class ActivatedLayer(Layer):
    """A layer that ends in an activation: y = f(z), z = linear(x); y and z have one shape.

    forward   y[j] = f(z[j])
    backward  z[j] moves y[j] alone, so dL/dz[j] = dL/dy[j] · f'(z[j]); from there linear_backward goes on. Of softmax
              each z moves every y: layers.Softmax has the sum.

    The two halves stand apart so that a loss which is differentiated on the logits z can leave f out.
    """

    activation: activations.Activation

    def linear(self, x: Array, run: Run) -> tuple[Array, Any]:
        """z before the activation, and what linear_backward needs."""
        raise NotImplementedError

    def linear_backward(self, dz: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        """dx from dz = dL/dz; sets grads."""
        raise NotImplementedError

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        z, saved = self.linear(x, run)
        y = self.activation.forward(z, run.kernels)
        return y, (saved, z, y)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        below, z, y = saved
        dz = self.activation.backward(dy, z, y, run.kernels)  # dL/dz = dL/dy · f'(z)
        return self.linear_backward(dz, below, run, need_dx)


class Dense(ActivatedLayer):
    """Every output is a weighted sum of all inputs: y = f(x · kernel + bias).

    forward   z[n,o] = bias[o] + Σ over i of x[n,i]·kernel[i,o],   y = f(z);   z and y (N, O)
    backward  dz = dL/dz, (N, O), from ActivatedLayer. In each z[n,o], kernel[i,o] has the factor x[n,i], bias[o] the
              factor 1 and x[n,i] the factor kernel[i,o]; kernel and bias enter for every n, x[n,i] for every o. So
                  dL/dkernel[i,o] = Σ over n of x[n,i]·dz[n,o]        xᵀ · dz:      (I, N) · (N, O) = (I, O)
                  dL/dbias[o]     = Σ over n of dz[n,o]                              (O,)
                  dL/dx[n,i]      = Σ over o of dz[n,o]·kernel[i,o]   dz · kernelᵀ: (N, O) · (O, I) = (N, I)

    Args:
        units: O, outputs a sample.
        activation: f; None is linear.
        use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: as in Keras.

    Shapes: (N, ..., I) to (N, ..., O): with more than two dimensions it works on the last, at each position alike.
    kernel (I, O), bias (O,). Source: Goodfellow, Bengio and Courville, Deep Learning (2016), chapter 6.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: Any = None,
        lora_alpha: Any = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        refuse(
            self,
            activity_regularizer=(activity_regularizer, None),
            kernel_constraint=(kernel_constraint, None),
            bias_constraint=(bias_constraint, None),
            lora_rank=(lora_rank, None),
            lora_alpha=(lora_alpha, None),
            quantization_config=(quantization_config, None),
        )
        self.units = positive_int(units, "units", str(self))
        self.activation = activations.get(activation, owner=f"{self}: activation")
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, owner=f"{self}: kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, owner=f"{self}: bias_initializer")
        self.kernel_regularizer = regularizers.get(kernel_regularizer, owner=f"{self}: kernel_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, owner=f"{self}: bias_regularizer")

    def build(self, input_shape: Shape, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        shape = input_shape[-1], self.units
        self.add_param("kernel", shape, self.kernel_initializer, dtype, rng, self.kernel_regularizer)
        if self.use_bias:
            self.add_param("bias", (self.units,), self.bias_initializer, dtype, rng, self.bias_regularizer)

    def output_shape(self, input_shape: Shape) -> Shape:
        if not input_shape:
            raise ShapeError(f"{self}: needs input (batch, ..., features), got (None,); add an axis with x[:, None].")
        return (*input_shape[:-1], self.units)

    def linear(self, x: Array, run: Run) -> tuple[Array, Any]:
        rows = x.reshape(-1, x.shape[-1])
        z = run.kernels.dense(rows, self.params["kernel"], bias_or_zeros(self))
        return z.reshape(*x.shape[:-1], self.units), (rows, x.shape)

    def linear_backward(self, dz: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        rows, x_shape = saved
        dx = run.kernels.dense_backward(
            dz.reshape(-1, self.units), rows, self.params["kernel"], *kernel_and_bias_grads(self), need_dx
        )
        return dx.reshape(x_shape) if need_dx else None

    def get_config(self) -> Config:
        return {**super().get_config(), "units": self.units, **weighted_config(self)}


class Activation(Layer):
    """y = f(x), entry by entry (softmax: along the last axis).

    forward   y[j] = f(x[j])
    backward  x[j] moves y[j] alone, so dL/dx[j] = dL/dy[j] · f'(x[j]); kernels/activation.py has the derivatives, and
              layers.Softmax its own, where each x moves every y.

    Shapes: any, the same out.
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation, owner=f"{self}: activation")

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        y = self.activation.forward(x, run.kernels)
        return y, (x, y)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, y = saved
        return self.activation.backward(dy, x, y, run.kernels) if need_dx else None

    def get_config(self) -> Config:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class Flatten(Layer):
    """(N, H, W, C) to (N, H·W·C), in row-major order.

    forward   y[n, (h·W + w)·C + c] = x[n,h,w,c]: x, read in the order of memory
    backward  each x is one y, with ∂y/∂x = 1: dL/dx is dL/dy, read back in x's shape
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        refuse(self, data_format=(data_format or "channels_last", "channels_last"))

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        return x.reshape(x.shape[0], math.prod(x.shape[1:])), x.shape

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        return dy.reshape(saved) if need_dx else None

    def get_config(self) -> Config:
        return {**super().get_config(), "data_format": "channels_last"}


class Reshape(Layer):
    """Another shape for each sample, in row-major order; one entry of target_shape may be −1.

    forward, backward: as Flatten. Raises ShapeError where the number of entries differs.
    """

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        try:
            self.target_shape = tuple(operator.index(v) for v in target_shape)
        except (TypeError, ValueError):
            raise ConfigError(f"{self}: target_shape must be integers, got {target_shape!r}.") from None
        if any(v < 1 and v != -1 for v in self.target_shape) or self.target_shape.count(-1) > 1:
            raise ConfigError(f"{self}: target_shape takes positive integers and one -1 at most, got {target_shape!r}.")

    def output_shape(self, input_shape: Shape) -> Shape:
        size = math.prod(input_shape)
        known = math.prod(v for v in self.target_shape if v != -1)
        if size % known or (-1 not in self.target_shape and size != known):
            raise ShapeError(
                f"{self}: input {batched(input_shape)} has {size} entries a sample, which do not fill "
                f"target_shape {self.target_shape}; use -1 for one entry or another shape."
            )
        return tuple(size // known if v == -1 else v for v in self.target_shape)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        return x.reshape(x.shape[0], *self.output_shape(x.shape[1:])), x.shape

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        return dy.reshape(saved) if need_dx else None

    def get_config(self) -> Config:
        return {**super().get_config(), "target_shape": self.target_shape}


class Rescaling(Layer):
    """y = x·scale + offset: Rescaling(1/255) brings pixels to 0..1.

    forward   y[i] = x[i]·scale + offset
    backward  x[i] moves y[i] alone, with factor scale: dL/dx[i] = dL/dy[i]·scale

    Shapes: any, the same out.
    """

    def __init__(self, scale: float, offset: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = finite_number(scale, "scale", str(self))
        self.offset = finite_number(offset, "offset", str(self))

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        return x * x.dtype.type(self.scale) + x.dtype.type(self.offset), None

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        return dy * dy.dtype.type(self.scale) if need_dx else None

    def get_config(self) -> Config:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


def bias_or_zeros(layer: Any, outputs: int | None = None) -> Array:
    """The layer's bias; zeros where it has none, so that the kernels know one form.

    outputs: how many there are; None is the last axis of the layer's kernel.
    """
    if layer.use_bias:
        return layer.params["bias"]
    kernel: Array = next(iter(layer.params.values()))
    return np.zeros(kernel.shape[-1] if outputs is None else outputs, kernel.dtype)


def kernel_and_bias_grads(layer: Any, outputs: int | None = None) -> tuple[Array, Array]:
    """Where the kernels write the gradients; without a bias, an array that is thrown away. outputs: as above."""
    kernel: Array = layer.grads["kernel"]
    thrown_away = kernel.shape[-1] if outputs is None else outputs
    return kernel, layer.grads["bias"] if layer.use_bias else np.empty(thrown_away, kernel.dtype)


def weighted_config(layer: Any, kernels: tuple[str, ...] = ("kernel",)) -> Config:
    """The keys of a layer with an activation, a bias and these kernels: in Keras's order, all initializers first."""
    arrays = (*kernels, "bias")
    return {
        "activation": activations.serialize(layer.activation),
        "use_bias": layer.use_bias,
        **{key: initializers.serialize(getattr(layer, key)) for key in (f"{name}_initializer" for name in arrays)},
        **{key: regularizers.serialize(getattr(layer, key)) for key in (f"{name}_regularizer" for name in arrays)},
    }


__all__ = ["ActivatedLayer", "Activation", "Dense", "Flatten", "Rescaling", "Reshape"]
