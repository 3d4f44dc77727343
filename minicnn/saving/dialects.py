"""Keras's spellings of layers and their parts to ours, and ours to what every Keras from 2.4 on reads.

All of it turns JSON values into JSON values. Reading is lenient about what changes nothing and strict about what does:

    left out    a null; a key of _WITHOUT_EFFECT at the value given there; dtype, which is the model's; Keras's wrappers
                around an object ("module", "registered_name", "build_config"), by which nothing is ever looked up;
                and, told by a warning, what acts in training alone (training_only.py)
    kept        everything else: the constructor takes it, or refuses it by name

Writing keeps to the keys that all versions share, since Keras refuses those that it does not know.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from minicnn.errors import ConfigError
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
        key: plain(value) for key, value in arguments.items() if key != "dtype" and not changes_nothing(key, value)
    }
    activation = config.get("activation")
    if isinstance(activation, dict) and activation.get("class_name") not in callers:
        config["activation"] = equivalents.activation(activation)
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
    kept = {key: value for key, value in config.items() if not changes_nothing(key, value)}
    kept["dtype"] = dtype
    if class_name == "LeakyReLU":  # Keras 3 takes the old name as well
        kept["alpha"] = kept.pop("negative_slope")
    return {"class_name": class_name, "config": kept}


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


def changes_nothing(key: str, value: Any) -> bool:
    """Whether a layer or an optimizer is the same without the key."""
    return value is None or (key in _WITHOUT_EFFECT and _WITHOUT_EFFECT[key] == value)


def any_batch(shape: Any) -> Any:
    """A batch's shape with its size left open."""
    return (None, *shape[1:]) if isinstance(shape, list) and shape else shape


def dtype_name(dtype: Any) -> Any:
    """ "float32" of that string, or of the policy object in its place."""
    policy = dtype.get("config") if isinstance(dtype, dict) else None
    name = policy.get("name") if isinstance(policy, dict) else dtype
    return name if isinstance(name, str) else None
