"""DepthwiseConv2D and SeparableConv2D: convolutions that keep the channels apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import activations, initializers, regularizers
from minicnn.arguments import refuse
from minicnn.geometry import Windows, positive_int
from minicnn.layers.base import Run
from minicnn.layers.convolution import WindowedLayer
from minicnn.layers.core import bias_or_zeros, kernel_and_bias_grads, weighted_config
from minicnn.typing import Array, Config, Shape


def _as_groups(kernel: Array) -> Array:
    """A depthwise kernel (KH, KW, C, M) as that of C groups, (KH, KW, 1, C·M): the same numbers in the same order."""
    return kernel.reshape(*kernel.shape[:2], 1, -1)


class DepthwiseConv2D(WindowedLayer):
    """M kernels for each channel, which slide over that channel alone.

    forward   z[n,p,q,c·M + m] = bias[c·M + m] + Σ over i, j of x[n,h,w,c]·kernel[i,j,c,m],   y = f(z)
                  with h = p·SH + i·DH − top, w = q·SW + j·DW − left
    backward  dz = dL/dz from ActivatedLayer. In z[n,p,q,c·M + m], kernel[i,j,c,m] has the factor x[n,h,w,c], at every
              position and in every sample, and x[n,h,w,c] the factor kernel[i,j,c,m], for each m and each window over
              it. So
                  dL/dkernel[i,j,c,m]  = Σ over n, p, q of x[n,h,w,c]·dz[n,p,q,c·M + m]
                  dL/dbias[c·M + m]    = Σ over n, p, q of dz[n,p,q,c·M + m]
                  dL/dx[n,h,w,c]       = Σ over the (p, q, i, j) that touch (h, w), and m, of
                                         dz[n,p,q,c·M + m]·kernel[i,j,c,m]
              No sum runs over channels: it is Conv2D with C groups, and computed as that.

    Args:
        kernel_size, strides, padding, dilation_rate: as for Conv2D, but that strides and dilation_rate may both exceed
            1. TensorFlow takes only equal strides here.
        depth_multiplier: M.
        activation, use_bias, depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer: as in
            Keras.

    Shapes: (N, H, W, C) to (N, OH, OW, C·M); kernel (KH, KW, C, M), bias (C·M,). Raises ShapeError if no window fits.
    Source: Chollet 2017, "Xception"; Howard et al. 2017, "MobileNets".
    """

    strides_and_dilation = True

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        refuse(
            self,
            data_format=(data_format or "channels_last", "channels_last"),
            activity_regularizer=(activity_regularizer, None),
            depthwise_constraint=(depthwise_constraint, None),
            bias_constraint=(bias_constraint, None),
        )
        self.set_windows(kernel_size, strides, padding, dilation_rate)
        self.depth_multiplier = positive_int(depth_multiplier, "depth_multiplier", str(self))
        self.activation = activations.get(activation, owner=f"{self}: activation")
        self.use_bias = bool(use_bias)
        self.depthwise_initializer = initializers.get(depthwise_initializer, owner=f"{self}: depthwise_initializer")
        self.bias_initializer = initializers.get(bias_initializer, owner=f"{self}: bias_initializer")
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer, owner=f"{self}: depthwise_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, owner=f"{self}: bias_regularizer")

    def weight_shapes(self, input_shape: Shape) -> list[Shape]:
        """The shapes of the arrays that build makes."""
        channels = input_shape[2]
        kernel = *self.kernel_size, channels, self.depth_multiplier
        return [kernel, (channels * self.depth_multiplier,)] if self.use_bias else [kernel]

    def build(self, input_shape: Shape, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        kernel, *bias = self.weight_shapes(input_shape)
        self.add_param("kernel", kernel, self.depthwise_initializer, dtype, rng, self.depthwise_regularizer)
        if bias:
            self.add_param("bias", bias[0], self.bias_initializer, dtype, rng, self.bias_regularizer)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*self.windows(input_shape).out, input_shape[2] * self.depth_multiplier)

    def linear(self, x: Array, run: Run) -> tuple[Array, Any]:
        windows, outputs = self.windows(x.shape[1:]), x.shape[3] * self.depth_multiplier
        kernel = _as_groups(self.params["kernel"])
        return run.kernels.grouped_conv2d(x, kernel, bias_or_zeros(self, outputs), windows), (x, windows)

    def linear_backward(self, dz: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, windows = saved
        kernel = _as_groups(self.params["kernel"])
        dkernel, dbias = kernel_and_bias_grads(self, dz.shape[3])
        dx = run.kernels.grouped_conv2d_backward(dz, x, kernel, windows, _as_groups(dkernel), dbias, need_dx)
        return dx if need_dx else None

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "depth_multiplier": self.depth_multiplier,
            **weighted_config(self, ("depthwise",)),
        }


class SeparableConv2D(WindowedLayer):
    """A depthwise convolution, then one of 1x1 that mixes the channels.

    forward   u[n,p,q,c·M + m] = Σ over i, j of x[n,h,w,c]·depthwise_kernel[i,j,c,m]     as DepthwiseConv2D, no bias
              z[n,p,q,f] = bias[f] + Σ over k of u[n,p,q,k]·pointwise_kernel[0,0,k,f],   y = f(z);   k = c·M + m
    backward  dz = dL/dz from ActivatedLayer, then the two in turn, last first. The 1x1 convolution is Dense at every
              position:
                  dL/dpointwise[k,f] = Σ over n, p, q of u[n,p,q,k]·dz[n,p,q,f]
                  dL/dbias[f]        = Σ over n, p, q of dz[n,p,q,f]
                  du[n,p,q,k]        = Σ over f of dz[n,p,q,f]·pointwise_kernel[0,0,k,f]
              and du takes the place of dz in DepthwiseConv2D's backward pass, for dL/ddepthwise and dL/dx.

    Args:
        filters: F, output channels.
        kernel_size, strides, padding, dilation_rate, depth_multiplier: as for DepthwiseConv2D.
        activation, use_bias, and an initializer and a regularizer for each of the three arrays: as in Keras.

    Shapes: (N, H, W, C) to (N, OH, OW, F); depthwise_kernel (KH, KW, C, M), pointwise_kernel (1, 1, C·M, F), bias (F,).
    Raises ShapeError if no window fits. Source: Chollet 2017, "Xception".
    """

    strides_and_dilation = True

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        refuse(
            self,
            data_format=(data_format or "channels_last", "channels_last"),
            activity_regularizer=(activity_regularizer, None),
            depthwise_constraint=(depthwise_constraint, None),
            pointwise_constraint=(pointwise_constraint, None),
            bias_constraint=(bias_constraint, None),
        )
        self.filters = positive_int(filters, "filters", str(self))
        self.set_windows(kernel_size, strides, padding, dilation_rate)
        self.depth_multiplier = positive_int(depth_multiplier, "depth_multiplier", str(self))
        self.activation = activations.get(activation, owner=f"{self}: activation")
        self.use_bias = bool(use_bias)
        self.depthwise_initializer = initializers.get(depthwise_initializer, owner=f"{self}: depthwise_initializer")
        self.pointwise_initializer = initializers.get(pointwise_initializer, owner=f"{self}: pointwise_initializer")
        self.bias_initializer = initializers.get(bias_initializer, owner=f"{self}: bias_initializer")
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer, owner=f"{self}: depthwise_regularizer")
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer, owner=f"{self}: pointwise_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, owner=f"{self}: bias_regularizer")

    def weight_shapes(self, input_shape: Shape) -> list[Shape]:
        """The shapes of the arrays that build makes."""
        channels = input_shape[2]
        depthwise = *self.kernel_size, channels, self.depth_multiplier
        pointwise = 1, 1, channels * self.depth_multiplier, self.filters
        return [depthwise, pointwise, *([(self.filters,)] * self.use_bias)]

    def build(self, input_shape: Shape, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        depthwise, pointwise, *bias = self.weight_shapes(input_shape)
        self.add_param(
            "depthwise_kernel", depthwise, self.depthwise_initializer, dtype, rng, self.depthwise_regularizer
        )
        self.add_param(
            "pointwise_kernel", pointwise, self.pointwise_initializer, dtype, rng, self.pointwise_regularizer
        )
        if bias:
            self.add_param("bias", bias[0], self.bias_initializer, dtype, rng, self.bias_regularizer)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*self.windows(input_shape).out, self.filters)

    def linear(self, x: Array, run: Run) -> tuple[Array, Any]:
        windows, depthwise = self.windows(x.shape[1:]), _as_groups(self.params["depthwise_kernel"])
        no_bias = np.zeros(depthwise.shape[3], x.dtype)
        u = run.kernels.grouped_conv2d(x, depthwise, no_bias, windows)
        pointwise, bias = self.params["pointwise_kernel"], bias_or_zeros(self, self.filters)
        return run.kernels.conv2d(u, pointwise, bias, _single_pixels(windows)), (x, u, windows)

    def linear_backward(self, dz: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, u, windows = saved
        dbias = self.grads["bias"] if self.use_bias else np.empty(self.filters, dz.dtype)
        pointwise, dpointwise = self.params["pointwise_kernel"], self.grads["pointwise_kernel"]
        du = run.kernels.conv2d_backward(dz, u, pointwise, _single_pixels(windows), dpointwise, dbias, True)
        depthwise, ddepthwise = (_as_groups(of["depthwise_kernel"]) for of in (self.params, self.grads))
        no_dbias = np.empty(u.shape[3], dz.dtype)
        dx = run.kernels.grouped_conv2d_backward(du, x, depthwise, windows, ddepthwise, no_dbias, need_dx)
        return dx if need_dx else None

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "filters": self.filters,
            "depth_multiplier": self.depth_multiplier,
            **weighted_config(self, ("depthwise", "pointwise")),
        }


def _single_pixels(windows: Windows) -> Windows:
    """The windows of a 1x1 convolution over the map that these windows make."""
    return Windows(kh=1, kw=1, sh=1, sw=1, dh=1, dw=1, top=0, left=0, oh=windows.oh, ow=windows.ow)
