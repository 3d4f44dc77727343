"""Keras's spellings of optimizers, losses and metrics, as compile takes them, to ours and back.

What is left out and what is kept is said in dialects.py, which does the same for layers.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from minicnn import losses, metrics
from minicnn.errors import ConfigError
from minicnn.losses import Loss
from minicnn.metrics import Metric
from minicnn.naming import function_name, snake_case
from minicnn.saving.dialects import changes_nothing, parts, plain
from minicnn.typing import Config

_HOW_NOT_WHAT = ("jit_compile", "is_legacy_optimizer")  # of optimizers: how, not what, they compute
_CHOSEN = ("accuracy", "acc")
"""Metrics that mean one of several accuracies, chosen by the shapes of labels and outputs."""
_ACCURACIES = {"binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy"}


@dataclass
class CompileEntry:
    """The arguments of compile, as names and configs {"class_name", "config"}."""

    optimizer: Any
    loss: Any
    metrics: list[Any] = field(default_factory=list)
    weighted_metrics: list[Any] = field(default_factory=list)


def compile_from_keras(training: Config) -> CompileEntry:
    """The arguments of compile in a training_config. Raises ConfigError for what minicnn does not have."""
    if not _all_one(training.get("loss_weights")):
        raise ConfigError(f"loss_weights={training['loss_weights']!r} is not supported.")
    optimizer = training.get("optimizer_config", training.get("optimizer"))
    return CompileEntry(
        "rmsprop" if optimizer is None else optimizer_from_keras(optimizer),  # Keras's default
        _loss_from_keras(training.get("loss")),
        _metrics_from_keras(training.get("metrics")),
        _metrics_from_keras(training.get("weighted_metrics")),
    )


def _all_one(loss_weights: Any) -> bool:
    """Whether the loss counts as it is: it has no weight, or the weight 1."""
    weights = list(loss_weights.values()) if isinstance(loss_weights, dict) else loss_weights
    return all(weight in (None, 1) for weight in (weights if isinstance(weights, list) else [weights]))


def optimizer_from_keras(entry: Any) -> Any:
    """An optimizer's name or config. Keras 2's `lr` and `decay` become a rate and a schedule."""
    if isinstance(entry, str):
        return entry
    class_name, arguments = parts(entry, "the optimizer")
    if not isinstance(arguments, dict):
        raise ConfigError(f"{class_name}: its configuration is damaged; get the file anew.")
    config = {
        key: plain(value)
        for key, value in arguments.items()
        if key not in _HOW_NOT_WHAT and not changes_nothing(key, value)
    }
    if not config.get("use_ema"):
        config.pop("ema_overwrite_frequency", None)  # of the average that is not kept; Keras 2's RMSprop says 100
    if "lr" in config:
        config["learning_rate"] = config.pop("lr")
    decay = config.pop("decay", 0)
    if decay:
        schedule = {"initial_learning_rate": config.get("learning_rate"), "decay_steps": 1, "decay_rate": decay}
        config["learning_rate"] = {"class_name": "InverseTimeDecay", "config": schedule}
    return {"class_name": class_name, "config": config}


def optimizer_to_keras(entry: Config) -> Config:
    """An optimizer's serialized form in the keys that every Keras takes, so far as it has the optimizer."""
    config = {key: value for key, value in entry["config"].items() if not changes_nothing(key, value)}
    rate = config.get("learning_rate")
    if isinstance(rate, dict):
        arguments = {key: value for key, value in rate["config"].items() if value is not None}
        if "warmup_target" not in arguments:
            arguments.pop("warmup_steps", None)
        config["learning_rate"] = {**rate, "config": arguments}
    return {"class_name": entry["class_name"], "config": config}


def loss_to_keras(loss: Loss) -> Any:
    """A loss's name if that says all, else its config, without what is at Keras's default."""
    config = loss.get_config()
    name = snake_case(type(loss).__name__)
    ours = losses.LOSSES.get(name) is type(loss)
    if ours and type(loss)().get_config() == config:
        return name
    if ours:
        config.pop("axis", None)  # Keras 2.4 does not know it
        if config["reduction"] == "sum_over_batch_size":
            config.pop("reduction")
    return {"class_name": type(loss).__name__, "config": config}


