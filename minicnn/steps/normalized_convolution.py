"""NormalizedConvolutionStep: a convolution, the batch normalization behind it and the 2x2 pool behind that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minicnn.kernels.forking import made_once
from minicnn.kernels.fused import RELU
from minicnn.layers import Layer, Run
from minicnn.losses import Loss
from minicnn.steps.convolution import ConvolutionStep, convolution_rule
from minicnn.steps.normalization import NormalizationPoolStep, normalization_pool_rule
from minicnn.steps.pool_parts import AVERAGE_POOL, MAX_POOL, NO_POOL
from minicnn.steps.pooled import PooledPrediction, pooled_prediction
from minicnn.steps.winograd import WinogradStep, winograd_rule
from minicnn.typing import Array


@dataclass(frozen=True)
class NormalizedConvolutionStep:
    """Two steps in training, where the normalization waits for the statistics of the whole batch; one in predicting.

    But a few images that are convolved without Winograd's transforms take two in predicting as well.
    """

    convolution: ConvolutionStep | WinogradStep
    normalization: NormalizationPoolStep

    @property
    def layers(self) -> Sequence[Layer]:
        return *self.convolution.layers, *self.normalization.layers

    @made_once
    def predicting(self) -> PooledPrediction:
        """The convolution and the pool."""
        first, pool = self.convolution, MAX_POOL if self.normalization.largest else AVERAGE_POOL
        how = {"few": first.few} if isinstance(first, ConvolutionStep) else {"winograd": True}
        return pooled_prediction(first.convolution, first.windows, first.code, pool, **how)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        apart = isinstance(self.convolution, WinogradStep) and self.convolution.takes_kernel_as_it_is(x)
        if not (run.keep or run.training or apart):
            return self.predicting.predict(x, self.normalization.normalization), None
        x, saved = self.convolution.forward(x, run)
        y, then_saved = self.normalization.forward(x, run)
        return y, (saved, then_saved)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        first_saved, then_saved = saved
        trained = need_dx or any(layer.trainable and layer.params for layer in self.convolution.layers)
        gradient = self.normalization.backward(dy, then_saved, run, trained)
        if gradient is None:
            return None
        return self.convolution.backward(gradient, first_saved, run, need_dx)

    def __str__(self) -> str:
        remark = ", by Winograd's algorithm" if isinstance(self.convolution, WinogradStep) else ""
        return f"NormalizedConvolutionStep({', '.join(str(layer) for layer in self.layers)}){remark}"


def normalized_convolution_rule(
    layers: Sequence[Layer], i: int, loss: Loss | None, winograd: bool = True
) -> tuple[NormalizedConvolutionStep, int] | None:
    """What winograd_rule (if it may be asked) or convolution_rule and then normalization_pool_rule would take, unless a
    mean of another activation than relu is asked for."""
    if i + 2 >= len(layers):
        return None
    by_winograd = winograd_rule(layers, i, loss) if winograd else None
    answer = by_winograd or convolution_rule(layers, i, loss)
    following = normalization_pool_rule(layers, i + 1, loss)
    if answer is None or following is None:
        return None
    (first, _), (then, taken) = answer, following
    if first.pool != NO_POOL:
        return None
    if not then.largest and first.code != RELU:
        return None
    return NormalizedConvolutionStep(first, then), 1 + taken
