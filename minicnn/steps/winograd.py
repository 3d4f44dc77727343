"""WinogradStep: a wide 3x3 convolution with its bias and its activation, by Winograd's algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels import workspace
from minicnn.kernels.fused import LINEAR
from minicnn.kernels.tiles import Tiling, tiling_for
from minicnn.kernels.winograd import grid_of, transform_for, turned_around, turned_windows
from minicnn.layers import Conv2D, Layer, Run
from minicnn.layers.core import bias_or_zeros, kernel_and_bias_grads
from minicnn.losses import Loss
from minicnn.steps.convolution import activation_code
from minicnn.steps.winograd_kernels import winograd_forward, winograd_gradient
from minicnn.typing import Array


@dataclass(frozen=True)
class WinogradStep:
    """One Conv2D of 3x3, strides and dilation 1; kernels/winograd.py says why that is right.

    code: of the activation (kernels/fused.py). m: 2 for F(2x2,3x3), 4 for F(4x4,3x3), which is less accurate. Channels
    and filters must be multiples of tiling.lanes.
    """

    convolution: Conv2D
    windows: Windows
    code: int
    tiling: Tiling
    m: int = 2

    @property
    def layers(self) -> Sequence[Layer]:
        return (self.convolution,)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        layer = self.convolution
        y = workspace.empty((len(x), *self.windows.out, layer.filters), x.dtype)
        grid, transform = grid_of(x.shape[1:3], self.windows, self.m), transform_for(self.m, x.dtype.name)
        bias = bias_or_zeros(layer) if layer.use_bias or self.code != LINEAR else np.empty(0, x.dtype)
        winograd_forward(x, layer.params["kernel"], bias, grid, self.code, transform, self.tiling, y)
        return y, (x, None if self.code == LINEAR else y)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, y = saved
        layer, map_size = self.convolution, x.shape[1:3]
        transform = transform_for(self.m, x.dtype.name)
        dz = np.require(dy, requirements=("C", "W"))  # dy until winograd_gradient has been there
        winograd_gradient(
            x, dz if y is None else y, dz, grid_of(map_size, self.windows, self.m), self.code, transform, self.tiling,
            *kernel_and_bias_grads(layer),
        )  # fmt: skip
        if not need_dx:
            return None
        dx = workspace.empty(x.shape, x.dtype)
        kernel, no_bias = turned_around(layer.params["kernel"]), np.empty(0, x.dtype)
        grid = grid_of(self.windows.out, turned_windows(self.windows, map_size), self.m)
        winograd_forward(dz, kernel, no_bias, grid, LINEAR, transform, self.tiling, dx)
        return dx

    def __str__(self) -> str:
        return f"WinogradStep({self.convolution})" + (", F(4x4,3x3)" if self.m == 4 else "")


def winograd_pays(channels: int, filters: int, tiling: Tiling) -> bool:
    """Whether the transforms are small beside the product that they shorten, and vectors over both are full."""
    return min(channels, filters) >= 2 * tiling.lanes and channels % tiling.lanes == filters % tiling.lanes == 0


def winograd_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[WinogradStep, int] | None:
    """A wide Conv2D of 3x3 with an activation that fused steps know, on a CPU with a vector unit."""
    return _rule(layers[i], 2)


def winograd4_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[WinogradStep, int] | None:
    """winograd_rule with F(4x4,3x3): faster, and up to 3e-5 of the largest output off in float32. To be asked for."""
    return _rule(layers[i], 4)


def _rule(layer: Layer, m: int) -> tuple[WinogradStep, int] | None:
    if type(layer) is not Conv2D or layer.input_shape is None or layer.dtype is None:
        return None
    if layer.kernel_size != (3, 3) or layer.strides != (1, 1) or layer.dilation_rate != (1, 1):
        return None
    code = activation_code(layer.activation)
    tiling = tiling_for(layer.dtype.itemsize)
    if code is None or tiling is None or not winograd_pays(layer.input_shape[2], layer.filters, tiling):
        return None
    return WinogradStep(layer, layer.windows(layer.input_shape), code, tiling, m), 1
