"""Keras's spellings of layers, optimizers, losses and metrics to ours, and ours to what every Keras from 2.4 on reads.

All of it turns JSON values into JSON values. Reading is lenient about what changes nothing and strict about what does:

    left out    a null; a key of _WITHOUT_EFFECT at the value given there; dtype, which is the model's; Keras's wrappers
                around an object ("module", "registered_name", "build_config"), by which nothing is ever looked up;
                and, told by a warning, what acts in training alone (training_only.py)
    kept        everything else: the constructor takes it, or refuses it by name

Writing keeps to the keys that all versions share, since Keras refuses those that it does not know.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from minicnn import losses, metrics
from minicnn.errors import ConfigError
from minicnn.losses import Loss
from minicnn.metrics import Metric
from minicnn.naming import snake_case
from minicnn.saving import equivalents, keras_1, training_only
from minicnn.typing import Config

_WITHOUT_EFFECT: Config = {
    "sparse": False,
    "ragged": False,
    "optional": False,
    "groups": 1,
    "data_format": "channels_last",
    "keepdims": False,
    "synchronized": False,
    "renorm": False,
    "renorm_momentum": 0.99,
    "autocast": True,
    "use_ema": False,
    "ema_momentum": 0.99,
}
"""Keys that some versions have and others do not, at the value at which a layer or an optimizer is as without them."""

_HOW_NOT_WHAT = ("jit_compile", "is_legacy_optimizer")  # of optimizers: how, not what, they compute
_CLASSES_IN_USE = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    **dict.fromkeys(training_only.IDENTITY_IN_INFERENCE, "Activation"),
    **equivalents.CLASSES,
}
_UNUSED = dict.fromkeys(
    ("SeparableConv2D", "DepthwiseConv2D"), ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
)
"""What Keras 2 writes of the class above a layer's, and the layer does not use."""
_CHOSEN = ("accuracy", "acc")
"""Metrics that mean one of several accuracies, chosen by the shapes of labels and outputs."""
_ACCURACIES = {"binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy"}


@dataclass
class LayerEntry:
    """One layer: its class's name and the constructor's arguments.

    order: its number in the file's list of layers; of a nested model's layers the numbers on the way down. group: on
    the same way, the class in snake case and how many of that class come before, by which Keras 3 stores weights.
    parents: the nested models' names. kernel_axes: the places that the axes of the stored kernel take here; None if
    they stay. rows_of: the number of the Flatten whose features, in the order of channels_first, this layer's arrays
    follow; None if ours. outputs: the shape of a batch of outputs, where the file says it and the arguments do not.
    left_out: in words, what the file's layer does in training and this one does not.
    """

    class_name: str
    config: Config
    order: tuple[int, ...] = ()
    group: tuple[tuple[str, int], ...] = ()
    parents: tuple[str, ...] = ()
    kernel_axes: tuple[int, ...] | None = None
    rows_of: int | None = None
    outputs: Any = None
    left_out: tuple[str, ...] = ()


@dataclass
class CompileEntry:
    """The arguments of compile, as names and configs {"class_name", "config"}."""

    optimizer: Any
    loss: Any
    metrics: list[Any] = field(default_factory=list)
    weighted_metrics: list[Any] = field(default_factory=list)


# -- layers


def class_in_use(class_name: str) -> str:
    """The present name of a class that earlier versions called otherwise."""
    name = keras_1.CLASSES.get(class_name, class_name)
    return _CLASSES_IN_USE.get(name, name)


def layer_from_keras(entry: Any, where: str, callers: Collection[str] = ()) -> LayerEntry:
    """One layer's entry. Raises ConfigError if it is damaged."""
    class_name, arguments = parts(entry, where)
    if not isinstance(arguments, dict):
        raise ConfigError(f"{where}, {class_name}: its configuration is damaged; get the file anew.")
    if class_name in callers:
        return LayerEntry(class_name, {key: value for key, value in arguments.items() if key != "dtype"})
    class_name, arguments, kernel_axes = keras_1.to_keras_2(class_name, arguments)
    arguments = {key: value for key, value in arguments.items() if key not in _UNUSED.get(class_name, ())}
    class_name, arguments, left_out = training_only.without(class_name, arguments)
    config = {
        key: plain(value) for key, value in arguments.items() if key != "dtype" and not _changes_nothing(key, value)
    }
    shape = config.pop("batch_input_shape", config.pop("batch_shape", None))
    if shape is not None:
        config["batch_shape"] = any_batch(shape)
    if isinstance(config.get("name"), str):
        config["name"] = config["name"].replace("/", "_")  # Keras 2 allows the slash
    outputs = config.pop("output_shape", None) if class_name == "Conv2DTranspose" else None  # of Keras 1
    name, config = equivalents.ours(class_name, config)
    return LayerEntry(class_in_use(name), config, kernel_axes=kernel_axes, outputs=outputs, left_out=left_out)


