"""Models of maps (channels, height, width) as models of maps (height, width, channels), the one order of minicnn.

The arguments change places; kernels do not, since Keras stores them in one order for both. What changes is a Flatten:
it reads a channels_first map channel by channel, so the arrays behind it follow features in that order, (C, H, W), and
have to be put into ours, (H, W, C), when they are read. (A Flatten that itself says channels_first turns the map.)
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from minicnn.errors import ConfigError
from minicnn.saving.dialects import LayerEntry

_ON_MAPS = {
    "Conv2D",
    "Conv2DTranspose",
    "DepthwiseConv2D",
    "SeparableConv2D",
    "MaxPooling2D",
    "AveragePooling2D",
    "GlobalMaxPooling2D",
    "GlobalAveragePooling2D",
    "ZeroPadding2D",
    "UpSampling2D",
}
_ACTIVATED = {"Activation", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D"}
_CLOSES_MAP = {"GlobalMaxPooling2D", "GlobalAveragePooling2D"}
_FIRST = "channels_first"


def to_channels_last(layers: list[LayerEntry], callers: Collection[str] = ()) -> list[LayerEntry]:
    """The layers for maps (height, width, channels); as they are if none is for channels_first.

    callers: names of classes of the caller's own, which stay as they are. Raises ConfigError where the model mixes both
    orders, or does something in its order that ours does not have.
    """
    if not any(layer.config.get("data_format") == _FIRST for layer in layers if layer.class_name not in callers):
        return layers
    return _Conversion(layers, callers).layers


class _Conversion:
    """Walks the layers with the number of dimensions of a sample, and which Flatten the features come from."""

    def __init__(self, layers: list[LayerEntry], callers: Collection[str]) -> None:
        self.layers: list[LayerEntry] = []
        self.rank = next((len(l.config["batch_shape"]) - 1 for l in layers if l.config.get("batch_shape")), 3)
        self.flatten: int | None = None
        for number, layer in enumerate(layers):
            own = replace(layer, config=dict(layer.config))
            self.layers.append(own)
            if own.class_name in callers:
                continue
            shape = own.config.get("batch_shape")
            if shape is not None and len(shape) == 4:
                own.config["batch_shape"] = (shape[0], *shape[2:], shape[1])
            data_format = own.config.pop("data_format", None)
            if own.outputs is not None and data_format == _FIRST:
                own.outputs = [own.outputs[0], *own.outputs[2:], own.outputs[1]]
            if own.class_name in _ON_MAPS and data_format != _FIRST:
                raise ConfigError(
                    f"layer {number}, {own.class_name}: is for channels_last in a model of channels_first; use Keras."
                )
            self._convert(own, number, data_format)
        if self.flatten is not None:
            raise ConfigError(
                "the model's outputs are a flattened map of channels_first; minicnn flattens it otherwise; "
                "end in a Dense layer."
            )

    def _convert(self, layer: LayerEntry, number: int, data_format: str | None) -> None:
        kind, config = layer.class_name, layer.config
        if kind in _CLOSES_MAP:
            self.rank = 3 if config.get("keepdims") else 1
        elif kind == "Flatten":
            self._flattened(number, data_format)
        elif kind == "Reshape":
            self._reshape(layer, number)
        elif kind == "BatchNormalization" and self.rank == 3:
            config["axis"] = _channels(config.get("axis", -1), number, kind)
        elif kind == "BatchNormalization":
            layer.rows_of = self.flatten
        elif kind == "Softmax" and self.rank == 3:
            config["axis"] = _channels(config.get("axis", -1), number, kind)
        elif self.rank == 3 and (kind == "Dense" or (kind in _ACTIVATED and _is_softmax(config.get("activation")))):
            raise ConfigError(
                f"layer {number}, {kind}: works on the width of a channels_first map, which minicnn does not; "
                "use Keras."
            )
        elif kind == "Dense":
            layer.rows_of, self.flatten = self.flatten, None

    def _flattened(self, number: int, data_format: str | None) -> None:
        if self.rank not in (1, 3) and data_format == _FIRST:
            raise ConfigError(
                f"layer {number}, Flatten: of channels_first, which puts the first of {self.rank} axes last; minicnn "
                "does that for maps alone, use Keras."
            )
        if self.rank == 3 and data_format != _FIRST:
            self.flatten = number
        self.rank = 1

    def _reshape(self, layer: LayerEntry, number: int) -> None:
        target = tuple(layer.config.get("target_shape") or ())
        if self.rank == 3 and len(target) == 1:
            self._flattened(number, None)
        elif self.rank == 1 and self.flatten is None and len(target) == 3 and (target[0] == 1 or target[1:] == (1, 1)):
            layer.config["target_shape"] = [*target[1:], target[0]]
            self.rank = 3
        elif self.rank != 1 or len(target) != 1:
            raise ConfigError(
                f"layer {number}, Reshape: to {target} in the order of channels_first is not supported; use Keras."
            )


def _is_softmax(activation: Any) -> bool:
    """Whether it is a softmax, which Keras takes along the last axis: as a name, or as the config of an object."""
    name = activation.get("class_name") if isinstance(activation, dict) else activation
    return isinstance(name, str) and name.lower() == "softmax"


def _channels(axis: Any, number: int, kind: str) -> int:
    """Axis 1, the channels of channels_first, as the last one. Raises ConfigError for others."""
    one = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    if one not in (1, -3):
        raise ConfigError(
            f"layer {number}, {kind}: works along axis {axis} of channels_first maps; minicnn along 1, use Keras."
        )
    return -1
