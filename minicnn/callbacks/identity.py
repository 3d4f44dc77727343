"""Which training is it? What a backup and a fit must have in common for one to go on with the other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.batches import ArrayBatches, Batches
from minicnn.naming import function_name
from minicnn.typing import Array, Config

if TYPE_CHECKING:
    from minicnn.models import Sequential
    from minicnn.training import Fit

_CHUNK_BYTES = 1 << 22
_OF_THE_COMPILED_MODEL = ("optimizer", "trainable")
"""What callbacks may change while training runs, so that only a model that was just compiled can be asked for it."""


def identity(model: Sequential, fit: Fit) -> Config:
    """All that decides how this fit goes, as JSON values: its arguments, the model, how it is compiled, and the data.

    Not among them: epochs, which may be raised; names, which differ where a process makes several models; weights,
    which the backup brings. Arrays of data stand there with a SHA-256 of their contents, iterables with their class.
    """
    config: Config = {
        "initial_epoch": fit.epoch,
        "steps_per_epoch": fit.steps,
        "validation_freq": _plain(fit.validation_freq),
        "dtype": model.dtype.name,
        "kernels": model.kernels.name,
        "steps": _plain(model._steps),
        "seed": model.seed if model.seed_given else None,
        "layers": [_layer(layer) for layer in model.layers],
        "trainable": [model.trainable and layer.trainable for layer in model.layers],
        "loss": _described(model.loss),
        "metrics": [_described(metric) for metric in model._metrics],
        "weighted_metrics": [_described(metric) for metric in model._weighted_metrics],
        "optimizer": _optimizer(model.optimizer),
        "training": _data(fit.training),
        "validation": _data(fit.validation),
    }
    return config


def difference(stored: Config, own: Config, just_compiled: bool) -> str | None:
    """Where two identities differ first, such as "training.batch_size is 32, not 64"; None if nowhere.

    just_compiled: compare also what callbacks may have changed since.
    """
    leave_out = () if just_compiled else _OF_THE_COMPILED_MODEL
    one, other = ({k: v for k, v in config.items() if k not in leave_out} for config in (stored, own))
    return _difference(one, other, "")


def _difference(one: Any, other: Any, place: str) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(f"{place}.{key}" if place else key, key) for key in {**one, **other}]
        found = (_difference(one.get(key), other.get(key), label) for label, key in pairs)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        found = (_difference(a, b, f"{place}[{k}]") for k, (a, b) in enumerate(zip(one, other, strict=True)))
    else:
        return None if one == other else f"{place} is {_short(one)}, not {_short(other)}"
    return next((text for text in found if text is not None), None)


def _short(value: Any) -> str:
    text = f"a list of {len(value)}" if isinstance(value, list) and len(str(value)) > 40 else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _layer(layer: Any) -> Config:
    config = {key: _plain(value) for key, value in layer.get_config().items() if key not in ("name", "trainable")}
    return {"class": type(layer).__name__, **config, "shapes": [list(a.shape) for a in layer.weights().values()]}


def _optimizer(optimizer: Any) -> Config:
    """Its class and attributes, but for what training changes in any case."""
    config = _described(optimizer)
    return {key: value for key, value in config.items() if key not in ("iterations", "slots", "_owner")} | {
        "_learning_rate": _described(optimizer._learning_rate)
    }


def _described(thing: Any) -> Any:
    """An object as its class and configuration, or attributes where it has none; a name or number as itself."""
    if isinstance(thing, (str, float, int, type)) or thing is None or not hasattr(thing, "__dict__"):
        return _plain(thing)
    if hasattr(thing, "update_state"):  # a metric: its attributes change from batch to batch
        return {"class": type(thing).__name__, **{k: _plain(v) for k, v in thing.get_config().items()}}
    if hasattr(thing, "__name__"):  # a plain function
        return _plain(thing)
    return {"class": type(thing).__name__, **{k: _plain(v) for k, v in vars(thing).items()}}


def _plain(value: Any) -> Any:
    """The value as JSON has it; an array as its shape, type and contents; anything else as the name of its class."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return function_name(value)


def _data(batches: Batches | None) -> Config | None:
    if batches is None:
        return None
    if not isinstance(batches, ArrayBatches):
        return {"class": type(batches.source).__name__, "steps": batches.steps, "shuffle": batches.shuffle}
    return {
        "batch_size": batches.batch_size,
        "shuffle": batches.shuffle,
        "x": _array(batches.x),
        "y": None if batches.y is None else _array(batches.y),
        "sample_weight": None if batches.sample_weight is None else _array(batches.sample_weight),
    }


def _array(array: Array) -> Config:
    """Shape, dtype and a digest of the contents, taken a few megabytes at a time: 1.5 GB/s, once a fit."""
    digest = hashlib.sha256()
    rows = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes)) if array.ndim else 1
    parts = [array.reshape(1)] if array.ndim == 0 else (array[k : k + rows] for k in range(0, len(array), rows))
    for part in parts:
        digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return {"shape": list(array.shape), "dtype": array.dtype.str, "contents": digest.hexdigest()[:16]}
