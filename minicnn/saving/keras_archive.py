"""Keras's .keras archives, of 2.12 to 3.15: a zip file with the model in three members.

    metadata.json      the version of Keras and the date; never needed
    config.json        {"module", "class_name", "config", "registered_name", "compile_config"}
    model.weights.h5   weights and optimizer in Keras 3's layout

Members are written one after the other, uncompressed, with a fixed date, so that the same model gives the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.errors import FileFormatError
from minicnn.saving import keras_3_weights, own_state, safe_json
from minicnn.saving.architecture import ModelEntry
from minicnn.saving.keras_3_weights import Place
from minicnn.saving.model_file import ModelFile, StoredWeights
from minicnn.saving.safe_hdf5 import Reader, opened_image
from minicnn.saving.safe_zip import read_members
from minicnn.typing import Array, Config

PROFILE = "2.15.0"
"""The Keras in whose form it is written. 2.12 to 3.15 read it, but for 2.14 where a class has three layers or more
(keras_3_weights.py); up to 2.11 no Keras knows archives."""

_CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that zip can state
DATE_SAVED = "1980-01-01@00:00:00"
"""What the metadata say, by which an archive of minicnn's is known."""


def read_model(path: Path, parse: Callable[[Config], ModelEntry], with_training: bool = True) -> ModelFile:
    """The whole model in an archive. Arguments and errors as of keras_hdf5.read_model."""
    members = whole_members(path)
    config = config_of(path, members)
    file = ModelFile(config, weights=[], entry=parse(config))
    with opened_image(path, members[WEIGHTS]) as reader:
        file.weights, file.units = _weights(reader, file.entry)
        if with_training:
            read_training(reader, file)
    return file


def read_weights(path: Path, places: Sequence[Place], parse: Callable[[Config], ModelEntry | None]) -> StoredWeights:
    """The weights in an archive, and the optimizer's variables.

    parse: understands the file's configuration, or returns None; the weights are then found by places, those of the
    layers that they are for, as in a file of weights alone.
    """
    members = whole_members(path)
    entry = parse(config_of(path, members))
    with opened_image(path, members[WEIGHTS]) as reader:
        weights, units = (keras_3_weights.read_layers(reader, places), []) if entry is None else _weights(reader, entry)
        optimizer = keras_3_weights.read_optimizer(reader)
        return StoredWeights(weights, keras_optimizer=optimizer, entry=entry, units=units)


def whole_members(path: Path) -> dict[str, bytes]:
    """The members that a model needs. Raises FileFormatError as read_members."""
    return read_members(path, {_CONFIG: safe_json.MAX_CHARACTERS, WEIGHTS: None})


def config_of(path: Path, members: dict[str, bytes]) -> Config:
    """The model's configuration, the compile section included."""
    try:
        text = members[_CONFIG].decode("utf-8")
    except UnicodeDecodeError:
        raise FileFormatError(f"{path}: {_CONFIG} is not text; the file is damaged, get it anew.") from None
    return safe_json.parse_object(text, f"{path}: {_CONFIG}")


def _weights(reader: Reader, entry: Any) -> tuple[Any, list[list[int]]]:
    weights = keras_3_weights.read_layers(reader, [layer.group for layer in entry.layers])
    return weights, [[number] for number in range(len(entry.layers))]


def read_training(reader: Reader, file: ModelFile) -> None:
    """The compile section in the configuration, and the optimizer's state."""
    compiled = file.config.get("compile_config")
    if not compiled:
        return
    if not isinstance(compiled, dict):
        file.problems.append(f"{reader.path}: compile_config is damaged.")
        return
    file.training = compiled
    try:
        file.state = own_state.read(reader)
        if file.state is None or file.state.optimizer is None:
            file.keras_optimizer = keras_3_weights.read_optimizer(reader)
    except FileFormatError as error:
        file.problems.append(str(error))


# -- writing


def image(file: ModelFile, layers: list[tuple[str, list[Array]]], callers: set[str]) -> memoryview:
    """The bytes of an archive that holds the model.

    layers: the class in snake case and the arrays of each. callers: names of classes of the caller's own. Of the file,
    config, training, keras_optimizer and state are written.
    """
    config = with_modules(file.config, callers)
    if file.training is not None:
        config["compile_config"] = _compile_config(file.training, callers)
    optimizer = [np.asarray(array) for _, array in file.keras_optimizer] or None
    weights = keras_3_weights.image(layers, optimizer, file.state)
    metadata = {"keras_version": PROFILE, "date_saved": DATE_SAVED}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (
            (METADATA, safe_json.to_text(metadata, "save").encode()),
            (_CONFIG, safe_json.to_text(config, "save").encode()),
            (WEIGHTS, weights),
        ):
            member = zipfile.ZipInfo(name, _DATE)
            member.create_system = 3  # not the machine's: the bytes are the same everywhere
            member.external_attr = 0o600 << 16
            archive.writestr(member, content)
    return buffer.getbuffer()


def with_modules(config: Config, callers: set[str]) -> Config:
    """A model's configuration that says where Keras 3 finds its classes. callers: as in image."""
    layers = [_wrapped(layer, "keras.layers", callers) for layer in config["config"]["layers"]]
    return {**_wrapped(config, "keras", callers), "config": {**config["config"], "layers": layers}}


def _compile_config(training: Config, callers: set[str]) -> Config:
    return {
        "optimizer": _wrapped(training["optimizer_config"], "keras.optimizers", callers),
        "loss": _wrapped(training["loss"], "keras.losses", callers),
        "loss_weights": None,
        "metrics": [_wrapped(metric, "keras.metrics", callers) for metric in training["metrics"]],
        "weighted_metrics": training["weighted_metrics"]
        and [_wrapped(metric, "keras.metrics", callers) for metric in training["weighted_metrics"]],
        "run_eagerly": False,
        "steps_per_execution": 1,
        "jit_compile": False,
    }


def _wrapped(entry: Any, module: str, callers: set[str]) -> Any:
    """{"class_name", "config"} with where Keras finds the class; a class of the caller's own is registered by name."""
    if not isinstance(entry, dict):
        return entry
    own = entry["class_name"] in callers
    place: Config = {"module": None if own else module, "registered_name": entry["class_name"] if own else None}
    return {**entry, **place}
