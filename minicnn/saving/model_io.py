"""From a Sequential to a file and back: what models.save, save_weights, load_weights and load_model call."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import activations
from minicnn.errors import ConfigError, FileFormatError
from minicnn.layers import LAYERS, Layer
from minicnn.layers.shapes import sample_shape
from minicnn.naming import snake_case
from minicnn.progress import warn
from minicnn.saving import (
    architecture,
    atomic,
    dialects,
    keras_3_weights,
    keras_archive,
    keras_hdf5,
    matching,
    safe_json,
    safe_zip,
)
from minicnn.saving.architecture import ModelEntry
from minicnn.saving.building import built_model, make_layer, naming, understood
from minicnn.saving.keras_3_weights import Place
from minicnn.saving.model_file import LayerWeights, ModelFile
from minicnn.saving.safe_hdf5 import file_start
from minicnn.saving.training_section import add_training, compile_model, keras_3_variables, restore_optimizer
from minicnn.typing import Array, Config, Shape

if TYPE_CHECKING:
    from minicnn.models import Sequential

SUFFIXES = (".h5", ".hdf5", ".keras")
"""Of the files that are written; weights alone are not written as .keras. Reading goes by content, not by name."""

BACKENDS = ("tensorflow", "theano", "cntk", "jax", "torch")

CustomObjects = Mapping[str, Any]
FilePath = str | os.PathLike[str]


def as_path(filepath: Any, method: str) -> Path:
    """filepath as a Path. Raises ConfigError for what is no path: a number, None, bytes, text with a NUL."""
    try:
        path = Path(filepath)
    except TypeError:
        path = None
    if path is None or "\0" in str(path):
        raise ConfigError(f"{method}: filepath must be a string or a Path, got {filepath!r}.")
    return path


# -- saving


def save_model(
    model: Sequential, filepath: FilePath, overwrite: bool, include_optimizer: bool, optimizer_for: str
) -> None:
    """Write the whole model. See Sequential.save."""
    path = as_path(filepath, "save")
    if optimizer_for not in ("keras3", "keras2"):
        raise ConfigError(f'save: optimizer_for must be "keras3" or "keras2", got {optimizer_for!r}.')
    atomic.check_target(path, overwrite, SUFFIXES, "save")
    archive = path.suffix.lower() == ".keras"
    model._need_built("save")
    file = ModelFile(_config_of(model), _weights_of(model))
    if include_optimizer and model.optimizer is not None and model.loss is not None:
        add_training(file, model, optimizer_for, archive)
    if archive:
        image = keras_archive.image(file, _arrays_by_class(model), _callers(model))
    else:
        image = keras_hdf5.model_image(file)
    atomic.write_whole(path, image)
    _warn_of_what_keras_refuses(model, path)


_LAYER_NAME = re.compile(r"[A-Za-z0-9_.>-]+")
_MODEL_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.>-]*")
"""What TensorFlow takes as the name of a scope; Keras opens one for the model, and in it one for each layer."""


def _warn_of_what_keras_refuses(model: Sequential, path: Path) -> None:
    for problem in what_keras_refuses(model):
        warn(f"save: {path} serves minicnn, but Keras fails on it: {problem}")


def what_keras_refuses(model: Sequential) -> Iterator[str]:
    """What a Keras that reads the model's file would stumble on, each with a remedy."""
    if not _MODEL_NAME.fullmatch(model.name):
        yield f"the model's name {model.name!r} has characters that it refuses; use letters, digits and '_'."
    for layer in model.layers:
        if not _LAYER_NAME.fullmatch(layer.name):
            yield f"the layer's name {layer.name!r} has characters that it refuses; use letters, digits and '_'."
        form = layer.get_config().get("activation") if type(layer) in LAYERS.values() else None
        if isinstance(form, dict) and form["class_name"] in activations.ACTIVATIONS:  # one of ours, with parameters
            name, values = form["class_name"], list(form["config"].values())
            remedy = f"use a LeakyReLU({values[0]}) layer" if name == "leaky_relu" else f"use {name!r} without them"
            yield f"{layer} has the activation {name!r} with parameters {form['config']}; {remedy}."


def to_json(model: Sequential) -> str:
    """The layers as text. See Sequential.to_json."""
    return safe_json.to_text(keras_archive.with_modules(_config_of(model), _callers(model)), "to_json")


