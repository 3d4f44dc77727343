"""StrassenStep: a large dense layer with its activation, by Strassen's product where many batches are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.kernels import workspace
from minicnn.kernels.strassen import PLACES, scales_of, strassen_forward, strassen_weights, weights_plane
from minicnn.kernels.tiles import Tiling, tiling_for, with_transforms
from minicnn.layers import Dense, Layer, Run
from minicnn.layers.core import bias_or_zeros
from minicnn.losses import Loss
from minicnn.steps.dense import DenseStep, dense_rule
from minicnn.typing import Array

SAMPLES = 4096
"""Samples from which the kernel's sums pay, in one call of predict.

For a kernel 4096x4096 they are 206 MB and take 17 ms, and 130 to 270 more when the memory for them is first asked for,
which the pool of workspace.py then keeps; a batch of 256 samples gains 10 ms (2 cores of an AMD EPYC).
"""

LEAST, MOST = 64, 512
"""Samples of a batch from which Strassen's product pays, and that are multiplied at once.

Of DenseStep's time a layer 4096x4096 takes 0.77 for 64 samples, 0.75 for 128 and 512, 0.76 for 256; 0.88 for 32 on its
own, but the sheet's AlexNets take 1.01 and 1.08 of theirs in batches of 32.
"""


@dataclass(frozen=True)
class StrassenStep:
    """y = f(x · kernel + bias) for x (N, I); kernels/strassen.py says how. code: of f (kernels/fused.py).

    plain: the step that all else goes through: training, single batches, what is not finite.
    """

    layer: Dense
    code: int
    tiling: Tiling
    plain: DenseStep

    @property
    def layers(self) -> Sequence[Layer]:
        return (self.layer,)

    def _weights(self) -> Array:
        """The kernel's sums, or an empty array if it holds NaN, infinity or what overflows when it is squared."""
        kernel = self.layer.params["kernel"]
        if not np.isfinite(np.vdot(kernel, kernel)):
            return np.empty(0, kernel.dtype)
        plane = weights_plane(kernel.shape[0] // 4, kernel.shape[1] // 4, kernel.itemsize)
        weights = workspace.empty((PLACES * plane,), kernel.dtype)
        strassen_weights(kernel, self.tiling, weights)
        return weights

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        scales = scales_of(x) if run.samples >= SAMPLES and len(x) >= LEAST else None
        weights = np.empty(0, x.dtype) if scales is None else run.once(self.layer, self._weights)
        if scales is None or not weights.size:
            return self.plain.forward(x, run)
        y, bias, parts = np.empty((len(x), self.layer.units), x.dtype), bias_or_zeros(self.layer), -(-len(x) // MOST)
        for part in range(parts):
            some = slice(part * len(x) // parts, (part + 1) * len(x) // parts)
            there, back = (powers[some] for powers in scales)
            strassen_forward(x[some], there, back, weights, bias, self.code, self.tiling, y[some])
        return y, None

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        return self.plain.backward(dy, saved, run, need_dx)

    def __str__(self) -> str:
        return f"StrassenStep({self.layer})"


def strassen_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[StrassenStep, int] | None:
    """A Dense that DenseStep takes, of 4 million weights or more in blocks of whole vectors."""
    answer = dense_rule(layers, i, loss)
    if answer is None:
        return None
    plain, taken = answer
    layer = plain.layer
    if layer.input_shape is None or layer.dtype is None:
        return None
    inputs, outputs, tiling = layer.input_shape[0], layer.units, tiling_for(layer.dtype.itemsize)
    if tiling is None or inputs % (4 * tiling.lanes) or outputs % (4 * tiling.lanes):
        return None
    if min(inputs, outputs) < 1024 or inputs * outputs < 1 << 22:
        return None
    return StrassenStep(layer, plain.code, with_transforms(tiling, layer.dtype.itemsize), plain), taken
