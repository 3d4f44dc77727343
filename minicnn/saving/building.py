"""From a file's configuration to a built Sequential, without trusting what the file says of sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn import activations, initializers, regularizers
from minicnn.errors import FileFormatError, MinicnnError
from minicnn.layers import (
    LAYERS,
    BatchNormalization,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    InputLayer,
    Layer,
    SeparableConv2D,
)
from minicnn.lookup import class_named
from minicnn.saving import architecture, matching
from minicnn.saving.architecture import ModelEntry
from minicnn.saving.dialects import LayerEntry
from minicnn.saving.model_file import ModelFile
from minicnn.saving.safe_json import shown
from minicnn.typing import Config, Shape

if TYPE_CHECKING:
    from minicnn.models import Sequential

_HOLD_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper")
_SPARE_NUMBERS = 1_000_000
"""A model may need so many numbers more than its file holds and is still built; an exact check follows."""


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Turn what constructors say of a file's values into a FileFormatError that begins with where."""
    try:
        yield
    except FileFormatError as error:
        raise FileFormatError(f"{where}: {error}") from error
    except (MinicnnError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = str(error) if isinstance(error, MinicnnError) else f"is damaged ({type(error).__name__}: {error})."
        raise FileFormatError(f"{where}: {reason}") from error


def understood(config: Config, path: Path, custom: dict[str, Any]) -> ModelEntry:
    """The layers of a file's configuration. Raises FileFormatError, naming all layers that minicnn does not have."""
    with naming(str(path)):
        _check_classes(config, path, custom)
        return architecture.model_from_keras(config, custom)


def _check_classes(config: Config, path: Path, custom: dict[str, Any]) -> None:
    unknown = [
        (where, name) for where, name in architecture.class_names(config) if name not in (custom.keys() | LAYERS)
    ]
    if not unknown:
        return
    where, name = unknown[0]
    if len(unknown) == 1:
        raise FileFormatError(f"layer {where}, {shown(name)}: {_why_not(shown(name))}")
    names = [name for _, name in unknown]
    places = matching.listed([f"layer {where}, {name}" for where, name in unknown])
    code = [name for name in dict.fromkeys(names) if name in _HOLD_CODE]
    holds = f"{', '.join(code)} holds code, which minicnn never runs from a file; " if code else ""
    raise FileFormatError(
        f"minicnn does not have the layers {matching.listed(list(dict.fromkeys(names)))} ({places}); {holds}"
        "those of your own go into custom_objects={name: class}."
    )


def _why_not(name: str) -> str:
    if name in _HOLD_CODE:
        return "this layer holds code, which minicnn never runs from a file; write it as a Layer and build the model."
    return f"minicnn has no such layer; one of your own goes into custom_objects={{{name!r}: ...}}."


def built_model(file: ModelFile, path: Path, custom: dict[str, Any], options: dict[str, Any]) -> Sequential:
    """The model of a file, with zeros for weights; unbuilt where the file does not say the input's shape.

    custom: the caller's own classes by name. options: seed, dtype, kernels of the Sequential. Raises FileFormatError,
    beginning with path, before memory is taken for more numbers than the file holds.
    """
    from minicnn.models import Sequential

    entry = file.entry
    assert entry is not None
    layers = []
    _check_input_is_fixed(entry, path)
    for layer_entry in entry.layers:
        number = ".".join(map(str, layer_entry.order))
        with naming(f"{path}: layer {number}, {layer_entry.class_name}"):
            layers.append(make_layer(layer_entry, custom))
    if options.get("dtype") is None:
        options = {**options, "dtype": entry.dtype or "float32"}
    model = Sequential(name=entry.name, **options)
    with naming(str(path)):
        _check_size(layers, sum(array.size for w in file.weights for _, array in w.arrays))
        for layer in layers:
            with _without_drawing(layer):
                model.add(layer)
        for layer_entry, layer in zip(entry.layers, layers, strict=True):
            _check_outputs(layer_entry, layer)
    if not model.built and any(w.arrays for w in file.weights):
        raise FileFormatError(
            f"{path}: has weights but does not say the input's shape; give load_model "
            "input_shape=(height, width, channels)."
        )
    return model


def _check_input_is_fixed(entry: ModelEntry, path: Path) -> None:
    """Raise FileFormatError if the model takes maps of any size, which Keras has and minicnn has not."""
    shape = entry.layers[0].config.get("batch_shape") if entry.layers else None
    if isinstance(shape, tuple) and None in shape[1:]:
        raise FileFormatError(
            f"{path}: leaves the input's size open, {shape}; give load_model input_shape=(height, width, channels)."
        )


def _check_outputs(entry: LayerEntry, layer: Layer) -> None:
    """Raise FileFormatError where the file says another shape of the layer's outputs than follows from its input's."""
    if entry.outputs is None or layer.input_shape is None:
        return
    ours = layer.output_shape(layer.input_shape)
    if tuple(entry.outputs[1:]) != ours:
        raise FileFormatError(
            f"{layer}: has output_shape {tuple(entry.outputs)}, where minicnn makes {(None, *ours)}; give the layer "
            "that shape in Keras."
        )


def make_layer(entry: LayerEntry, custom: dict[str, Any]) -> Layer:
    """The layer, unbuilt. custom: the caller's own classes by name."""
    cls = class_named("layer", Layer, LAYERS, entry.class_name, custom)
    return cls.from_config({key: _made(key, value, custom) for key, value in entry.config.items()})


def _made(key: str, value: Any, custom: dict[str, Any]) -> Any:
    """The object for an activation, initializer or regularizer of the caller's own; anything else as it is."""
    name = value.get("class_name") if isinstance(value, dict) else value
    if not isinstance(name, str) or name not in custom:
        return value
    if key == "activation":
        return activations.get(value, custom)
    if key.endswith("_initializer"):
        return initializers.get(value, custom)
    if key.endswith("_regularizer"):
        return regularizers.get(value, custom)
    return value


def _own_shapes(layer: Any, input_shape: Shape) -> list[Shape]:
    return list(layer.weight_shapes(input_shape))


def _dense_shapes(layer: Any, input_shape: Shape) -> list[Shape]:
    return [(input_shape[-1], layer.units), *([(layer.units,)] * layer.use_bias)]


def _batch_normalization_shapes(layer: Any, input_shape: Shape) -> list[Shape]:
    return [((0, *input_shape)[layer.axis],)] * (2 + layer.scale + layer.center)


WEIGHT_SHAPES: dict[Callable[..., None], Callable[[Any, Shape], list[Shape]]] = {
    Conv2D.build: _own_shapes,
    DepthwiseConv2D.build: _own_shapes,
    SeparableConv2D.build: _own_shapes,
    Conv2DTranspose.build: _own_shapes,
    Dense.build: _dense_shapes,
    BatchNormalization.build: _batch_normalization_shapes,
}
"""By a layer's build: the shapes of the arrays that it makes, so that their size is known before they are made."""


def _check_size(layers: list[Layer], stored: int) -> None:
    """Raise FileFormatError if the layers would take far more numbers than the file holds."""
    shape: Shape | None = None
    needed = 0
    for number, layer in enumerate(layers):
        if isinstance(layer, InputLayer) or (number == 0 and shape is None):
            shape = layer.declared_input_shape
        if shape is None:
            return
        layer.check_rank(shape)
        following = layer.output_shape(shape)
        if type(layer).build in WEIGHT_SHAPES:
            needed += sum(math.prod(s) for s in WEIGHT_SHAPES[type(layer).build](layer, shape))
        if needed > stored + _SPARE_NUMBERS:
            raise FileFormatError(
                f"up to {layer} the model needs {needed} numbers, the file holds {stored}; "
                "it is damaged or hostile, do not "
                "use it."
            )
        shape = following


@contextmanager
def _without_drawing(layer: Layer) -> Iterator[None]:
    """Build the layer with zeros in the block: the file's weights take the place of the initial ones at once."""
    own = {key: value for key, value in vars(layer).items() if isinstance(value, initializers.Initializer)}
    vars(layer).update(dict.fromkeys(own, initializers.Zeros()))
    try:
        yield
    finally:
        vars(layer).update(own)
