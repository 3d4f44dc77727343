"""Keras 1's names of layers and arguments (2015 to March 2017) as those of Keras 2.

Besides names, three things differed: a regularizer's config was {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01},
kernel sizes were two arguments, and with dim_ordering "th" a kernel was stored (filters, channels, rows, columns).
"""

from __future__ import annotations

from typing import Any

from minicnn.errors import ConfigError
from minicnn.typing import Config

CLASSES = {
    "Convolution2D": "Conv2D",
    "AtrousConvolution2D": "Conv2D",
    "SeparableConvolution2D": "SeparableConv2D",
}
"""Classes that Keras 2 calls otherwise."""

_RENAMED = {
    "nb_filter": "filters",
    "output_dim": "units",
    "p": "rate",
    "border_mode": "padding",
    "subsample": "strides",
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "init": "kernel_initializer",
    "depthwise_init": "depthwise_initializer",
    "pointwise_init": "pointwise_initializer",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "beta_init": "beta_initializer",
    "gamma_init": "gamma_initializer",
}
_INITIALIZERS = {"one": "ones", "zero": "zeros", "normal": "random_normal", "uniform": "random_uniform"}
_DATA_FORMATS = {"th": "channels_first", "tf": "channels_last"}
_SPOKEN_THEN = {*_RENAMED, "nb_row", "dim_ordering", "input_dtype", "mode"}


def to_keras_2(class_name: str, config: Config) -> tuple[str, Config, bool]:
    """A layer in Keras 2's words, and whether its kernel is stored filters first. Keras 2's own come back as they are.

    Raises ConfigError for what Keras 2 dropped: border_mode="full", a BatchNormalization of another mode than 0.
    """
    if class_name not in CLASSES and not _SPOKEN_THEN & config.keys():
        return class_name, config, False
    new = {_RENAMED.get(key, key): value for key, value in config.items()}
    new.pop("input_dtype", None)
    ordering = new.pop("dim_ordering", None)
    if ordering is not None:
        new["data_format"] = _DATA_FORMATS.get(ordering, ordering)
    if "nb_row" in new and "nb_col" in new:
        new["kernel_size"] = [new.pop("nb_row"), new.pop("nb_col")]
    if new.get("padding") == "full":
        raise ConfigError(f"{class_name}: border_mode='full' is not supported; minicnn has 'valid' and 'same'.")
    mode = new.pop("mode", 0)
    if mode != 0:
        raise ConfigError(f"{class_name}: mode={mode!r} of Keras 1 is not supported; minicnn has mode 0.")
    for key, value in new.items():
        if key.endswith("_initializer") and isinstance(value, str):
            new[key] = _INITIALIZERS.get(value, value)
        elif key.endswith("_regularizer"):
            new[key] = _regularizer(value)
    kernel_first = ordering == "th" and "kernel_size" in new
    return CLASSES.get(class_name, class_name), new, kernel_first


def _regularizer(value: Any) -> Any:
    """{"name": ..., "l1", "l2"} as L1L2; anything else as it is."""
    if not isinstance(value, dict) or "class_name" in value:
        return value
    return {"class_name": "L1L2", "config": {"l1": value.get("l1", 0.0), "l2": value.get("l2", 0.0)}}
