"""Keras's HDF5 layouts: whole models (.h5 of Keras 2 and 3) and weights alone (save_weights of Keras 2).

    /                    @model_config, @training_config (JSON), @keras_version, @backend
    /model_weights       @layer_names; a group a layer with @weight_names and its arrays        a file of weights has
    /optimizer_weights   @weight_names and their arrays                                        this at its root
    /minicnn_optimizer   @state (JSON); a group a slot with arrays 0, 1, ...

Names are Keras 2.4's. The order is that of the name lists, never that of the groups. The last group is minicnn's own,
which every Keras ignores: a TrainingState, with one array for each slot and trainable parameter.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from minicnn.errors import FileFormatError
from minicnn.saving import safe_json
from minicnn.saving.model_file import LayerWeights, ModelFile, NamedArrays, OptimizerState, TrainingState
from minicnn.saving.safe_hdf5 import Reader, opened
from minicnn.typing import Config

PROFILE = "2.4.0"
"""The Keras whose layout is written, as the one that every later Keras reads."""

_MAX_NAMES_BYTES = 64512  # of one attribute; Keras splits longer lists
_STATE_GROUP = "minicnn_optimizer"
_STATE_FORMAT = 1

# -- reading


def read_model(path: Path, with_training: bool = True) -> ModelFile:
    """The whole model in an HDF5 file. with_training: read the compile section and the optimizer's state too.

    Raises FileFormatError for what is not such a file. What is wrong with the training part alone becomes a line
    in `problems`.
    """
    with opened(path) as reader:
        text = reader.text(reader.root, "model_config")
        if text is None:
            raise FileFormatError(f"{path}: {_what_is_there(reader)}")
        file = ModelFile(safe_json.parse_object(text, f"{path}: model_config"), weights=[])
        if "model_weights" not in reader.root:
            raise FileFormatError(f"{path}: has a model's configuration but no weights; save the model again in Keras.")
        weights = reader.group(reader.root, "model_weights")
        file.weights = _read_weights(reader, weights)
        file.backend = reader.text(weights, "backend") or reader.text(reader.root, "backend") or "tensorflow"
        if with_training:
            _read_training(reader, file)
        return file


def read_weights(path: Path) -> tuple[list[LayerWeights], str]:
    """The weights in a file of weights or of a whole model, and the backend that wrote them."""
    with opened(path) as reader:
        group = reader.root
        if reader.names(group, "layer_names") is None:
            if "model_weights" not in group:
                raise FileFormatError(f"{path}: {_what_is_there(reader)}")
            group = reader.group(group, "model_weights")
        return _read_weights(reader, group), reader.text(group, "backend") or "tensorflow"


def _what_is_there(reader: Reader) -> str:
    root = reader.root
    if "layers" in root or "_layer_checkpoint_dependencies" in root:
        return (
            "holds weights in the layout of Keras 3's .weights.h5, which minicnn does not read; save the model as .h5."
        )
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return "holds weights alone, no model; build the model and call load_weights."
    return "is HDF5, but neither a Keras model (no model_config) nor weights (no layer_names); give another file."


def _read_weights(reader: Reader, group: h5py.Group) -> list[LayerWeights]:
    layers = reader.names(group, "layer_names")
    if layers is None:
        raise FileFormatError(f"{reader.path}: the weights have no layer_names; the file is damaged.")
    result = []
    for layer in layers:
        layer_group = reader.group(group, layer)
        names = reader.names(layer_group, "weight_names")
        if names is None:
            raise FileFormatError(f"{reader.path}: layer {layer!r} has no weight_names; the file is damaged.")
        arrays = [(f"{layer}: {name}", reader.array(layer_group, name)) for name in names]
        result.append(LayerWeights(layer, arrays))
    return result


def _read_training(reader: Reader, file: ModelFile) -> None:
    root = reader.root
    try:
        text = reader.text(root, "training_config")
        if text is not None:
            file.training = safe_json.parse_object(text, f"{reader.path}: training_config")
    except FileFormatError as error:
        file.problems.append(str(error))
    try:
        if _STATE_GROUP in root:
            file.state = _read_state(reader, reader.group(root, _STATE_GROUP))
        elif "optimizer_weights" in root:
            group = reader.group(root, "optimizer_weights")
            file.keras_optimizer = [
                (name, reader.array(group, name)) for name in reader.names(group, "weight_names") or ()
            ]
    except FileFormatError as error:
        file.problems.append(str(error))


def _read_state(reader: Reader, group: h5py.Group) -> TrainingState:
    owner = f"{reader.path}: {_STATE_GROUP}"
    state = safe_json.parse_object(reader.text(group, "state") or "", owner)
    if state.get("format") != _STATE_FORMAT:
        raise FileFormatError(f"{owner}: has format {state.get('format')!r}, not {_STATE_FORMAT}; update minicnn.")
    numbers = {key: state.get(key) for key in ("iterations", "seed", "steps_trained", "epochs_trained", "parameters")}
    slots, class_name = state.get("slots"), state.get("class_name")
    if (
        not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers.values())
        or not isinstance(slots, list)
        or not all(isinstance(slot, str) for slot in slots)
        or not isinstance(class_name, str)
    ):
        raise FileFormatError(f"{owner}: its state is damaged; load the model with compile=False.")
    count: int = numbers["parameters"]  # type: ignore[assignment]
    arrays = {}
    for slot in slots:
        slot_group = reader.group(group, slot)
        arrays[slot] = [reader.array(slot_group, str(number)) for number in range(count)]
    optimizer = OptimizerState(class_name, state["iterations"], arrays)
    return TrainingState(optimizer, state["seed"], state["steps_trained"], state["epochs_trained"])


# -- writing


def model_image(file: ModelFile) -> memoryview:
    """The bytes of an HDF5 file that holds the model. The same model gives the same bytes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as root:
        root.attrs["keras_version"] = PROFILE
        root.attrs["backend"] = file.backend
        root.attrs["model_config"] = safe_json.to_text(file.config, "save").encode()
        if file.training is not None:
            root.attrs["training_config"] = safe_json.to_text(file.training, "save").encode()
        _write_weights(root.create_group("model_weights"), file.weights)
        if file.keras_optimizer:
            _write_arrays(root.create_group("optimizer_weights"), file.keras_optimizer)
        if file.state is not None:
            _write_state(root.create_group(_STATE_GROUP), file.state)
    return buffer.getbuffer()