def model_from_json(text: Any, custom_objects: CustomObjects | None) -> Sequential:
    """The model in such a text. See models.model_from_json."""
    from minicnn.models import Sequential

    if not isinstance(text, str):
        raise ConfigError(f"model_from_json: json_string must be a string, got {text!r}.")
    _check_custom_objects(custom_objects, "model_from_json")
    owner, custom = Path("model_from_json"), dict(custom_objects or {})
    entry = understood(safe_json.parse_object(text, str(owner)), owner, custom)
    model = Sequential(name=entry.name, dtype=entry.dtype or "float32")
    with naming(str(owner)):
        for layer in entry.layers:
            model.add(make_layer(layer, custom))
    return model


def _config_of(model: Sequential) -> Config:
    layers = [_layer_entry(model, entry) for entry in model.get_config()["layers"]]
    return architecture.model_to_keras(model.name, layers)


def _layer_entry(model: Sequential, entry: Config) -> Config:
    """A layer's configuration as Keras reads it; that of a class of the caller's own as it is."""
    name = entry["class_name"]
    return dialects.layer_to_keras(name, entry["config"], model.dtype.name, ours=name not in _callers(model))


def _callers(model: Sequential) -> set[str]:
    """The names of classes of the caller's own, but for schedules, whose configuration says it itself."""
    names = {type(layer).__name__ for layer in model.layers if type(layer) is not LAYERS.get(type(layer).__name__)}
    parts = [*model.layers, model.optimizer, model.loss, *model._metrics, *model._weighted_metrics]
    classes = [part if isinstance(part, type) else type(part) for part in parts]
    return names | {cls.__name__ for cls in classes if not cls.__module__.startswith("minicnn.")}


def _arrays_by_class(model: Sequential) -> list[tuple[str, list[Array]]]:
    return [(snake_case(type(layer).__name__), list(layer.weights().values())) for layer in model.layers]


def save_weights(model: Sequential, filepath: FilePath, overwrite: bool) -> None:
    """Write the weights alone. See Sequential.save_weights."""
    path = as_path(filepath, "save_weights")
    atomic.check_target(path, overwrite, SUFFIXES[:2], "save_weights")
    model._need_built("save_weights")
    weights = _weights_of(model)
    if path.name.lower().endswith(".weights.h5"):
        image = memoryview(keras_3_weights.image(_arrays_by_class(model), keras_3_variables(model)))
    else:
        image = keras_hdf5.weights_image(weights)
    atomic.write_whole(path, image)


def _weights_of(model: Sequential) -> list[LayerWeights]:
    """Every layer's arrays, named as in Keras 2: conv2d/kernel:0."""
    result = []
    for layer in model.layers:
        for name in layer.weights():
            if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in layer.name + name:
                raise ConfigError(f"{layer}: the name {name!r} of an array cannot be saved; use letters and digits.")
        arrays = [(f"{layer.name}/{name}:0", array) for name, array in layer.weights().items()]
        result.append(LayerWeights(layer.name, arrays))
    return result


# -- loading


def _check_custom_objects(custom_objects: Any, owner: str) -> None:
    if not isinstance(custom_objects, Mapping | None):
        raise ConfigError(f"{owner}: custom_objects must be a dict of classes by name, got {custom_objects!r}.")


def load_model(
    filepath: FilePath,
    custom_objects: CustomObjects | None = None,
    compile: bool = True,
    **kwargs: Any,
) -> Sequential:
    """Read a whole model. See models.load_model."""
    path = as_path(filepath, "load_model")
    _check_custom_objects(custom_objects, "load_model")
    if not kwargs.pop("safe_mode", True):
        raise ConfigError("load_model: safe_mode=False is not supported; minicnn never executes what a file holds.")
    backend = _backend(kwargs.pop("backend", None), "load_model")
    input_shape = kwargs.pop("input_shape", None)
    for key in kwargs.keys() - {"seed", "dtype", "kernels"}:
        raise ConfigError(
            f"load_model: unknown argument {key!r}; it takes custom_objects, compile, seed, dtype, kernels, backend "
            "and input_shape."
        )
    custom = dict(custom_objects or {})
    file = _read_model(path, custom, compile)
    if input_shape is not None:
        _set_input_shape(file, sample_shape(input_shape, "load_model: input_shape"))
    if file.state is not None and kwargs.get("seed") is None:
        kwargs["seed"] = file.state.seed
    model = built_model(file, path, custom, kwargs)
    origin = matching.origins(model.layers, file.entry, file.backend or backend)
    if model.built:
        _set_weights(model, file.weights, _units(model, file.entry, file.units), origin, path)
    _warn_of_what_is_other(model, file, path)
    if compile:
        compile_model(model, file, path, custom, origin)
    return model


def _set_input_shape(file: ModelFile, shape: Shape) -> None:
    assert file.entry is not None
    if file.entry.layers:
        file.entry.layers[0].config["batch_shape"] = (None, *shape)


