"""Keras 1's names of layers and arguments (2015 to March 2017) as those of Keras 2.

Besides names, these differed: a regularizer's config was {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01}; kernel
sizes were two arguments; with dim_ordering "th" a kernel was stored (filters, channels, rows, columns); and a
Deconvolution2D, now Conv2DTranspose, stored it like Convolution2D and was told the shape of its outputs.
"""

from __future__ import annotations

from typing import Any

from minicnn.errors import ConfigError
from minicnn.typing import Config

CLASSES = {
    "Convolution2D": "Conv2D",
    "AtrousConvolution2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose",
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
FILTERS_FIRST = (2, 3, 1, 0)
"""Where Conv2D has the axes of a kernel (filters, channels, rows, columns); Conv2DTranspose swaps the last two."""

_INITIALIZERS = {"one": "ones", "zero": "zeros", "normal": "random_normal", "uniform": "random_uniform"}
_DATA_FORMATS = {"th": "channels_first", "tf": "channels_last"}
_SPOKEN_THEN = {*_RENAMED, "nb_row", "dim_ordering", "input_dtype"}


def to_keras_2(class_name: str, config: Config) -> tuple[str, Config, tuple[int, ...] | None]:
    """A layer in Keras 2's words, and how its kernel's axes have to change places. Keras 2's own come back as they are.

    Raises ConfigError for what Keras 2 dropped: border_mode="full", a BatchNormalization of another mode than 0.
    """
    old_norm = class_name == "BatchNormalization" and "mode" in config
    if class_name not in CLASSES and not old_norm and not _SPOKEN_THEN & config.keys():
        return class_name, config, None
    new = {_RENAMED.get(key, key): value for key, value in config.items()}
    new.pop("input_dtype", None)
    ordering = new.pop("dim_ordering", None)
    if ordering is not None:
        new["data_format"] = _DATA_FORMATS.get(ordering, ordering)
    if "nb_row" in new and "nb_col" in new:
        new["kernel_size"] = [new.pop("nb_row"), new.pop("nb_col")]
    if new.get("padding") == "full":
        raise ConfigError(
            f"{class_name}: border_mode='full' is not supported; minicnn has 'valid' and 'same', use Keras."
        )
    mode = new.pop("mode", 0) if old_norm else 0
    if mode != 0:
        raise ConfigError(f"{class_name}: mode={mode!r} of Keras 1 is not supported; minicnn has mode 0, use Keras.")
    for key, value in new.items():
        if key.endswith("_initializer") and isinstance(value, str):
            new[key] = _INITIALIZERS.get(value, value)
        elif key.endswith("_regularizer"):
            new[key] = _regularizer(value)
    if class_name == "ZeroPadding2D":
        new["padding"] = _padding(new.get("padding"))
    return CLASSES.get(class_name, class_name), new, _kernel_axes(class_name, new, ordering)


def _kernel_axes(class_name: str, config: Config, ordering: Any) -> tuple[int, ...] | None:
    if "kernel_size" not in config:
        return None
    rows, columns, *last = FILTERS_FIRST if ordering == "th" else (0, 1, 2, 3)
    axes = (rows, columns, *(reversed(last) if class_name == "Deconvolution2D" else last))
    return None if axes == (0, 1, 2, 3) else axes


def _padding(value: Any) -> Any:
    """Four sides, in a list or by name, as two pairs; anything else as it is."""
    if isinstance(value, dict):
        value = [value.get(f"{side}_pad", 0) for side in ("top", "bottom", "left", "right")]
    return [value[:2], value[2:]] if isinstance(value, list) and len(value) == 4 else value


def _regularizer(value: Any) -> Any:
    """{"name": ..., "l1", "l2"} as L1L2; anything else as it is."""
    if not isinstance(value, dict) or "class_name" in value:
        return value
    return {"class_name": "L1L2", "config": {"l1": value.get("l1", 0.0), "l2": value.get("l2", 0.0)}}