def weights_image(weights: list[LayerWeights]) -> memoryview:
    """The bytes of an HDF5 file that holds weights alone, as Keras 2's save_weights writes it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as root:
        _write_weights(root, weights)
    return buffer.getbuffer()


def _write_weights(group: h5py.Group, weights: list[LayerWeights]) -> None:
    group.attrs["keras_version"] = PROFILE
    group.attrs["backend"] = "tensorflow"
    _put_names(group, "layer_names", [entry.layer for entry in weights])
    for entry in weights:
        _write_arrays(group.create_group(entry.layer), entry.arrays)


def _write_arrays(group: h5py.Group, arrays: NamedArrays) -> None:
    _put_names(group, "weight_names", [name for name, _ in arrays])
    for name, array in arrays:
        _put_array(group, name, array)


def _write_state(group: h5py.Group, state: TrainingState) -> None:
    optimizer = state.optimizer
    config: Config = {
        "format": _STATE_FORMAT,
        "class_name": optimizer.class_name,
        "iterations": optimizer.iterations,
        "slots": list(optimizer.slots),
        "parameters": max((len(arrays) for arrays in optimizer.slots.values()), default=0),
        "seed": state.seed,
        "steps_trained": state.steps_trained,
        "epochs_trained": state.epochs_trained,
    }
    group.attrs["state"] = safe_json.to_text(config, "save").encode()
    for slot, arrays in optimizer.slots.items():
        slot_group = group.create_group(slot)
        for number, array in enumerate(arrays):
            _put_array(slot_group, str(number), array)


def _put_array(group: h5py.Group, name: str, array: Any) -> None:
    array = np.asarray(array)
    little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
    group.create_dataset(name, data=little_endian, track_times=False)  # times would make every file different


def _put_names(group: h5py.Group, name: str, values: list[str]) -> None:
    """A list of names as Keras writes it: fixed width; empty as float64; split where too long for one attribute."""
    encoded = [value.encode() for value in values]
    width = max(map(len, encoded), default=0)
    if width * len(encoded) <= _MAX_NAMES_BYTES:
        group.attrs[name] = np.array(encoded, f"S{width}") if encoded else np.empty(0)
        return
    if width > _MAX_NAMES_BYTES:
        raise FileFormatError(f"save: a name of {width} bytes is too long for HDF5; name the layer shorter.")
    parts = -(-width * len(encoded) // _MAX_NAMES_BYTES)
    while -(-len(encoded) // parts) * width > _MAX_NAMES_BYTES:
        parts += 1
    for number, part in enumerate(np.array_split(np.array(encoded, f"S{width}"), parts)):
        group.attrs[f"{name}{number}"] = part
