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
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from minicnn.errors import FileFormatError
from minicnn.saving import keras_3_weights, own_state, safe_json
from minicnn.saving.architecture import MAX_LAYERS, ModelEntry
from minicnn.saving.keras_3_weights import Place
from minicnn.saving.model_file import LayerWeights, ModelFile, NamedArrays, StoredWeights
from minicnn.saving.safe_hdf5 import Reader, opened, put_array
from minicnn.typing import Config

PROFILE = "2.4.0"
"""The Keras whose layout is written, as the one that every later Keras reads."""

_MAX_NAMES_BYTES = 64512  # of one attribute; Keras splits longer lists

# -- reading


Parse = Callable[[Config], ModelEntry]
"""Understands a model_config, or raises FileFormatError."""


def read_model(path: Path, parse: Parse, with_training: bool = True) -> ModelFile:
    """The whole model in an HDF5 file. with_training: read the compile section and the optimizer's state too.

    Raises FileFormatError for what is not such a file. What is wrong with the training part alone becomes a line
    in `problems`.
    """
    with opened(path) as reader:
        text = reader.text(reader.root, "model_config")
        if text is None:
            raise FileFormatError(f"{path}: {what_is_there(reader)}")
        file = ModelFile(safe_json.parse_object(text, f"{path}: model_config"), weights=[])
        if "model_weights" not in reader.root:
            raise FileFormatError(f"{path}: has a model's configuration but no weights; save the model again in Keras.")
        weights = reader.group(reader.root, "model_weights")
        file.weights = read_layers(reader, weights)
        file.backend = reader.text(weights, "backend") or reader.text(reader.root, "backend")
        file.entry = parse(file.config)
        file.units = file.entry.units()
        if with_training:
            read_training(reader, file)
        return file


def read_weights(path: Path, places: Sequence[Place], parse: Callable[[Config], ModelEntry | None]) -> StoredWeights:
    """The weights in a file of weights, in either layout, or of a whole model.

    places: of the layers that the weights are for, for Keras 3's layout, which does not say their order. parse:
    understands a model_config, or returns None.
    """
    with opened(path) as reader:
        root = reader.root
        if keras_3_weights.is_this_layout(root) and not holds_weights(root):  # which a layer "layers" makes alike
            weights = keras_3_weights.read_layers(reader, places)
            return StoredWeights(weights, keras_optimizer=keras_3_weights.read_optimizer(reader))
        group = root
        if reader.names(root, "layer_names") is None and "nb_layers" not in root.attrs:
            if "model_weights" not in root:
                raise FileFormatError(f"{path}: {what_is_there(reader)}")
            group = reader.group(root, "model_weights")
        backend = reader.text(group, "backend") or reader.text(root, "backend")
        version = reader.text(group, "keras_version") or reader.text(root, "keras_version") or "1"
        stored = StoredWeights(read_layers(reader, group), backend, version.startswith(("0", "1")))
        text = reader.text(root, "model_config")
        if text is not None:  # not needed to match most models, but it tells of channels_first and nested ones
            config: Config = {}
            with suppress(FileFormatError):
                config = safe_json.parse_object(text, f"{path}: model_config")
            stored.entry = parse(config)
            stored.units = [] if stored.entry is None else stored.entry.units()
        return stored


def holds_weights(root: h5py.Group) -> bool:
    """Whether it is a file of weights alone, in Keras 1's and 2's layout."""
    return any(name in root.attrs for name in ("layer_names", "layer_names0", "nb_layers"))


def what_is_there(reader: Reader) -> str:
    """Why a file without model_config is no model, and what to do."""
    root = reader.root
    if keras_3_weights.is_this_layout(root) or holds_weights(root):
        return "holds weights alone, no model; build the model and call load_weights."
    return "is HDF5, but neither a Keras model (no model_config) nor weights (no layer_names); give another file."


def read_layers(reader: Reader, group: h5py.Group) -> list[LayerWeights]:
    """The arrays of all layers, in the order of their names."""
    layers = reader.names(group, "layer_names")
    if layers is None and "nb_layers" in group.attrs:
        return _read_numbered(reader, group)
    if layers is None:
        raise FileFormatError(f"{reader.path}: the weights have no layer_names; the file is damaged, get it anew.")
    if len(layers) > MAX_LAYERS:
        raise FileFormatError(
            f"{reader.path}: has weights of {len(layers)} layers, more than the {MAX_LAYERS} that minicnn reads."
        )
    return [read_layer(reader, group, layer) for layer in layers]


def read_layer(reader: Reader, group: h5py.Group, layer: str) -> LayerWeights:
    """The arrays of one layer, in the order of their names."""
    layer_group = reader.group(group, layer)
    names = reader.names(layer_group, "weight_names")
    if names is None:
        raise FileFormatError(f"{reader.path}: layer {layer!r} has no weight_names; the file is damaged, get it anew.")
    return LayerWeights(layer, [(f"{layer}: {name}", reader.array(layer_group, name)) for name in names])


def _read_numbered(reader: Reader, group: h5py.Group) -> list[LayerWeights]:
    """The first layout, of 2015: groups layer_0, layer_1, ... of arrays param_0, param_1, ..."""
    result = []
    for number in range(len(group)):
        layer = f"layer_{number}"
        layer_group = reader.group(group, layer)
        arrays = [(f"{layer}: {k}", reader.array(layer_group, f"param_{k}")) for k in range(len(layer_group))]
        result.append(LayerWeights(layer, arrays))
    return result


def read_training(reader: Reader, file: ModelFile) -> None:
    """The compile section and the optimizer's state; what is wrong with them becomes a line in `problems`."""
    root = reader.root
    try:
        text = reader.text(root, "training_config")
        if text is not None:
            file.training = safe_json.parse_object(text, f"{reader.path}: training_config")
    except FileFormatError as error:
        file.problems.append(str(error))
    try:
        file.state = own_state.read(reader)
        if file.state is None and "optimizer_weights" in root:
            group = reader.group(root, "optimizer_weights")
            file.keras_optimizer = [
                (name, reader.array(*_place(reader, group, name))) for name in reader.names(group, "weight_names") or ()
            ]
    except FileFormatError as error:
        file.problems.append(str(error))


def _place(reader: Reader, group: h5py.Group, name: str) -> tuple[h5py.Group, str]:
    """Where an optimizer's variable lies: on Theano the counter was called "/iterations" and went to the root."""
    return (reader.root, name[1:]) if name == "/iterations" else (group, name)


# -- writing


def model_image(file: ModelFile) -> memoryview:
    """The bytes of an HDF5 file that holds the model. The same model gives the same bytes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as root:
        root.attrs["keras_version"] = PROFILE
        root.attrs["backend"] = "tensorflow"
        root.attrs["model_config"] = safe_json.to_text(file.config, "save").encode()
        if file.training is not None:
            root.attrs["training_config"] = safe_json.to_text(file.training, "save").encode()
        _write_weights(root.create_group("model_weights"), file.weights)
        if file.keras_optimizer:
            _write_arrays(root.create_group("optimizer_weights"), file.keras_optimizer)
        if file.state is not None:
            own_state.write(root, file.state)
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
        put_array(group, name, array)


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
