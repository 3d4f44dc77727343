"""Conv2D and ZeroPadding2D; what all convolutions share."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from minicnn import activations, initializers, regularizers
from minicnn.arguments import refuse
from minicnn.errors import ConfigError, ShapeError
from minicnn.geometry import Windows, padding_name, pair, place_windows, positive_int
from minicnn.layers.base import Layer, Run
from minicnn.layers.core import ActivatedLayer, bias_or_zeros, kernel_and_bias_grads, weighted_config
from minicnn.layers.shapes import batched
from minicnn.typing import Array, Config, Pair, Shape


class WindowedLayer(ActivatedLayer):
    """A layer whose kernel slides over a map: the arguments that say where it lies."""

    rank = 3
    kernel_size: Pair
    strides: Pair
    padding: str
    dilation_rate: Pair

    strides_and_dilation: ClassVar[bool] = False
    """Whether both may exceed 1, as Keras has it: for the convolutions that keep the channels apart alone."""

    def set_windows(self, kernel_size: Any, strides: Any, padding: Any, dilation_rate: Any) -> None:
        """Check and keep these arguments. Raises ConfigError."""
        self.kernel_size = pair(kernel_size, "kernel_size", str(self))
        self.strides = pair(strides, "strides", str(self))
        self.padding = padding_name(padding, str(self))
        self.dilation_rate = pair(dilation_rate, "dilation_rate", str(self))
        if max(self.strides) > 1 and max(self.dilation_rate) > 1 and not self.strides_and_dilation:
            raise ConfigError(
                f"{self}: strides {self.strides} and dilation_rate {self.dilation_rate} cannot both exceed 1; "
                "set one to 1."
            )

    def windows(self, input_shape: Shape) -> Windows:
        """Where the kernel lies on a map of this shape."""
        return place_windows(
            input_shape[:2], self.kernel_size, self.strides, self.padding, str(self), self.dilation_rate
        )

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": "channels_last",
            "dilation_rate": self.dilation_rate,
        }


class Conv2D(WindowedLayer):
    """A small kernel slides over the map; every output is the product of kernel and window, summed.

    forward   z[n,p,q,f] = bias[f] + Σ over i, j, c of x[n,h,w,c]·kernel[i,j,c,f],   y = f(z)
                  with h = p·SH + i·DH − top, w = q·SW + j·DW − left
              As matrices: M = N·OH·OW windows of D = KH·KW·C numbers. cols = im2col(x), (M, D), has a row a window:
              cols[(n,p,q), (i,j,c)] = x[n,h,w,c]. With K the kernel as (D, F),
                  z = cols · K + bias                                     (M, D) · (D, F) = (M, F)
    backward  dz = dL/dz, (M, F), from ActivatedLayer. The product is Dense's, with rows of windows for samples:
                  dL/dK    = colsᵀ · dz                                   (D, M) · (M, F) = (D, F)
                  dL/dbias = Σ over the M rows of dz                      (F,)
                  dL/dcols = dz · Kᵀ                                      (M, F) · (F, D) = (M, D)
              Written out, dL/dkernel[i,j,c,f] = Σ over n, p, q of x[n,h,w,c]·dz[n,p,q,f]: the kernel's entry is used at
              every position. im2col copied a pixel into every window that covers it, with ∂cols/∂x = 1 for each copy,
              so dL/dx[n,h,w,c] is the sum of dL/dcols over those copies: col2im, im2col's transpose, (M, D) back to
              (N, H, W, C). What would fall on the padding is dropped: zeros are no input.
    groups    with groups = G > 1 all this holds within each group: filter f sees the channels of group f // (F/G) alone
              (kernels/grouped_convolution.py), G convolutions side by side, and each group's gradients are its own.

    Args:
        filters: F, output channels.
        kernel_size: KH, KW in pixels; an int stands for both, here and below.
        strides: SH, SW in pixels.
        dilation_rate: DH, DW, the step between a kernel's pixels on the map. As in Keras, strides and dilation_rate
            cannot both exceed 1.
        padding: "valid" (whole windows only) or "same" (OH = ceil(H / SH); zeros around the map, an odd one after it).
        groups: G, a divisor of F and of C.
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: as in Keras.

    Shapes: (N, H, W, C) to (N, OH, OW, F); kernel (KH, KW, C/G, F), bias (F,).
    Raises ShapeError if no window fits, or if the groups do not divide C.
    Source: Goodfellow, Bengio and Courville, Deep Learning (2016), chapter 9.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
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
        self.groups = positive_int(groups, "groups", str(self))
        if self.filters % self.groups:
            raise ConfigError(
                f"{self}: groups={self.groups} does not divide {self.filters} filters; use a divisor of {self.filters}."
            )
        self.activation = activations.get(activation, owner=f"{self}: activation")
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, owner=f"{self}: kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, owner=f"{self}: bias_initializer")
        self.kernel_regularizer = regularizers.get(kernel_regularizer, owner=f"{self}: kernel_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, owner=f"{self}: bias_regularizer")

    def weight_shapes(self, input_shape: Shape) -> list[Shape]:
        """The shapes of the arrays that build makes."""
        kernel = *self.kernel_size, input_shape[2] // self.groups, self.filters
        return [kernel, (self.filters,)] if self.use_bias else [kernel]

    def build(self, input_shape: Shape, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        kernel, *bias = self.weight_shapes(input_shape)
        self.add_param("kernel", kernel, self.kernel_initializer, dtype, rng, self.kernel_regularizer)
        if bias:
            self.add_param("bias", bias[0], self.bias_initializer, dtype, rng, self.bias_regularizer)

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[2] % self.groups:
            raise ShapeError(
                f"{self}: input {batched(input_shape)} has {input_shape[2]} channels, which groups={self.groups} does "
                f"not divide; use a divisor of {input_shape[2]}."
            )
        return (*self.windows(input_shape).out, self.filters)

    def linear(self, x: Array, run: Run) -> tuple[Array, Any]:
        windows = self.windows(x.shape[1:])
        conv2d = run.kernels.conv2d if self.groups == 1 else run.kernels.grouped_conv2d
        return conv2d(x, self.params["kernel"], bias_or_zeros(self), windows), (x, windows)

    def linear_backward(self, dz: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, windows = saved
        backward = run.kernels.conv2d_backward if self.groups == 1 else run.kernels.grouped_conv2d_backward
        dx = backward(dz, x, self.params["kernel"], windows, *kernel_and_bias_grads(self), need_dx)
        return dx if need_dx else None

    def get_config(self) -> Config:
        return {**super().get_config(), "filters": self.filters, "groups": self.groups, **weighted_config(self)}


class ZeroPadding2D(Layer):
    """A frame of zeros around the map.

    forward   y[n, h + top, w + left, c] = x[n,h,w,c], zero elsewhere
    backward  dL/dx[n,h,w,c] = dL/dy[n, h + top, w + left, c]: each x is one y. The frame, a constant, has no gradient

    Args:
        padding: in pixels; an int for all four sides, (height, width) for both sides of each axis, or
            ((top, bottom), (left, right)).

    Shapes: (N, H, W, C) to (N, top + H + bottom, left + W + right, C).
    """

    rank = 3

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        refuse(self, data_format=(data_format or "channels_last", "channels_last"))
        sides = padding if isinstance(padding, (tuple, list)) else (padding, padding)
        if len(sides) != 2:
            raise ConfigError(f"{self}: padding must be an int, two ints or two pairs of ints, got {padding!r}.")
        self.padding = tuple(pair(side, "padding", str(self), minimum=0) for side in sides)

    def output_shape(self, input_shape: Shape) -> Shape:
        (top, bottom), (left, right) = self.padding
        height, width, channels = input_shape
        return top + height + bottom, left + width + right, channels

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        return np.pad(x, ((0, 0), *self.padding, (0, 0))), x.shape

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        (top, _), (left, _) = self.padding
        _, height, width, _ = saved
        return np.ascontiguousarray(dy[:, top : top + height, left : left + width]) if need_dx else None

    def get_config(self) -> Config:
        return {**super().get_config(), "padding": self.padding, "data_format": "channels_last"}