def layer_to_keras(class_name: str, config: Config, dtype: str, ours: bool = True) -> Config:
    """The entry of one layer. ours: False for a class of the caller's own, whose configuration stays as it is."""
    if not ours:
        return {"class_name": class_name, "config": {**config, "dtype": dtype}}
    if class_name == "InputLayer":
        shape = {"batch_input_shape": config["batch_shape"]}
        return {"class_name": class_name, "config": {**shape, "dtype": dtype, "name": config["name"]}}
    kept = {key: value for key, value in config.items() if not _changes_nothing(key, value)}
    kept["dtype"] = dtype
    if class_name == "LeakyReLU":  # Keras 3 takes the old name as well
        kept["alpha"] = kept.pop("negative_slope")
    return {"class_name": class_name, "config": kept}


# -- the compile section


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
        if key not in _HOW_NOT_WHAT and not _changes_nothing(key, value)
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
    config = {key: value for key, value in entry["config"].items() if not _changes_nothing(key, value)}
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
    if not isinstance(metric, Metric):
        return getattr(metric, "__name__", metric)  # a name, a config, or a function, which files know by name
    if isinstance(metric, metrics.MeanMetricWrapper):
        return _function_to_keras(metric)
    config = {key: value for key, value in metric.get_config().items() if value is not None}
    name = snake_case(type(metric).__name__)
    ours = metrics.METRICS.get(name) is type(metric)
    if ours and _is_default(metric):
        return name
    return {"class_name": type(metric).__name__, "config": config}


def _function_to_keras(metric: metrics.MeanMetricWrapper) -> Any:
    """A function's name if that says all; else the class that counts it, or for the caller's own Keras's wrapper."""
    function = getattr(metric.fn, "__name__", type(metric.fn).__name__)
    if metric.name == function and not metric.kwargs:
        return function
    config = {"name": metric.name, **metric.kwargs}
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
        if name in (None, kind):
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


# -- parts


def plain(value: Any) -> Any:
    """value without Keras's wrappers: objects as {"class_name", "config"}, functions as names, arrays as numbers."""
    if isinstance(value, dict) and value.keys() == {"type", "value"}:
        return value["value"]  # as Keras 2.0 writes a number that it holds as an array
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return value
    if value["class_name"] == "function":
        return value.get("config")
    class_name, arguments = parts(value, "an object")
    if not isinstance(arguments, dict):
        raise ConfigError(f"{class_name}: its configuration is damaged; get the file anew.")
    return {"class_name": class_name, "config": {key: plain(v) for key, v in arguments.items()}}


def parts(entry: Any, where: str) -> tuple[str, Any]:
    """class_name, without the package that it is registered for ("Custom>Adam"), and config. ConfigError if damaged."""
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise ConfigError(f"{where} is damaged: it has no class_name; get the file anew.")
    config = entry.get("config", {})
    return entry["class_name"].rpartition(">")[2], {} if config is None else config


def _changes_nothing(key: str, value: Any) -> bool:
    return value is None or (key in _WITHOUT_EFFECT and _WITHOUT_EFFECT[key] == value)


def any_batch(shape: Any) -> Any:
    """A batch's shape with its size left open."""
    return (None, *shape[1:]) if isinstance(shape, list) and shape else shape


def dtype_name(dtype: Any) -> Any:
    """ "float32" of that string, or of the policy object in its place."""
    policy = dtype.get("config") if isinstance(dtype, dict) else None
    name = policy.get("name") if isinstance(policy, dict) else dtype
    return name if isinstance(name, str) else None


def _is_default(metric: Metric) -> bool:
    """Whether the metric is as its class makes it without arguments, the storage dtype left aside."""
    parameters = inspect.signature(type(metric)).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return not required and {**type(metric)().get_config(), "dtype": None} == {**metric.get_config(), "dtype": None}
