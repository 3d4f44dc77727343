"""From a Sequential to a file and back: what models.save, save_weights, load_weights and load_model call."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import activations
from minicnn.errors import ConfigError, FileFormatError, NotBuiltError
from minicnn.layers import LAYERS, Conv2D
from minicnn.saving import atomic, dialects, keras_hdf5
from minicnn.saving.building import built_model
from minicnn.saving.model_file import LayerWeights, ModelFile
from minicnn.saving.training_section import add_training, compile_model, warn
from minicnn.typing import Array, Config

if TYPE_CHECKING:
    from minicnn.models import Sequential

SUFFIXES = (".h5", ".hdf5")
"""Of the files that are written. Reading goes by content, whatever the name."""

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
    _need_built(model, "save")
    layers = [_layer_entry(model, entry) for entry in model.get_config()["layers"]]
    file = ModelFile(dialects.model_to_keras(model.name, layers), _weights_of(model))
    if include_optimizer and model.optimizer is not None and model.loss is not None:
        add_training(file, model, optimizer_for)
    atomic.write_whole(path, keras_hdf5.model_image(file))
    _warn_of_what_keras_refuses(model, path)


_LAYER_NAME = re.compile(r"[A-Za-z0-9_.>-]+")
_MODEL_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.>-]*")
"""What TensorFlow takes as the name of a scope; Keras opens one for the model, and in it one for each layer."""


def _warn_of_what_keras_refuses(model: Sequential, path: Path) -> None:
    for problem in _what_keras_refuses(model):
        warn(f"save: {path} serves minicnn, but Keras fails on it: {problem}")


def _what_keras_refuses(model: Sequential) -> Iterator[str]:
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


def _layer_entry(model: Sequential, entry: Config) -> Config:
    """A layer's configuration as Keras reads it; that of a class of the caller's own as it is."""
    name = entry["class_name"]
    callers = any(type(layer).__name__ == name and type(layer) is not LAYERS.get(name) for layer in model.layers)
    return dialects.layer_to_keras(name, entry["config"], model.dtype.name, ours=not callers)


def save_weights(model: Sequential, filepath: FilePath, overwrite: bool) -> None:
    """Write the weights alone. See Sequential.save_weights."""
    path = as_path(filepath, "save_weights")
    atomic.check_target(path, overwrite, SUFFIXES, "save_weights")
    if path.name.lower().endswith(".weights.h5"):
        raise ConfigError(
            f"save_weights: {path.name!r} ends in .weights.h5, by which Keras 3 knows another layout; "
            f"name it {path.name[: -len('.weights.h5')] + '_weights.h5'!r}, which every Keras reads."
        )
    _need_built(model, "save_weights")
    atomic.write_whole(path, keras_hdf5.weights_image(_weights_of(model)))


def _need_built(model: Sequential, method: str) -> None:
    if not model.built:
        raise NotBuiltError(
            f"{model}: has no weights yet, so {method} has nothing to work with; give the first layer input_shape=... "
            "or call build first."
        )


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


def load_model(
    filepath: FilePath,
    custom_objects: CustomObjects | None = None,
    compile: bool = True,
    **kwargs: Any,
) -> Sequential:
    """Read a whole model. See models.load_model."""
    path = as_path(filepath, "load_model")
    if not isinstance(custom_objects, Mapping | None):
        raise ConfigError(f"load_model: custom_objects must be a dict of classes by name, got {custom_objects!r}.")
    if not kwargs.pop("safe_mode", True):
        raise ConfigError("load_model: safe_mode=False is not supported; minicnn never executes what a file holds.")
    for key in kwargs.keys() - {"seed", "dtype", "kernels"}:
        raise ConfigError(
            f"load_model: unknown argument {key!r}; it takes custom_objects, compile, seed, dtype and kernels."
        )
    custom = dict(custom_objects or {})
    file = keras_hdf5.read_model(path, with_training=compile)
    if file.state is not None and kwargs.get("seed") is None:
        kwargs["seed"] = file.state.seed
    model = built_model(file, path, custom, kwargs)
    if model.built:
        _set_weights(model, file.weights, file.backend, path)
    if compile:
        compile_model(model, file, path, custom)
    return model


def load_weights(model: Sequential, filepath: FilePath) -> None:
    """Take over the weights of a file, or change nothing. See Sequential.load_weights."""
    path = as_path(filepath, "load_weights")
    _need_built(model, "load_weights")
    weights, backend = keras_hdf5.read_weights(path)
    _set_weights(model, weights, backend, path)


def _set_weights(model: Sequential, weights: list[LayerWeights], backend: str, path: Path) -> None:
    """Take over the arrays layer by layer, matched by place as in Keras. Changes nothing unless all fit."""
    layers = [layer for layer in model.layers if layer.weights()]
    stored = [entry for entry in weights if entry.arrays]
    if len(layers) != len(stored):
        raise FileFormatError(
            f"{path}: holds weights of {len(stored)} layers, {_listed([w.layer for w in stored])}; {model} has "
            f"{len(layers)} with weights, {_listed([layer.name for layer in layers])}; build the model that was saved."
        )
    new: list[Array] = []
    for layer, entry in zip(layers, stored, strict=True):
        have = [array.shape for _, array in entry.arrays]
        want = [array.shape for array in layer.weights().values()]
        if have != want:
            raise FileFormatError(
                f"{path}: layer {entry.layer!r} holds arrays {have}, but {layer} needs {want}; "
                "build the model that was saved."
            )
        # Theano's convolution turned the kernel by 180 degrees; files written with it hold it turned.
        turned = backend == "theano" and isinstance(layer, Conv2D)
        new += [array[::-1, ::-1] if turned and array.ndim == 4 else array for _, array in entry.arrays]
    with np.errstate(over="ignore"):
        new = [array.astype(model.dtype) for array in new]
    names = [name for entry in stored for name, _ in entry.arrays]
    bad = [name for name, array in zip(names, new, strict=True) if not np.isfinite(array).all()]
    if bad:
        warn(f"{path}: holds weights that are NaN or infinite, in {_listed(bad)}; so will the outputs be.")
    model.set_weights(new)


def _listed(names: list[str]) -> str:
    """A few of the names, so that a message stays one line."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
