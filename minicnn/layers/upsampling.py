"""What makes maps larger: Conv2DTranspose and UpSampling2D."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import activations, initializers, regularizers
from minicnn.arguments import refuse
from minicnn.errors import ConfigError, ShapeError
from minicnn.geometry import Windows, pair, place_windows, positive_int, transposed_size
from minicnn.layers.base import Layer, Run
from minicnn.layers.convolution import WindowedLayer
from minicnn.layers.core import bias_or_zeros, kernel_and_bias_grads, weighted_config
from minicnn.layers.shapes import batched
from minicnn.typing import Array, Config, Pair, Shape


class Conv2DTranspose(WindowedLayer):
    """Each input pixel lays the kernel, times its value, on a larger map; where they overlap, they add up.

    Not the inverse of a convolution but its transpose. A convolution from maps (OH', OW', F) to (H, W, C) is y = A·x,
    with a matrix A that the kernel fills, and hands gradients back by Aᵀ; this layer goes forward by Aᵀ.

    forward   z[n,h,w,f] = bias[f] + Σ over the (p, q, i, j) that touch (h, w), and c, of x[n,p,q,c]·kernel[i,j,f,c]
                  with h = p·SH + i·DH − top, w = q·SW + j·DW − left,   y = f(z)
    backward  dz = dL/dz from ActivatedLayer. x[n,p,q,c] enters each z[n,h,w,f] that its kernel covers, with factor
              kernel[i,j,f,c], and the kernel's entry enters for every (n, p, q), with factor x[n,p,q,c]. So
                  dL/dx[n,p,q,c]      = Σ over i, j, f of dz[n,h,w,f]·kernel[i,j,f,c]     the convolution A itself
                  dL/dkernel[i,j,f,c] = Σ over n, p, q of x[n,p,q,c]·dz[n,h,w,f]          Conv2D's, x and dz swapped
                  dL/dbias[f]         = Σ over n, h, w of dz[n,h,w,f]

    Args:
        filters: F, output channels.
        kernel_size, strides, dilation_rate: as for Conv2D, of the convolution A. TensorFlow cannot run dilation here.
        padding: "valid" (each kernel lies on the map whole) or "same" (OH' = H·SH).
        output_padding: pixels added at the bottom and the right, less than the strides; None picks the sizes above
            (geometry.transposed_size).
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: as in Keras.

    Shapes: (N, H, W, C) to (N, OH', OW', F); kernel (KH, KW, F, C), bias (F,). Raises ShapeError where output_padding
    asks for a map that the convolution A would not turn into (H, W): "same", an even kernel and output_padding 0.
    Source: Zeiler et al. 2010, "Deconvolutional networks"; Dumoulin and Visin 2016.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        refuse(
            self,
            data_format=(data_format or "channels_last", "channels_last"),
            activity_regularizer=(activity_regularizer, None),
            kernel_constraint=(kernel_constraint, None),
            bias_constraint=(bias_constraint, None),
        )
        self.filters = positive_int(filters, "filters", str(self))
        self.set_windows(kernel_size, strides, padding, dilation_rate)
        self.output_padding: Pair | None = (
            None if output_padding is None else pair(output_padding, "output_padding", str(self), minimum=0)
        )
        if self.output_padding and any(p >= s for p, s in zip(self.output_padding, self.strides, strict=True)):
            raise ConfigError(
                f"{self}: output_padding must be less than strides {self.strides}, got {output_padding!r}; "
                "make it smaller or leave it at None."
            )
        self.activation = activations.get(activation, owner=f"{self}: activation")
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, owner=f"{self}: kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, owner=f"{self}: bias_initializer")
        self.kernel_regularizer = regularizers.get(kernel_regularizer, owner=f"{self}: kernel_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, owner=f"{self}: bias_regularizer")

    def weight_shapes(self, input_shape: Shape) -> list[Shape]:
        """The shapes of the arrays that build makes."""
        kernel = *self.kernel_size, self.filters, input_shape[2]
        return [kernel, (self.filters,)] if self.use_bias else [kernel]

    def build(self, input_shape: Shape, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        kernel, *bias = self.weight_shapes(input_shape)
        self.add_param("kernel", kernel, self.kernel_initializer, dtype, rng, self.kernel_regularizer)
        if bias:
            self.add_param("bias", bias[0], self.bias_initializer, dtype, rng, self.bias_regularizer)

    def output_map(self, input_shape: Shape) -> Pair:
        """(height, width) of the output."""
        height, width = (
            transposed_size(
                input_shape[axis],
                self.kernel_size[axis],
                self.strides[axis],
                self.dilation_rate[axis],
                self.padding,
                None if self.output_padding is None else self.output_padding[axis],
            )
            for axis in (0, 1)
        )
        return height, width

    def windows(self, input_shape: Shape) -> Windows:
        """The windows of the convolution A, from the output's map to an input of this shape."""
        size = self.output_map(input_shape)
        fits = min(size) > 0
        if fits:
            windows = place_windows(size, self.kernel_size, self.strides, self.padding, str(self), self.dilation_rate)
            fits = windows.out == tuple(input_shape[:2])
        if not fits:
            raise ShapeError(
                f"{self}: output_padding {self.output_padding} makes a map of {size[0]}x{size[1]} of input "
                f"{batched(input_shape)}, which padding={self.padding!r} cannot; raise it or leave it at None."
            )
        return windows

    def output_shape(self, input_shape: Shape) -> Shape:
        self.windows(input_shape)
        return (*self.output_map(input_shape), self.filters)

    def linear(self, x: Array, run: Run) -> tuple[Array, Any]:
        sample = x.shape[1:]
        windows, bias = self.windows(sample), bias_or_zeros(self, self.filters)
        z = run.kernels.conv2d_transpose(x, self.params["kernel"], bias, windows, self.output_map(sample))
        return z, (x, windows)

    def linear_backward(self, dz: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, windows = saved
        grads = kernel_and_bias_grads(self, self.filters)
        dx = run.kernels.conv2d_transpose_backward(dz, x, self.params["kernel"], windows, *grads, need_dx)
        return dx if need_dx else None

    def get_config(self) -> Config:
        own = {"filters": self.filters, "output_padding": self.output_padding}
        return {**super().get_config(), **own, **weighted_config(self)}


class UpSampling2D(Layer):
    """SH x SW pixels for each one, repeated or interpolated.

    forward   nearest:  y[n,p,q,c] = x[n, p // SH, q // SW, c]
              bilinear: y[n,p,q,c] = Σ over h, w of A[p,h]·B[q,w]·x[n,h,w,c]
              where A, (H·SH, H), has in row p the weights of the two pixels between whose middles p lies, 1 − s and s
              (kernels/upsampling.py), and B, (W·SW, W), likewise
    backward  y is linear in x. nearest: each x has been copied SH·SW times, with ∂y/∂x = 1, so
                  dL/dx[n,h,w,c] = Σ over i < SH, j < SW of dL/dy[n, h·SH + i, w·SW + j, c]
              bilinear: ∂y[n,p,q,c]/∂x[n,h,w,c] = A[p,h]·B[q,w], so
                  dL/dx[n,h,w,c] = Σ over p, q of A[p,h]·B[q,w]·dL/dy[n,p,q,c]

    Args:
        size: SH, SW; an int stands for both.
        interpolation: "nearest" or "bilinear". Keras's "bicubic", "lanczos3" and "lanczos5" are not supported.

    Shapes: (N, H, W, C) to (N, H·SH, W·SW, C).
    """

    rank = 3

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        refuse(self, data_format=(data_format or "channels_last", "channels_last"))
        self.size = pair(size, "size", str(self))
        self.interpolation = interpolation.lower() if isinstance(interpolation, str) else interpolation
        if self.interpolation not in ("nearest", "bilinear"):
            raise ConfigError(f'{self}: interpolation must be "nearest" or "bilinear", got {interpolation!r}.')

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = input_shape
        return height * self.size[0], width * self.size[1], channels

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        nearest = self.interpolation == "nearest"
        return (run.kernels.upsample_nearest if nearest else run.kernels.upsample_bilinear)(x, self.size), None

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        if not need_dx:
            return None
        nearest = self.interpolation == "nearest"
        kernels = run.kernels
        return (kernels.upsample_nearest_backward if nearest else kernels.upsample_bilinear_backward)(dy, self.size)

    def get_config(self) -> Config:
        own = {"size": self.size, "data_format": "channels_last", "interpolation": self.interpolation}
        return {**super().get_config(), **own}
