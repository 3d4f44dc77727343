"""ToeplitzStep: a convolution on maps of 2x2 or 4x4 pixels, with its bias and activation, as a product of Toeplitz
matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels import workspace
from minicnn.kernels.fused import LINEAR
from minicnn.kernels.tiles import Tiling
from minicnn.kernels.toeplitz import SIZES, Toeplitz, kernel_matrix
from minicnn.kernels.transforms import with_transforms
from minicnn.layers import Conv2D, Layer, Run
from minicnn.layers.core import bias_or_zeros, kernel_and_bias_grads
from minicnn.losses import Loss
from minicnn.steps.toeplitz_kernels import exchanged, toeplitz_forward, toeplitz_gradient, toeplitz_weights
from minicnn.steps.valid_taps import ValidTapsStep, part_on_the_map, valid_taps_rule
from minicnn.typing import Array, Shape

PREDICTING_FROM, TRAINING_FROM = 48, 96
"""Images from which the kernel's transforms pay: forward alone, and both ways. In predicting, images of all the batches
that one transform is kept for.

ValidTapsStep's time over this step's, forward and backward, float32, 2 cores of an AMD EPYC with AVX-512, before the
weights were fetched ahead (fetching.py): on 4x4x96 to 256 with 5x5 kernels 0.95 and 0.8 for 32 images, 1.2 and 1.1 for
64, 1.4 and 1.2 for 96, 1.6 and 1.3 for 128, 1.85 and 1.5 for 256; on 2x2x256 to 384 with 3x3 kernels 0.95 and 0.7, 1.1
and 0.9, 1.3 and 1.0, 1.6 and 1.1, 1.7 and 1.3. With fetching, on an AVX-512 Xeon, training
the AlexNets in batches of 64 still takes 1.06 and 1.08 times as long by this step, and alexnet_mnist in 32 1.17 times.
"""

WEIGHTS = 1 << 23
"""Numbers of the kernel's transform at most, 32 MB of float32: a cache that all cores share holds them, if any does."""


@dataclass(frozen=True)
class ToeplitzStep:
    """Conv2D with its activation; kernels/toeplitz.py says how. code: of the activation (kernels/fused.py).

    otherwise: the step that fewer images go through. Channels and filters must be multiples of tiling.lanes.
    """

    layer: Conv2D
    windows: Windows
    code: int
    tiling: Tiling
    otherwise: ValidTapsStep

    @property
    def layers(self) -> Sequence[Layer]:
        return (self.layer,)

    @property
    def toeplitz(self) -> Toeplitz:
        """How its maps are taken apart."""
        return SIZES[self.windows.oh]

    def _matrix(self, turned: bool = False) -> Array:
        return kernel_matrix(self.windows, self.toeplitz.size, self.layer.params["kernel"].dtype.name, turned)

    def _weights(self) -> Array:
        return toeplitz_weights(self.layer.params["kernel"], self._matrix(), self.tiling)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        pays = len(x) >= TRAINING_FROM if run.keep else max(len(x), run.samples) >= PREDICTING_FROM
        if not pays or len(x) == 1:  # one that is left over of many is faster by few_images.py
            return self.otherwise.forward(x, run)
        y = workspace.empty((len(x), *self.windows.out, self.layer.filters), x.dtype)
        plain = self.code == LINEAR and not self.layer.use_bias
        bias = np.empty(0, x.dtype) if plain else bias_or_zeros(self.layer)
        weights = run.once(self.layer, self._weights)
        toeplitz_forward(x, weights, bias, self.code, self.toeplitz, self.tiling, y)
        return y, (x, y)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, y = saved
        if len(x) < TRAINING_FROM:
            return self.otherwise.backward(dy, saved, run, need_dx)
        dz = np.require(dy, requirements=("C", "A", "W"))  # dy until toeplitz_gradient has been there
        dkernel, dbias = kernel_and_bias_grads(self.layer)
        transposed = np.ascontiguousarray(self._matrix().T)
        toeplitz_gradient(x, y, self.code, transposed, self.toeplitz, self.tiling, dz, dkernel, dbias)
        return self._input_gradient(x, dz) if need_dx else None

    def _input_gradient(self, x: Array, dz: Array) -> Array:
        """dx: what the kernel turned around makes of dz."""
        dx, no_bias = workspace.empty(x.shape, x.dtype), np.empty(0, x.dtype)
        weights = toeplitz_weights(exchanged(self.layer.params["kernel"]), self._matrix(turned=True), self.tiling)
        toeplitz_forward(dz, weights, no_bias, LINEAR, self.toeplitz, self.tiling, dx)
        return dx

    def __str__(self) -> str:
        return f"ToeplitzStep({self.layer})"


def toeplitz_pays(shape: Shape, filters: int, windows: Windows, tiling: Tiling) -> bool:
    """Whether the products that are spared outweigh the transforms, where ValidTapsStep would be taken; channels and
    filters must be whole vectors besides.

    shape: (H, W, C) of the input. From 1.5 products tap by tap for each place on, and 32 channels and filters: with 1.8
    (3x3 kernels on 2x2) and 2.4 (5x5 on 4x4) ValidTapsStep takes 1.3 to 2.6 times as long for 256 images, forward and
    backward; but with 1.2 (3x3 on 4x4) 0.95 to 1.1. Up to WEIGHTS numbers of the kernel's transform, which is 81/25 of
    a 5x5 kernel.
    """
    height, width, channels = shape
    if height not in SIZES or not height == width == windows.oh == windows.ow:  # so strides are 1
        return False
    places, pixels = SIZES[height].rank ** 2, windows.kh * windows.kw * height * width
    spared = part_on_the_map((height, width), windows) * pixels / places
    whole = channels % tiling.lanes == 0 and filters % tiling.lanes == 0
    return whole and spared >= 1.5 and min(channels, filters) >= 32 and places * channels * filters <= WEIGHTS


def toeplitz_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[ToeplitzStep, int] | None:
    """A wide Conv2D that ValidTapsStep takes, on a map of which it keeps the size."""
    answer = valid_taps_rule(layers, i, loss)
    if answer is None:
        return None
    otherwise, taken = answer
    layer = otherwise.layer
    if layer.input_shape is None or layer.dtype is None:
        return None
    if not toeplitz_pays(layer.input_shape, layer.filters, otherwise.windows, otherwise.tiling):
        return None
    tiling = with_transforms(otherwise.tiling, layer.dtype.itemsize)
    return ToeplitzStep(layer, otherwise.windows, otherwise.code, tiling, otherwise), taken