def metrics_to_keras(given: list[Any], loss: Loss) -> list[Any]:
    """Metrics, in any form that compile takes, as names or configs.

    On loading, Keras 2 resolves "accuracy" as for one-hot labels, so with class numbers the file says which is meant.
    """
    entries = [_metric_to_keras(metric) for metric in given]
    if isinstance(loss, losses.SparseCategoricalCrossentropy):
        sparse = {name: {"class_name": "SparseCategoricalAccuracy", "config": {"name": name}} for name in _CHOSEN}
        entries = [sparse.get(entry, entry) if isinstance(entry, str) else entry for entry in entries]
    return entries


def _metric_to_keras(metric: Any) -> Any:
    if isinstance(metric, type) and issubclass(metric, Metric):
        metric = metric()
    if isinstance(metric, Loss):
        return _loss_as_metric(metric)
    if not isinstance(metric, Metric):  # a name, a config, or a function, which files know by name
        return metric if isinstance(metric, (str, dict)) else function_name(metric)
    if isinstance(metric, metrics.MeanMetricWrapper):
        return _function_to_keras(metric)
    config = {key: value for key, value in metric.get_config().items() if value is not None}
    name = snake_case(type(metric).__name__)
    ours = metrics.METRICS.get(name) is type(metric)
    if ours and _is_default(metric) and name not in _CHOSEN:
        return name
    return {"class_name": type(metric).__name__, "config": config}


def _loss_as_metric(loss: Loss) -> Config:
    """A loss object among the metrics: the metric of its name, with those of its arguments that this knows."""
    name, config = type(loss).__name__, loss.get_config()
    known = metrics.METRICS.get(name)
    if known is not None and losses.LOSSES.get(name) is type(loss):
        config = {key: value for key, value in config.items() if key in inspect.signature(known).parameters}
    return {"class_name": name, "config": config}


def _function_to_keras(metric: metrics.MeanMetricWrapper) -> Any:
    """A function's name if that says all; else the class that counts it, or for the caller's own Keras's wrapper.

    The name is left out where it is the function's: Keras would put a custom object of that name in its place.
    """
    function = function_name(metric.fn)
    config = {**({} if metric.name == function else {"name": metric.name}), **metric.kwargs}
    if not config:
        return function
    if function in metrics.METRICS and getattr(metrics, function, None) is metric.fn:
        return {"class_name": metrics.METRICS[function].__name__, "config": config}
    return {"class_name": "MeanMetricWrapper", "config": {**config, "fn": function}}


def _loss_from_keras(entry: Any) -> Any:
    entry = _only_one(entry, "loss")
    if not isinstance(entry, dict):
        return entry
    value = plain(entry)
    if not isinstance(value, dict) or "class_name" not in value:
        return value  # a function's name
    config = {key: v for key, v in value["config"].items() if v is not None and key not in ("fn", "dtype")}
    return {"class_name": value["class_name"], "config": config}


def _metrics_from_keras(entries: Any) -> list[Any]:
    """Names and configs. Keras 2 nests the list once an output and wraps functions in MeanMetricWrapper."""
    if entries is None:
        return []
    if isinstance(entries, dict) and "class_name" not in entries:
        entries = list(entries.values())
    if not isinstance(entries, list):
        entries = [entries]
    if len(entries) == 1 and isinstance(entries[0], list):
        entries = entries[0]
    return [_metric_from_keras(entry) for entry in entries]


def _metric_from_keras(entry: Any) -> Any:
    value = plain(entry)
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or "class_name" not in value:
        raise ConfigError(f"metric {entry!r} is not understood.")
    config = {k: v for k, v in value["config"].items() if v is not None and k not in ("dtype", "fn")}
    name, kind = config.get("name"), value["class_name"]
    if kind == "MeanMetricWrapper":
        kind = value["config"].get("fn")
        if name in (None, kind) and config.keys() <= {"name"}:
            return kind
    if name in _CHOSEN and set(config) == {"name"} and snake_case(str(kind)) in _ACCURACIES:
        return name  # as it was given to compile, before the file's writer chose one
    return {"class_name": kind, "config": config}


def _only_one(entry: Any, what: str) -> Any:
    """The loss out of Keras's list or dict of one loss an output."""
    values = entry
    if isinstance(entry, dict) and "class_name" not in entry:
        values = list(entry.values())
    if not isinstance(values, list):
        return values
    if len(values) != 1:
        raise ConfigError(f"{what} {entry!r} is for several outputs; a Sequential has one.")
    return values[0]


def _is_default(metric: Metric) -> bool:
    """Whether the metric is as its class makes it without arguments, the storage dtype left aside."""
    parameters = inspect.signature(type(metric)).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return not required and {**type(metric)().get_config(), "dtype": None} == {**metric.get_config(), "dtype": None}