def _warn_of_what_is_other(model: Sequential, file: ModelFile, path: Path) -> None:
    assert file.entry is not None
    left_out, narrow = file.entry.left_out(), ", ".join(file.entry.narrow)
    if narrow:
        warn(
            f"{path}: is a model that computes in {narrow}, which is widened to {model.dtype}: predictions differ from "
            "Keras's by its rounding."
        )
    if left_out:
        warn(
            f"{path}: minicnn does not have, and leaves out: {', '.join(left_out)}. This acts in training alone: the "
            "model predicts the same."
        )


def _read_model(path: Path, custom: dict[str, Any], with_training: bool) -> ModelFile:
    read = keras_archive.read_model if _is_archive(path) else keras_hdf5.read_model
    return read(path, lambda config: understood(config, path, custom), with_training)


def _is_archive(path: Path) -> bool:
    return file_start(path).startswith(safe_zip.SIGNATURE)


def load_weights(
    model: Sequential, filepath: FilePath, backend: str | None = None, data_format: str | None = None
) -> None:
    """Take over the weights of a file, or change nothing. See Sequential.load_weights."""
    path = as_path(filepath, "load_weights")
    backend = _backend(backend, "load_weights")
    if data_format not in (None, "channels_last", "channels_first"):
        raise ConfigError(
            f'load_weights: data_format must be None, "channels_last" or "channels_first", got {data_format!r}.'
        )
    model._need_built("load_weights")
    custom = {type(layer).__name__: type(layer) for layer in model.layers}

    problems: list[FileFormatError] = []

    def parse(config: Config) -> ModelEntry | None:
        """None for what is not understood; but it has to be where maps are channels_first, which changes the order."""
        try:
            return understood(config, path, {name: cls for name, cls in custom.items() if LAYERS.get(name) is not cls})
        except FileFormatError as error:
            text = safe_json.to_text(config, "load_weights")
            if data_format is None and ('"channels_first"' in text or '"th"' in text):  # the latter in Keras 1
                raise
            problems.append(error)
            return None

    read = keras_archive.read_weights if _is_archive(path) else keras_hdf5.read_weights
    try:
        stored = read(path, _places(model), parse)
    except FileFormatError as error:
        if not problems:
            raise
        raise FileFormatError(f"{error} {problems[0]}") from error
    backend = stored.backend or backend
    origin = matching.origins(model.layers, stored.entry, backend)
    if stored.entry is None:
        filters_first = stored.keras_1 and matching.stores_filters_first(model.layers, stored.weights)
        if filters_first or data_format == "channels_first":
            origin = matching.origins_of_channels_first(model.layers, backend, filters_first)
    _set_weights(model, stored.weights, _units(model, stored.entry, stored.units), origin, path)
    restore_optimizer(model, stored.keras_optimizer, origin, path)


def _backend(value: Any, owner: str) -> str | None:
    if value is None or (isinstance(value, str) and value in BACKENDS):
        return value
    raise ConfigError(f"{owner}: backend must be None or one of {', '.join(map(repr, BACKENDS))}, got {value!r}.")


def _places(model: Sequential) -> list[Place]:
    """Where Keras 3 stores the weights of each layer."""
    counts: Counter[str] = Counter()
    places: list[Place] = []
    for layer in model.layers:
        kind = snake_case(type(layer).__name__)
        places.append(((kind, counts[kind]),))
        counts[kind] += 1
    return places


def _units(model: Sequential, entry: ModelEntry | None, units: list[list[int]]) -> list[list[Layer]]:
    """The model's layers by what a file has as one; each on its own where the file has other layers than the model."""
    inputs = 0 if entry is None else sum(layer.class_name == "InputLayer" for layer in entry.layers)
    if entry is None or len(entry.layers) - inputs != len(model.layers):
        return [[layer] for layer in model.layers]
    return [[model.layers[number - inputs] for number in unit if number >= inputs] for unit in units]


def _set_weights(
    model: Sequential,
    weights: list[LayerWeights],
    units: list[list[Layer]],
    origin: dict[str, matching.Origin],
    path: Path,
) -> None:
    """Take over the arrays layer by layer. Changes nothing unless all fit."""
    arrays = matching.matched(path, str(model), units, weights, origin)
    new = [array for layer in model.layers for array in arrays.get(layer.name, [])]
    with np.errstate(over="ignore"):
        new = [array.astype(model.dtype) for array in new]
        bad = [name for name, a in matching.names_of(weights) if not np.isfinite(a.astype(model.dtype)).all()]
    if bad:
        warn(f"{path}: holds weights that are NaN or infinite, in {matching.listed(bad)}; so will the outputs be.")
    model.set_weights(new)
