"""WinogradStep: a wide 3x3 convolution with its bias and its activation, by Winograd's algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels import workspace
from minicnn.kernels.fused import LINEAR
from minicnn.kernels.tiles import Tiling, pooled_tiling_for, tiling_for
from minicnn.kernels.winograd import grid_of, transform_for, turned_around, turned_windows
from minicnn.layers import Conv2D, Layer, Run
from minicnn.layers.core import bias_or_zeros, kernel_and_bias_grads
from minicnn.losses import Loss
from minicnn.steps.convolution import activation_code
from minicnn.steps.pool_parts import NO_POOL
from minicnn.steps.winograd_kernels import winograd_forward, winograd_gradient
from minicnn.typing import Array


@dataclass(frozen=True)
class WinogradStep:
    """One Conv2D of 3x3, strides and dilation 1; kernels/winograd.py says why that is right.

    code: of the activation (kernels/fused.py). Channels and filters must be multiples of tiling.lanes. pooled_tiling:
    of the pools that winograd_forward can take along, here none.
    """

    convolution: Conv2D
    windows: Windows
    code: int
    tiling: Tiling
    pooled_tiling: Tiling

    @property
    def layers(self) -> Sequence[Layer]:
        return (self.convolution,)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        layer = self.convolution
        y = workspace.empty((len(x), *self.windows.out, layer.filters), x.dtype)
        transform = transform_for(x.dtype.name)
        grid = grid_of(x.shape[1:3], self.windows, transform.m)
        bias = bias_or_zeros(layer) if layer.use_bias or self.code != LINEAR else np.empty(0, x.dtype)
        none = np.empty(0, x.dtype)
        winograd_forward(
            x,
            layer.params["kernel"],
            bias,
            grid,
            self.code,
            transform,
            self.tiling,
            NO_POOL,
            self.pooled_tiling,
            none,
            none,
            none,
            y,
        )
        return y, (x, None if self.code == LINEAR else y)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, y = saved
        layer, map_size = self.convolution, x.shape[1:3]
        transform = transform_for(x.dtype.name)
        grid = grid_of(map_size, self.windows, transform.m)
        dz = np.require(dy, requirements=("C", "W"))  # dy until winograd_gradient has been there
        winograd_gradient(
            x, dz if y is None else y, dz, grid, self.code, transform, self.tiling, *kernel_and_bias_grads(layer)
        )
        if not need_dx:
            return None
        dx = workspace.empty(x.shape, x.dtype)
        kernel, no_bias = turned_around(layer.params["kernel"]), np.empty(0, x.dtype)
        turned = grid_of(self.windows.out, turned_windows(self.windows, map_size), transform.m)
        winograd_forward(
            dz,
            kernel,
            no_bias,
            turned,
            LINEAR,
            transform,
            self.tiling,
            NO_POOL,
            self.pooled_tiling,
            no_bias,
            no_bias,
            no_bias,
            dx,
        )
        return dx

    def __str__(self) -> str:
        return f"WinogradStep({self.convolution})"


def winograd_pays(channels: int, filters: int, windows: Windows, tiling: Tiling) -> bool:
    """Whether the products that are spared outweigh the transforms; channels and filters must be whole vectors besides.

    From 48 channels and filters and 36 windows on. ConvolutionStep's time over this step's, batch 128, float32, 2 cores
    of an AVX-512 Xeon, predicting and training: 0.86, 0.93 on 16x16x32 to 32; 1.2, 1.3 on 16x16x48 to 48; 1.3, 1.4 on
    16x16x64 to 64; 1.0, 1.1 on 6x6x64 to 64; at batch 64 2.7, 2.0 on 7x7x512 to 512; one image of 32x32x64 1.7, 1.7.
    """
    whole = channels % tiling.lanes == 0 and filters % tiling.lanes == 0
    return whole and min(channels, filters) >= 48 and windows.oh * windows.ow >= 36


def winograd_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[WinogradStep, int] | None:
    """A wide Conv2D of 3x3 with an activation that fused steps know, on a CPU with a vector unit.

    None of these activations is one that a loss takes the logits of, so the last layer needs no exception.
    """
    layer = layers[i]
    if type(layer) is not Conv2D or layer.input_shape is None or layer.dtype is None or layer.groups > 1:
        return None
    if layer.kernel_size != (3, 3) or layer.strides != (1, 1) or layer.dilation_rate != (1, 1):
        return None
    code = activation_code(layer.activation)
    tiling = tiling_for(layer.dtype.itemsize)
    windows = layer.windows(layer.input_shape)
    pooled_tiling = pooled_tiling_for(layer.dtype.itemsize)
    if code is None or tiling is None or pooled_tiling is None:
        return None
    if not winograd_pays(layer.input_shape[2], layer.filters, windows, tiling):
        return None
    return WinogradStep(layer, windows, code, tiling, pooled_tiling), 1
