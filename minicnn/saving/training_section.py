"""The compile section and the optimizer's state: from a model into a ModelFile, and from there into a model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import losses, metrics, optimizers
from minicnn.errors import FileFormatError, MinicnnWarning
from minicnn.parameters import trainable_owners
from minicnn.saving import dialects, optimizer_state
from minicnn.saving.building import naming
from minicnn.saving.model_file import ModelFile, OptimizerState, TrainingState
from minicnn.typing import Array, Config, Shape

if TYPE_CHECKING:
    from minicnn.models import Sequential

# -- saving


def add_training(file: ModelFile, model: Sequential, optimizer_for: str) -> None:
    """Put into the file how the model is compiled and how far its training has come. optimizer_for: as in save."""
    assert model.optimizer is not None
    assert model.loss is not None
    file.training = {
        "loss": dialects.loss_to_keras(model.loss),
        "metrics": dialects.metrics_to_keras(model._metrics, model.loss),
        "weighted_metrics": dialects.metrics_to_keras(model._weighted_metrics, model.loss) or None,
        "loss_weights": None,
        "optimizer_config": dialects.optimizer_to_keras(optimizers.serialize(model.optimizer)),
    }
    state = _optimizer_state(model)
    file.state = TrainingState(state, model.seed, model._steps_trained, model._epochs_trained)
    if optimizer_for == "keras2":
        since_2_11 = isinstance(model.optimizer, optimizers.AdamW) or model.optimizer.weight_decay is not None
        if since_2_11:
            file.training["optimizer_config"]["class_name"] = f"Custom>{state.class_name}"  # as those versions write it
        if state.iterations:  # Keras 2 writes none before the first step
            own = {f"{layer.name}/{name}": layer.params[name] for layer, name in trainable_owners(model.layers)}
            file.keras_optimizer = optimizer_state.to_keras_2(state, own, since_2_11)


def _optimizer_state(model: Sequential) -> OptimizerState:
    """The slots, cut into one array a trainable parameter. A parameter thawed since the last step has them as new."""
    optimizer, buffer = model.optimizer, model._buffer
    assert optimizer is not None
    packed = [] if buffer is None else zip(buffer.owners, buffer.segments, strict=True)
    places = {(id(layer), name): segment for (layer, name), segment in packed}
    slots: dict[str, list[Array]] = {}
    for slot, values in optimizer.slots.items():
        slots[slot] = []
        for layer, name in trainable_owners(model.layers):
            parameter, place = layer.params[name], places.get((id(layer), name))
            part = optimizer.new_slot(slot, parameter.size, parameter.dtype) if place is None else values[place]
            slots[slot].append(part.reshape(parameter.shape))
    return OptimizerState(type(optimizer).__name__, optimizer.iterations, slots)


# -- loading


def compile_model(model: Sequential, file: ModelFile, path: Path, custom: dict[str, Any]) -> None:
    """Compile as the file says, and bring the optimizer and the random numbers to where they were if they fit."""
    for problem in file.problems:
        warn(f"{problem} The model is loaded without this part.")
    if file.training is None:
        return
    try:
        with naming("compile section"):
            entry = dialects.compile_from_keras(file.training)
            arguments: Config = {
                "optimizer": optimizers.get(entry.optimizer, custom),
                "loss": None if entry.loss is None else losses.get(entry.loss, custom),
                "metrics": [_made_metric(m, custom) for m in entry.metrics],
                "weighted_metrics": [_made_metric(m, custom) for m in entry.weighted_metrics],
            }
            model.compile(**arguments)
    except FileFormatError as error:
        warn(f"{path}: {error} The model is loaded uncompiled; call compile, or give custom_objects to load_model.")
        return
    if not model.built:
        return
    try:
        _restore_training(model, file)
    except FileFormatError as error:
        warn(f"{path}: the optimizer's state does not fit and starts anew: {error}.")


def _made_metric(entry: Any, custom: dict[str, Any]) -> Any:
    """What compile takes for a metric: the caller's own class or function by its name, else the name itself."""
    if isinstance(entry, str):
        return custom.get(entry, entry)
    if entry["class_name"] in custom and not isinstance(custom[entry["class_name"]], type):
        return metrics.MeanMetricWrapper(custom[entry["class_name"]], **entry["config"])
    return metrics.get(entry, custom)


def _restore_training(model: Sequential, file: ModelFile) -> None:
    optimizer = model.optimizer
    assert optimizer is not None
    shapes = [layer.params[name].shape for layer, name in trainable_owners(model.layers)]
    if file.state is not None:
        _restore_slots(model, file.state.optimizer, shapes)
        model._steps_trained, model._epochs_trained = file.state.steps_trained, file.state.epochs_trained
    elif file.keras_optimizer:
        state = optimizer_state.from_keras(type(optimizer).__name__, optimizer.slot_names, shapes, file.keras_optimizer)
        _restore_slots(model, state, shapes)


def _restore_slots(model: Sequential, state: OptimizerState, shapes: list[Shape]) -> None:
    """Lay the slots out like the model's parameter buffer. Raises FileFormatError if they are not this optimizer's."""
    optimizer = model.optimizer
    assert optimizer is not None
    if state.class_name != type(optimizer).__name__ or not set(state.slots) <= set(optimizer.slot_names):
        raise FileFormatError(
            f"it is that of {state.class_name} with slots {list(state.slots)}, the optimizer is {optimizer}"
        )
    for slot, arrays in state.slots.items():
        if [array.shape for array in arrays] != shapes:
            raise FileFormatError(f"slot {slot!r} has not the shapes of the trainable parameters")
        if not all(np.isfinite(array).all() for array in arrays):
            raise FileFormatError(f"slot {slot!r} holds numbers that are NaN or infinite")
    buffer = model._packed(optimizer)  # first, so that a later change of `trainable` finds whose slots these are
    for slot, arrays in state.slots.items():
        values = optimizer.new_slot(slot, buffer.weights.size, buffer.weights.dtype)
        for segment, array in zip(buffer.segments, arrays, strict=True):
            values[segment] = array.reshape(-1)
        optimizer.slots[slot] = values
    optimizer.iterations = state.iterations


def warn(message: str) -> None:
    """Give a MinicnnWarning that points to the caller of load_model or load_weights, three calls above the caller."""
    warnings.warn(message, MinicnnWarning, stacklevel=5)
