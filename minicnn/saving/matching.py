"""A file's arrays to the layers that they are for, as arrays in our order.

Layers are matched by place, as in Keras: those with arrays in the file to those with arrays in the model. A nested
model's arrays lie together in HDF5 files: what is trained of all its layers, then the rest of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicnn.errors import FileFormatError
from minicnn.layers import LAYERS, BatchNormalization, Dense, Flatten, Layer
from minicnn.saving.architecture import ModelEntry
from minicnn.saving.keras_1 import FILTERS_FIRST
from minicnn.saving.model_file import LayerWeights, NamedArrays
from minicnn.saving.safe_json import shown
from minicnn.typing import Array, Shape

_TURNED_BY_THEANO = ("Conv2D", "Conv2DTranspose")


@dataclass(frozen=True)
class Origin:
    """How a file holds a layer's arrays, where it is otherwise than here.

    turned: Theano's convolution turned kernels by 180 degrees, and files written with it hold them turned.
    kernel_axes: the places that a stored kernel's axes take here; None if they stay. rows: (H, W, C) of the map whose
    flattened features, in the order (C, H, W), the arrays follow.
    """

    turned: bool = False
    kernel_axes: tuple[int, ...] | None = None
    rows: Shape | None = None

    def ours(self, layer: Layer, name: str, array: Array) -> Array:
        """The array in our order."""
        if self.kernel_axes is not None and array.ndim == 4 and name == "kernel":
            array = array.transpose(self.kernel_axes)
        if self.turned and array.ndim == 4 and name == "kernel":
            array = array[::-1, ::-1]
        if self.rows is not None and (name == "kernel" or isinstance(layer, BatchNormalization)):
            height, width, channels = self.rows
            rows = array.reshape(channels, height, width, *array.shape[1:])
            array = np.moveaxis(rows, 0, 2).reshape(array.shape)
        return np.ascontiguousarray(array).reshape(array.shape)  # which makes one number a list of one

    def stored_shape(self, name: str, shape: Shape) -> Shape:
        """The shape in the file of an array that has this shape here."""
        if self.kernel_axes is None or len(shape) != 4 or name != "kernel":
            return shape
        return tuple(shape[self.kernel_axes.index(axis)] for axis in range(4))


def origins(layers: Sequence[Layer], entry: ModelEntry | None, backend: str | None) -> dict[str, Origin]:
    """By layer's name, how the arrays lie in a file with this entry. layers: built, without the input.

    Where the file has other layers than these, dropout besides, say, their places do not tell: then it goes by what
    these do.
    """
    named = [] if entry is None else [layer for layer in entry.layers if layer.class_name != "InputLayer"]
    filters_first = any(at.kernel_axes == FILTERS_FIRST for at in named)
    reordered = filters_first or any(at.rows_of is not None for at in named)
    if reordered and [at.class_name for at in named] != [type(layer).__name__ for layer in layers]:
        return origins_of_channels_first(layers, backend, filters_first)
    known = dict(zip((layer.name for layer in layers), named, strict=False)) if len(named) == len(layers) else {}
    offset = 0 if entry is None else len(entry.layers) - len(named)  # rows_of counts the input too
    result = {}
    for layer in layers:
        at = known.get(layer.name)
        place = None if at is None or at.rows_of is None else at.rows_of - offset
        turned = backend == "theano" and type(layer) in [LAYERS.get(name) for name in _TURNED_BY_THEANO]
        result[layer.name] = Origin(
            turned,
            None if at is None else at.kernel_axes,
            None if place is None else layers[place].input_shape,
        )
    return result


def origins_of_channels_first(layers: Sequence[Layer], backend: str | None, filters_first: bool) -> dict[str, Origin]:
    """As origins, for a file of weights alone, of a model like this one but for channels_first."""
    axes = FILTERS_FIRST if filters_first else None
    result, rows = origins(layers, None, backend), None
    for layer in layers:
        follows = isinstance(layer, Dense) or (isinstance(layer, BatchNormalization) and rows is not None)
        result[layer.name] = Origin(result[layer.name].turned, axes, rows if follows else None)
        if isinstance(layer, Flatten) and len(layer.input_shape or ()) == 3:
            rows = layer.input_shape
        elif isinstance(layer, Dense):
            rows = None
    return result


def stores_filters_first(layers: Sequence[Layer], weights: Sequence[LayerWeights]) -> bool:
    """Whether the kernels of a file of Keras 1 fit these layers as (filters, channels, rows, columns) alone."""
    kernels = [layer.params["kernel"].shape for layer in layers if "kernel" in layer.params]
    wanted = [shape for shape in kernels if len(shape) == 4]
    stored = [array.shape for entry in weights for _, array in entry.arrays if array.ndim == 4]
    return stored != wanted and stored == [
        Origin(kernel_axes=FILTERS_FIRST).stored_shape("kernel", shape) for shape in wanted
    ]


def matched(
    path: Path,
    model: str,
    units: Sequence[Sequence[Layer]],
    weights: Sequence[LayerWeights],
    origin: dict[str, Origin],
) -> dict[str, list[Array]]:
    """By layer's name its arrays, in our order; layers without arrays left out.

    units: the layers that the file has as one. model: for messages. Raises FileFormatError unless all fit.
    """
    holders = [unit for unit in units if any(layer.weights() for layer in unit)]
    stored = [entry for entry in weights if entry.arrays]
    if len(holders) != len(stored):
        own = [layer.name for unit in holders for layer in unit if layer.weights()]
        raise FileFormatError(
            f"{path}: holds weights of {len(stored)} layers, {listed([w.layer for w in stored])}; {model} has "
            f"{len(own)} with weights, {listed(own)}; build the model that was saved."
        )
    result: dict[str, list[Array]] = {}
    for unit, entry in zip(holders, stored, strict=True):
        places = _places(unit)
        have = [array.shape for _, array in entry.arrays]
        want = [origin[layer.name].stored_shape(name, layer.weights()[name].shape) for layer, name in places]
        if have != want:
            names = ", ".join(str(layer) for layer in unit if layer.weights())
            raise FileFormatError(
                f"{path}: layer {entry.layer!r} holds arrays {have}, but {names} needs {want}; "
                "build the model that was saved."
            )
        arrays = {
            (layer.name, name): origin[layer.name].ours(layer, name, array)
            for (layer, name), (_, array) in zip(places, entry.arrays, strict=True)
        }
        for layer in unit:
            if layer.weights():
                result[layer.name] = [arrays[layer.name, name] for name in layer.weights()]
    return result


def names_of(weights: Sequence[LayerWeights]) -> NamedArrays:
    """Every array of a file with its name."""
    return [named for entry in weights for named in entry.arrays]


def _places(unit: Sequence[Layer]) -> list[tuple[Layer, str]]:
    """The arrays of the layers in a file's order. Of a layer on its own, params then state; frozen or not."""
    if len(unit) == 1:
        return [(unit[0], name) for name in unit[0].weights()]
    trained = [(layer, name) for layer in unit if layer.trainable for name in layer.params]
    rest = [(layer, name) for layer in unit for name in (layer.state if layer.trainable else layer.weights())]
    return trained + rest


def listed(names: Sequence[str]) -> str:
    """A few of the names, so that a message stays one line."""
    return ", ".join(map(shown, names[:5])) + (", ..." if len(names) > 5 else "") if names else "none"
