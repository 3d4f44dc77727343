"""The plan: from the list of layers to the list of steps that a pass runs through.

A step has the signature of a layer's two passes and stands for one layer or several. `RULES` is the one place where it
is decided which: rules are tried in order at each layer, and the first that answers says how many layers its step
takes. A fast path is a rule and a step in a file of its own; no layer is edited for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeGuard, TypeVar

from minicnn.activations import ACTIVATIONS, Activation, linear, softmax
from minicnn.errors import ConfigError
from minicnn.layers import LAYERS, ActivatedLayer, Layer, Run, Softmax
from minicnn.layers import Activation as ActivationLayer
from minicnn.layers.base import two_results
from minicnn.lending import conforming, not_the_callers, to_read
from minicnn.losses import Loss
from minicnn.steps.convolution import convolution_rule
from minicnn.steps.dense import dense_rule
from minicnn.steps.normalization import normalization_pool_rule
from minicnn.steps.normalized_convolution import normalized_convolution_rule
from minicnn.steps.strassen import strassen_rule
from minicnn.steps.toeplitz import toeplitz_rule
from minicnn.steps.valid_taps import valid_taps_rule
from minicnn.steps.winograd import winograd_rule
from minicnn.typing import Array


class Step(Protocol):
    """One or several layers, run as one."""

    @property
    def layers(self) -> Sequence[Layer]: ...

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        """y, and what backward needs."""

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        """dx, or None if not needed; sets the layers' grads. May overwrite dy."""


@dataclass(frozen=True)
class LayerStep:
    """Any one layer. position: its place in the model."""

    layer: Layer
    position: int

    @property
    def layers(self) -> Sequence[Layer]:
        return (self.layer,)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        return self.layer.forward(x, run.at(self.position))

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        return self.layer.backward(dy, saved, run.at(self.position), need_dx)

    def __str__(self) -> str:
        return f"LayerStep({self.layer})"


@dataclass(frozen=True)
class CallersLayerStep(LayerStep):
    """A layer of the caller's own: what it returns is checked, since the kernels after it rely on shape and dtype.

    It can read x but not write to it: x may be part of the caller's data, or what the layer before saved.
    """

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        lent = to_read(x)
        y, saved = two_results(super().forward(lent, run), self.layer)
        shape = (len(x), *self.layer.output_shape(x.shape[1:]))
        y = conforming(x if y is lent else y, shape, x.dtype, f"{self.layer}: forward", "make output_shape say so")
        return y, (x.shape, saved)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x_shape, saved = saved
        dx = super().backward(dy, saved, run, need_dx)
        if not need_dx:
            return None
        checked = conforming(dx, x_shape, dy.dtype, f"{self.layer}: backward", "dx has the shape of x")
        return checked if dx is dy else not_the_callers(checked, dx)


def _is_ours(layer: Layer) -> bool:
    return type(layer) is LAYERS.get(type(layer).__name__)


@dataclass(frozen=True)
class LogitsStep(LayerStep):
    """The last layer without its softmax or sigmoid, for a loss that takes logits.

    Softmax followed by the logarithm of cross-entropy loses what rounds to 0 or 1; on the logits both are one
    operation (kernels/softmax.py) with the gradient p − t, as Keras on TensorFlow computes it.
    """

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        if not isinstance(self.layer, ActivatedLayer):
            return x, None
        z, saved = self.layer.linear(x if _is_ours(self.layer) else to_read(x), run.at(self.position))
        shape = (len(x), *self.layer.output_shape(x.shape[1:]))
        return conforming(z, shape, x.dtype, f"{self.layer}: linear", "make output_shape say so"), (x.shape, saved)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        if not isinstance(self.layer, ActivatedLayer):
            return dy if need_dx else None
        x_shape, saved = saved
        dx = self.layer.linear_backward(dy, saved, run.at(self.position), need_dx)
        if not need_dx:
            return None
        checked = conforming(dx, x_shape, dy.dtype, f"{self.layer}: linear_backward", "dx has the shape of x")
        return checked if _is_ours(self.layer) else not_the_callers(checked, dx)

    def __str__(self) -> str:
        return f"LogitsStep({self.layer}), with the loss on the logits"


@dataclass(frozen=True)
class Plan:
    """The steps of a model, for one loss (None: for predicting).

    loss: to be applied to the last step's output; it takes logits where `output` is set. output: the activation that
    the last step left out, which turns logits into predictions.
    """

    steps: tuple[Step, ...]
    loss: Loss | None = None
    output: Activation | None = None

    @property
    def runs_callers_code(self) -> bool:
        """Whether a layer or an activation of the caller's own runs in a pass."""
        layers = [layer for step in self.steps for layer in step.layers]
        return any(
            not _is_ours(layer) or type(getattr(layer, "activation", linear)) not in ACTIVATIONS.values()
            for layer in layers
        )

    def forward(self, x: Array, run: Run) -> tuple[Array, list[Any]]:
        """The last step's output, and what each step saved for backward."""
        saved = []
        for step in self.steps:
            x, kept = step.forward(x, run)
            saved.append(kept)
        return x, saved

    def predict(self, x: Array, run: Run) -> Array:
        """The last step's output, keeping nothing on the way."""
        run = replace(run, keep=False) if run.keep else run
        for step in self.steps:
            x = step.forward(x, run)[0]  # a name for the rest would keep the step's arrays during the next one
        return x

    def backward(self, dy: Array, saved: list[Any], run: Run, need_dx: bool = False) -> Array | None:
        """Sets the grads of every trainable layer, from the last step to the first that has any; dL/dx if needed.

        Empties `saved`.
        """
        first = 0 if need_dx else self._first_trained()
        gradient: Array | None = dy
        for k in range(len(self.steps) - 1, first - 1, -1):
            assert gradient is not None
            kept, saved[k] = saved[k], None  # its memory is free for the next step then
            gradient = self.steps[k].backward(gradient, kept, run, need_dx or k > first)
        return gradient if need_dx else None

    def _first_trained(self) -> int:
        for k, step in enumerate(self.steps):
            if any(layer.trainable and layer.params for layer in step.layers):
                return k
        return len(self.steps)

    def __str__(self) -> str:
        return "\n".join(f"{k:3d}  {step}" for k, step in enumerate(self.steps))


