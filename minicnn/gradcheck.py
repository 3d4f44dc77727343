"""Gradient checks: is what backward computes the derivative of forward?

    report = gradcheck.check_layer(Conv2D(4, 3, activation="tanh"), (2, 8, 8, 3))
    print(report)
    report.assert_ok()

Each check computes in float64 and compares, entry by entry or along random directions, with central differences;
differences.py has the formulas. An error of at most 1e-6 passes. Entries at a kink or a tie, where there is no
derivative, are listed in the report and do not fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minicnn import activations, losses
from minicnn.batches import as_numeric
from minicnn.checks import check_labels, check_weights
from minicnn.differences import Entry, GradientError, Report, Variable, compare
from minicnn.errors import ConfigError, DataError, NotCompiledError
from minicnn.kernels import kernel_set
from minicnn.layers import Layer, Run
from minicnn.layers.base import two_results
from minicnn.training import Trainer
from minicnn.typing import Array

__all__ = ["Entry", "GradientError", "Report", "check_activation", "check_layer", "check_loss", "check_model"]


def check_layer(
    layer: Layer,
    x: Any,
    *,
    training: bool = False,
    kernels: Any = "numba",
    directions: int | None = None,
    seed: int = 0,
) -> Report:
    """Compare a layer's dx and grads with differences of L = Σ r·y, where r are random numbers, which stand for dL/dy.

    layer: if unbuilt, it is built here, in float64. x: a batch, or the shape of one with the batch in front, for values
    that are apart from each other and from 0. training, kernels: as in Run; dropout's mask is that of `seed`.
    directions: None checks every entry, a number so many random directions.
    Parameters, grads and state are as before afterwards. Raises ConfigError for a layer in float32, or for no layer.
    """
    if not isinstance(layer, Layer):
        raise ConfigError(f"check_layer: the first argument must be a Layer, got {layer!r}; make one, as Dense(3).")
    rng = np.random.default_rng(seed)
    inputs = _inputs(x, rng)
    layer.check_initialized()
    _need_float64(layer, layer.dtype)
    layer.ensure_built(inputs.shape[1:], np.dtype(np.float64), rng)
    run = Run(kernel_set(kernels), training=training, seed=seed)
    with _restored(_arrays_of([layer])), _restored(layer.state.values()) as reset:
        y, saved = two_results(layer.forward(inputs, run), layer)
        y = y.copy()  # it may be a view of x
        r: Array = np.asarray(rng.standard_normal(y.shape))
        dx = layer.backward(r.copy(), saved, run)
        for name in layer.params.keys() - layer.grads.keys():
            raise ConfigError(f"check_layer: {layer}: backward sets no grads[{name!r}], the gradient of its parameter.")
        variables = [Variable("x", inputs, np.array(dx))]
        variables += [Variable(name, layer.params[name], layer.grads[name].copy()) for name in layer.params]

        def value() -> float:
            reset()  # every evaluation is of the same function: moving averages do not run on
            moved, _ = layer.forward(inputs, run)
            return float(np.sum(r * (moved - y)))  # L up to a constant, which spares the rounding of a large sum

        return compare(_subject(layer, training, run.kernels.name), value, variables, directions, rng)


def check_activation(
    activation: Any, x: Any = (4, 5), *, kernels: Any = "numba", directions: int | None = None, seed: int = 0
) -> Report:
    """Compare an activation's gradient with differences of L = Σ r·f(x).

    activation: anything activations.get takes. The rest as in check_layer.
    """
    function = activations.get(activation)
    rng = np.random.default_rng(seed)
    inputs = _inputs(x, rng)
    used = kernel_set(kernels)
    y = function.forward(inputs, used).copy()
    r: Array = np.asarray(rng.standard_normal(y.shape))
    variable = Variable("x", inputs, np.array(function.backward(r.copy(), inputs, y, used)))
    return compare(
        f"Activation '{function.name}' ({used.name})",
        lambda: float(np.sum(r * (function.forward(inputs, used) - y))),
        [variable],
        directions,
        rng,
    )


def check_loss(
    loss: Any,
    y_true: Any,
    y_pred: Any,
    *,
    sample_weight: Any = None,
    kernels: Any = "numba",
    directions: int | None = None,
    seed: int = 0,
) -> Report:
    """Compare the gradient of a loss, as training uses it (weighted and divided), with differences of the reduced loss.

    loss: anything losses.get takes. y_true (N, ...), y_pred (N, ..., K): as training would hand them over; not changed.
    """
    function = losses.get(loss)
    used = kernel_set(kernels)
    outputs: Array = np.array(y_pred, np.float64, order="C")
    y_true = np.asarray(y_true)
    if y_true.ndim == 0 or outputs.ndim == 0 or len(y_true) != len(outputs):
        raise DataError(
            f"check_loss: got labels of shape {y_true.shape} and outputs of {outputs.shape}; give one label each."
        )
    function.check(y_true, outputs.shape[1:])
    weight = check_weights(sample_weight, len(outputs), "check_loss", outputs.shape[1:])
    labels = function.align(y_true, outputs)
    at_start, gradient = function.value_and_gradient(labels, outputs, used)
    return compare(
        f"Loss '{function.name}' ({used.name})",
        lambda: function.reduce(function.value_and_gradient(labels, outputs, used)[0] - at_start, weight),
        [Variable("y_pred", outputs, function.scaled(gradient, at_start, weight))],
        directions,
        np.random.default_rng(seed),
    )


def check_model(
    model: Trainer,
    x: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    training: bool = True,
    directions: int | None = 20,
    seed: int = 0,
) -> Report:
    """Compare the gradient of all trained parameters with differences of the loss that fit reports, penalties included.

    The passes are those of the model's plan, with its kernels. x (N, ...), y and sample_weight as in fit;
    training=False checks inference mode. directions: None checks entry by entry.
    Weights, grads and state are as before afterwards.
    Raises NotCompiledError before compile, and ConfigError for a model in float32.
    """
    if not isinstance(model, Trainer):
        raise ConfigError(f"check_model: the first argument must be a model, got {model!r}; make a Sequential.")
    if model.optimizer is None or model.loss is None:
        raise NotCompiledError(f"{model}: call compile(optimizer, loss) before check_model.")
    _need_float64(model, model.dtype)
    x = np.array(as_numeric(x, "check_model: x"), np.float64, order="C")
    model.check_input(x.shape[1:], "check_model")
    model.build_for(x.shape[1:])
    output_shape = model.output_shape_for(x.shape[1:])
    labels = check_labels(y, len(x), model.loss, output_shape, "check_model")
    weight = check_weights(sample_weight, len(x), "check_model", output_shape)
    plan, buffer = model.plan(), model._packed(model.optimizer)
    assert plan.loss is not None
    loss = plan.loss
    run = Run(model.kernels, training=training, seed=model.seed)
    states = [array for layer in model.layers for array in layer.state.values()]

    with _restored(_arrays_of(model.layers)), _restored(states) as reset:
        output, saved = plan.forward(x, run)
        at_start, gradient = loss.value_and_gradient(loss.align(labels, output), output, run.kernels)
        plan.backward(loss.scaled(gradient, at_start, weight), saved, run)
        penalty = buffer.add_penalties(run.kernels)
        variables = [
            Variable(f"{layer.name}/{name}", layer.params[name], layer.grads[name].copy())
            for layer, name in buffer.owners
        ]

        def value() -> float:
            reset()
            output, _ = plan.forward(x, run)
            now, _ = loss.value_and_gradient(loss.align(labels, output), output, run.kernels)
            return loss.reduce(now - at_start, weight) + (buffer.penalty(run.kernels) - penalty)

        return compare(
            _subject(model, training, run.kernels.name), value, variables, directions, np.random.default_rng(seed)
        )


# ---------------------------------------------------------------- what all checks share


@contextmanager
def _restored(arrays: Iterable[Array]) -> Iterator[Callable[[], None]]:
    """Put the arrays' values back at the end of the block, and whenever the function that it gives is called."""
    kept = [(array, array.copy()) for array in arrays]

    def reset() -> None:
        for array, values in kept:
            array[...] = values

    try:
        yield reset
    finally:
        reset()


def _arrays_of(layers: Iterable[Layer]) -> list[Array]:
    return [array for layer in layers for array in (*layer.params.values(), *layer.grads.values())]


def _inputs(x: Any, rng: np.random.Generator) -> Array:
    """A float64 copy of x. For a shape: numbers from −2 to 2, all apart, and apart from 0 and multiples of 1/4."""
    if not isinstance(x, tuple):
        return np.array(as_numeric(x, "gradcheck: x"), np.float64, order="C")
    count = math.prod(x)
    values: Array = (rng.permutation(count) + 0.3) * (4 / max(count, 1)) - 2
    return values.reshape(x)


def _need_float64(owner: Any, dtype: Any) -> None:
    if dtype is not None and dtype != np.float64:
        raise ConfigError(
            f"{owner}: computes in {dtype}, where differences drown in rounding; "
            'make it with dtype="float64" to check it.'
        )


def _subject(owner: Any, training: bool, kernels: str) -> str:
    return f"{owner} ({'training' if training else 'inference'}, {kernels})"
