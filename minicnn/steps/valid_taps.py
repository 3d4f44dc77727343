"""ValidTapsStep: a convolution on a small map, with its activation, over the taps that lie on the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.dense import FEW
from minicnn.kernels.few_images import few_images
from minicnn.kernels.tiles import Tiling, tiling_for
from minicnn.kernels.valid_taps import valid_taps_backward_numba, valid_taps_numba
from minicnn.layers import Conv2D, Layer, Run
from minicnn.layers.core import bias_or_zeros, kernel_and_bias_grads
from minicnn.losses import Loss
from minicnn.steps.convolution import activation_code
from minicnn.typing import Array, Shape


@dataclass(frozen=True)
class ValidTapsStep:
    """Conv2D with its activation; kernels/valid_taps.py says how. code: of the activation (kernels/fused.py)."""

    layer: Conv2D
    windows: Windows
    code: int
    tiling: Tiling

    @property
    def layers(self) -> Sequence[Layer]:
        return (self.layer,)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        weights = self.layer.params["kernel"], bias_or_zeros(self.layer)
        whole_vectors = self.layer.filters % self.tiling.lanes == 0
        way = few_images if len(x) <= FEW and whole_vectors else valid_taps_numba
        y = way(x, *weights, self.windows, self.code, self.tiling)
        return y, (x, y)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, y = saved
        dkernel, dbias = kernel_and_bias_grads(self.layer)
        if len(x) == 0:  # a tile product sums over one image at least
            dkernel[...], dbias[...] = 0, 0
            return np.empty_like(x) if need_dx else None
        dx = valid_taps_backward_numba(
            dy, y, x, self.layer.params["kernel"], self.windows, self.code, self.tiling, dkernel, dbias, need_dx
        )
        return dx if need_dx else None

    def __str__(self) -> str:
        return f"ValidTapsStep({self.layer})"


def taps_on_the_map(size: int, out: int, window: int, stride: int, dilation: int, before: int) -> float:
    """The part of the out·window pixels along one axis, those of all windows together, that lie on the map."""
    pixels = [p * stride + i * dilation - before for p in range(out) for i in range(window)]
    return sum(0 <= pixel < size for pixel in pixels) / len(pixels)


def part_on_the_map(map_size: tuple[int, int], windows: Windows) -> float:
    """taps_on_the_map of both axes together, for a map of (height, width) pixels."""
    w, (height, width) = windows, map_size
    down = taps_on_the_map(height, w.oh, w.kh, w.sh, w.dh, w.top)
    return down * taps_on_the_map(width, w.ow, w.kw, w.sw, w.dw, w.left)


def leaving_padding_out_pays(shape: Shape, windows: Windows) -> bool:
    """Whether so few taps lie on the map that products tap by tap beat a window at a time.

    shape: (H, W, C) of the input. At most 1/2 of the taps, or 3/4 where products are deep (64 channels), and at most
    64 positions. ConvolutionStep's time over this step's, forward and backward, batch 128, 3x3 kernels: with 0.44 of
    the taps 14 on 2x2x384, 2.1 on 2x2x8; with 0.69 1.5 on 4x4x128, 0.8 on 4x4x32; with 0.84 0.9 on 8x8x128; and with
    0.66, but 128 positions, 0.8 on 2x64x64.
    """
    height, width, channels = shape
    part = part_on_the_map((height, width), windows)
    return windows.oh * windows.ow <= 64 and part <= (0.75 if channels >= 64 else 0.5)


def valid_taps_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[ValidTapsStep, int] | None:
    """Conv2D on a small padded map, with an activation that can be fused, on a CPU with a vector unit."""
    layer = layers[i]
    if type(layer) is not Conv2D or layer.input_shape is None or layer.dtype is None or layer.groups > 1:
        return None
    windows = layer.windows(layer.input_shape)
    code = activation_code(layer.activation)
    if code is None or not leaving_padding_out_pays(layer.input_shape, windows):
        return None
    tiling = tiling_for(layer.dtype.itemsize)
    return None if tiling is None else (ValidTapsStep(layer, windows, code, tiling), 1)