_Ours = TypeVar("_Ours", bound=Layer)

Rule = Callable[[Sequence[Layer], int, Loss | None], tuple[Step, int] | None]
"""(layers, i, loss) to a step that begins at layer i and the number of layers it takes, or None."""


def left_out_activation(layer: Layer, loss: Loss | None) -> Activation | None:
    """The layer's output softmax or sigmoid, if the loss is differentiated on the logits.

    None for a layer of the caller's with a forward or backward of its own, which would be passed over.
    """
    activation: Activation | None = None
    if _has_the_passes_of(layer, ActivatedLayer) or _has_the_passes_of(layer, ActivationLayer):
        activation = layer.activation
    elif _has_the_passes_of(layer, Softmax) and layer.axis in (-1, len(layer.input_shape or ())):
        activation = softmax
    return activation if loss is not None and loss.takes_logits_of(activation) else None


def _has_the_passes_of(layer: Layer, ours: type[_Ours]) -> TypeGuard[_Ours]:
    theirs = type(layer)
    return isinstance(layer, ours) and theirs.forward is ours.forward and theirs.backward is ours.backward


def logits_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[Step, int] | None:
    """The last layer, where it ends in the activation that the loss is differentiated through."""
    if i == len(layers) - 1 and left_out_activation(layers[i], loss) is not None:
        return LogitsStep(layers[i], i), 1
    return None


def layer_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[Step, int] | None:
    """Any layer."""
    return (LayerStep if _is_ours(layers[i]) else CallersLayerStep)(layers[i], i), 1


LAYER_RULES: tuple[Rule, ...] = (logits_rule, layer_rule)
"""Every layer on its own: what kernels="numpy" and compile(steps="layers") run."""

FUSED: dict[str, Rule] = {
    "ToeplitzStep": toeplitz_rule,
    "ValidTapsStep": valid_taps_rule,
    "NormalizedConvolutionStep": normalized_convolution_rule,
    "WinogradStep": winograd_rule,
    "ConvolutionStep": convolution_rule,
    "NormalizationPoolStep": normalization_pool_rule,
    "StrassenStep": strassen_rule,
    "DenseStep": dense_rule,
}
"""The fast paths by the names of their steps, in the order in which they are tried: what asks for more comes earlier,
since what comes later would take these layers too, more slowly. So small square maps (ToeplitzStep) go before
small maps of any kind (ValidTapsStep), a convolution with the normalization and pool behind it before one without, and
3x3 kernels with many channels (WinogradStep) before all others.

Some have other steps inside, chosen or not: ToeplitzStep takes few images through a ValidTapsStep, StrassenStep all but
the predicting of many batches through a DenseStep, and NormalizedConvolutionStep trains by a ConvolutionStep or a
WinogradStep, the latter only if it is chosen, and a NormalizationPoolStep.
"""

WITHOUT_WINOGRAD: dict[str, Rule] = {
    **FUSED,
    "NormalizedConvolutionStep": partial(normalized_convolution_rule, winograd=False),
}
"""FUSED where WinogradStep may not be taken: the step that has one inside does without then."""

RULES: tuple[Rule, ...] = (logits_rule, *FUSED.values(), layer_rule)
"""All rules, in their order."""


def check_steps(steps: Any) -> str | tuple[str, ...]:
    """What compile was given as steps: "auto", "layers" or the names of fused steps. Raises ConfigError otherwise."""
    if isinstance(steps, str) and steps in ("auto", "layers"):
        return steps
    collected = isinstance(steps, (list, tuple, set, frozenset))
    if not collected or not all(isinstance(name, str) and name in FUSED for name in steps):
        raise ConfigError(
            f'compile: steps must be "auto", "layers" or a list of fused steps to choose from, got {steps!r}; '
            f"there are {', '.join(FUSED)}."
        )
    return tuple(name for name in FUSED if name in steps)


def rules_for(steps: str | tuple[str, ...]) -> tuple[Rule, ...]:
    """The rules that make a plan of what check_steps returned."""
    if isinstance(steps, str):
        return RULES if steps == "auto" else LAYER_RULES
    fused = FUSED if "WinogradStep" in steps else WITHOUT_WINOGRAD
    return (logits_rule, *(fused[name] for name in steps), layer_rule)


def make_plan(layers: Sequence[Layer], loss: Loss | None = None, rules: Sequence[Rule] = RULES) -> Plan:
    """The plan for these layers: at each layer the first rule that answers."""
    steps: list[Step] = []
    i = 0
    while i < len(layers):
        step, taken = next(answer for rule in rules if (answer := rule(layers, i, loss)) is not None)
        steps.append(step)
        i += taken
    output = left_out_activation(layers[-1], loss) if layers else None
    if loss is not None and output is not None:
        loss = loss.on_logits()
    return Plan(tuple(steps), loss, output)
