"""The compile section and the optimizer's state: from a model into a ModelFile, and from there into a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import losses, metrics, optimizers
from minicnn.errors import FileFormatError
from minicnn.progress import warn
from minicnn.saving import compile_section, optimizer_state
from minicnn.saving.building import naming
from minicnn.saving.matching import Origin
from minicnn.saving.model_file import ModelFile, NamedArrays, OptimizerState, TrainingState
from minicnn.typing import Array, Config, Shape

if TYPE_CHECKING:
    from minicnn.models import Sequential

# -- saving


def add_training(file: ModelFile, model: Sequential, optimizer_for: str, archive: bool = False) -> None:
    """Put into the file how the model is compiled and how far its training has come. optimizer_for: as in save.

    archive: whether it is for a .keras file, whose optimizer variables every Keras that reads it takes over.
    """
    assert model.optimizer is not None
    assert model.loss is not None
    file.training = {
        "loss": compile_section.loss_to_keras(model.loss),
        "metrics": compile_section.metrics_to_keras(model._metrics, model.loss),
        "weighted_metrics": compile_section.metrics_to_keras(model._weighted_metrics, model.loss) or None,
        "loss_weights": None,
        "optimizer_config": compile_section.optimizer_to_keras(optimizers.serialize(model.optimizer)),
    }
    state = _optimizer_state(model)
    file.state = TrainingState(state, model.seed, model._steps_trained, model._epochs_trained)
    if archive:
        variables = keras_3_variables(model, with_rate=optimizer_for == "keras3")
        if variables is not None:
            file.keras_optimizer = [(str(number), array) for number, array in enumerate(variables)]
            file.state.optimizer = None
    elif optimizer_for == "keras2":
        since_2_11 = isinstance(model.optimizer, optimizers.AdamW) or model.optimizer.weight_decay is not None
        if since_2_11:
            file.training["optimizer_config"]["class_name"] = f"Custom>{state.class_name}"  # as those versions write it
        if state.iterations:  # Keras 2 writes none before the first step
            parameters = trainable_parameters(model)
            file.keras_optimizer = optimizer_state.to_keras_2(state, parameters, since_2_11)


def keras_3_variables(model: Sequential, with_rate: bool = True) -> list[Array] | None:
    """The optimizer's variables in Keras 3's order; None before the first step, and for optimizers not of Keras.

    with_rate: False leaves out the learning rate, as Keras 2 does; each then takes over its own state alone.
    """
    optimizer = model.optimizer
    if optimizer is None or not optimizer.iterations or type(optimizer).__name__ not in optimizer_state.GROUPS:
        return None
    rate = optimizer.learning_rate if with_rate and not optimizer.follows_schedule else None
    state = _optimizer_state(model)
    if not with_rate:
        state = optimizer_state.add_unused_momentum(state, trainable_parameters(model).values())
    return optimizer_state.to_keras_3(state, None if rate is None else float(rate))


def trainable_parameters(model: Sequential) -> dict[str, Array]:
    """The trained arrays by name, "conv2d/kernel" and so on, in order."""
    return {f"{layer.name}/{name}": layer.params[name] for layer, name in model._trained()}


def _optimizer_state(model: Sequential) -> OptimizerState:
    """The slots, one array a trainable parameter; a parameter thawed since the last step has those from before.

    Parameters that are frozen have none in a file: thawed after loading, they begin with new ones.
    """
    optimizer, buffer = model.optimizer, model._buffer
    assert optimizer is not None
    known = {} if buffer is None else {(id(layer), name): s for layer, name, s in buffer.known_slots(optimizer)}
    slots: dict[str, list[Array]] = {slot: [] for slot in optimizer.slots}
    for layer, name in model._trained():
        parameter, own = layer.params[name], known.get((id(layer), name), {})
        for slot, arrays in slots.items():
            part = own[slot] if slot in own else optimizer.new_slot(slot, parameter.size, parameter.dtype)
            arrays.append(part.reshape(parameter.shape))
    return OptimizerState(type(optimizer).__name__, optimizer.iterations, slots)


# -- loading


def compile_model(
    model: Sequential, file: ModelFile, path: Path, custom: dict[str, Any], origin: dict[str, Origin]
) -> None:
    """Compile as the file says, and bring the optimizer and the random numbers to where they were if they fit.

    origin: by layer's name, how the file holds arrays.
    """
    for problem in file.problems:
        warn(f"{problem} The model is loaded without this part.")
    if file.training is None:
        return
    try:
        with naming("compile section"):
            entry = compile_section.compile_from_keras(file.training)
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
        _restore_training(model, file, origin)
    except FileFormatError as error:
        warn(f"{path}: the optimizer's state does not fit and starts anew: {error}.")


def _made_metric(entry: Any, custom: dict[str, Any]) -> Any:
    """What compile takes for a metric: the caller's own class or function by its name, else the name itself."""
    if isinstance(entry, str):
        return custom.get(entry, entry)
    if entry["class_name"] in custom and not isinstance(custom[entry["class_name"]], type):
        return metrics.MeanMetricWrapper(custom[entry["class_name"]], **entry["config"])
    return metrics.get(entry, custom)


