"""StrassenStep: a large dense layer with its activation, by Strassen's product where many batches are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minicnn.kernels import workspace
from minicnn.kernels.strassen import (
    PLACES,
    Apart,
    largest_of_columns,
    powers_of_two,
    scales_of_rows,
    strassen_forward,
    strassen_weights,
    weights_plane,
)
from minicnn.kernels.tiles import Tiling, from_a_line, tiling_for
from minicnn.kernels.transforms import with_transforms
from minicnn.layers import Layer, Run
from minicnn.layers.core import bias_or_zeros
from minicnn.losses import Loss
from minicnn.steps.dense import DenseStep, dense_rule
from minicnn.typing import Array

SAMPLES = 4096
"""Samples from which taking the kernel apart pays, in one call of predict or evaluate.

A kernel 4096x4096 takes 206 MB then and 24 ms, and 130 to 270 more when the memory is first asked for, which the pool
of workspace.py then keeps; a batch of 256 samples gains 10 ms (2 cores of an AMD EPYC).
"""

LEAST, MOST = 64, 512
"""Samples that come at once from which Strassen's product pays, and that are multiplied at once.

Of DenseStep's time a layer 4096x4096 takes 1.2 for 32 samples, 0.85 for 64, 0.7 for 128 and 512 and 0.77 for 256 (an
AMD EPYC, before what the product needs next was fetched).
"""

NARROWEST, WIDEST = 1024, 4096
"""Inputs. The error grows with them: it stays within 1e-5 of the largest output of a batch."""

SMALLEST, LARGEST = 1 << 22, 1 << 24
"""Numbers of the kernel: from where it pays, and up to where its sums take 206 MB of float32."""


def taken_apart(kernel: Array, tiling: Tiling) -> Apart | None:
    """The kernel with its columns, then its rows scaled; None if it holds NaN or infinity."""
    by_output, of_outputs = powers_of_two(largest_of_columns(kernel))
    scales = scales_of_rows(kernel, by_output)
    if scales is None:
        return None
    by_input, of_inputs = scales
    count = PLACES * weights_plane(kernel.shape[0] // 4, kernel.shape[1] // 4, kernel.itemsize)
    weights = from_a_line(workspace.empty((count + 64 // kernel.itemsize,), kernel.dtype), count)
    strassen_weights(kernel, by_input, by_output, tiling, weights)
    return Apart(weights, of_inputs, of_outputs)


@dataclass(frozen=True)
class StrassenStep:
    """What `otherwise` computes, y = f(x · kernel + bias) for x (N, I); kernels/strassen.py says how.

    otherwise: the step for all else: training, few samples or one batch of them, and what is not finite.
    """

    otherwise: DenseStep
    tiling: Tiling

    @property
    def layers(self) -> Sequence[Layer]:
        return self.otherwise.layers

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        y = self._product(x, run) if run.samples >= SAMPLES and len(x) >= LEAST else None
        return self.otherwise.forward(x, run) if y is None else (y, None)

    def _product(self, x: Array, run: Run) -> Array | None:
        """y, or None if x or the kernel holds NaN or infinity."""
        layer, code = self.otherwise.layer, self.otherwise.code
        kernel = run.once(layer, lambda: taken_apart(layer.params["kernel"], self.tiling))
        scales = None if kernel is None else scales_of_rows(x, kernel.inputs)
        if kernel is None or scales is None:
            return None
        by_sample, of_samples = scales
        y, bias, parts = workspace.empty((len(x), layer.units), x.dtype), bias_or_zeros(layer), -(-len(x) // MOST)
        for part in range(parts):
            rows = slice(part * len(x) // parts, (part + 1) * len(x) // parts)
            strassen_forward(x[rows], by_sample[rows], of_samples[rows], kernel, bias, code, self.tiling, y[rows])
        return y

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        return self.otherwise.backward(dy, saved, run, need_dx)

    def __str__(self) -> str:
        return f"StrassenStep({self.otherwise.layer}), in predicting many"


def strassen_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[StrassenStep, int] | None:
    """A Dense of millions of weights that DenseStep takes, in blocks of whole vectors."""
    answer = dense_rule(layers, i, loss)
    if answer is None:
        return None
    otherwise, taken = answer
    layer = otherwise.layer
    if layer.input_shape is None or layer.dtype is None:
        return None
    inputs, outputs, tiling = layer.input_shape[0], layer.units, tiling_for(layer.dtype.itemsize)
    if tiling is None or inputs % (4 * tiling.lanes) or outputs % (4 * tiling.lanes):
        return None
    if not NARROWEST <= inputs <= WIDEST or not SMALLEST <= inputs * outputs <= LARGEST:
        return None
    return StrassenStep(otherwise, with_transforms(tiling, layer.dtype.itemsize)), taken