def restore_optimizer(model: Sequential, stored: NamedArrays, origin: dict[str, Origin], path: Path) -> None:
    """Bring the optimizer of a model that has trained to where a file of weights says; as in Keras no other."""
    if not stored or model.optimizer is None or not model.optimizer.iterations:
        return
    try:
        _restore_variables(model, stored, origin)
    except FileFormatError as error:
        warn(f"{path}: the optimizer's state does not fit and stays as it is: {error}.")


def _restore_training(model: Sequential, file: ModelFile, origin: dict[str, Origin]) -> None:
    if file.state is not None and file.state.optimizer is not None:
        shapes = [layer.params[name].shape for layer, name in model._trained()]
        _restore_slots(model, file.state.optimizer, shapes)
    elif file.keras_optimizer:
        _restore_variables(model, file.keras_optimizer, origin)
    if file.state is not None:
        model._steps_trained, model._epochs_trained = file.state.steps_trained, file.state.epochs_trained


def _restore_variables(model: Sequential, stored: NamedArrays, origin: dict[str, Origin]) -> None:
    """Take over Keras's variables: the slots, the counter and, where it is among them, the learning rate."""
    optimizer = model.optimizer
    assert optimizer is not None
    owners = model._trained()
    in_file = [origin[layer.name].stored_shape(name, layer.params[name].shape) for layer, name in owners]
    orders = optimizer_state.orders([(layer.name, name) for layer, name in owners])
    state = optimizer_state.from_keras(type(optimizer).__name__, optimizer.slot_names, in_file, stored, orders)
    for slot, arrays in state.slots.items():
        state.slots[slot] = [
            origin[layer.name].ours(layer, name, array) for (layer, name), array in zip(owners, arrays, strict=True)
        ]
    rate = optimizer_state.stored_rate(stored)
    if rate is not None and not 0 <= rate < math.inf:
        raise FileFormatError(f"the learning rate is {rate}")
    _restore_slots(model, state, [layer.params[name].shape for layer, name in owners])
    if rate is None or optimizer.follows_schedule:
        return
    if np.float32(optimizer.learning_rate) != np.float32(rate):  # else the configuration's is the more exact one
        optimizer.learning_rate = rate


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
    if optimizer.slots and not state.slots:
        raise FileFormatError(f"it is from before the first step, without {' and '.join(optimizer.slots)}")
    buffer = model._packed(optimizer)  # first, so that a later change of `trainable` finds whose slots these are
    for slot, arrays in state.slots.items():
        values = optimizer.new_slot(slot, buffer.weights.size, buffer.weights.dtype)
        for segment, array in zip(buffer.segments, arrays, strict=True):
            values[segment] = array.reshape(-1)
        optimizer.slots[slot] = values
    optimizer.iterations = state.iterations
