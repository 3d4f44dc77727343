"""What becomes of a file's model when it is written in another format: what changes, and what is lost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from minicnn.errors import FileFormatError, MinicnnError
from minicnn.layers import LAYERS, InputLayer
from minicnn.saving import architecture, dialects, matching
from minicnn.saving.building import make_layer, naming
from minicnn.saving.contents import Contents, DeclaredLayer, declared_layers
from minicnn.saving.model_io import what_keras_refuses
from minicnn.saving.training_section import keras_3_variables
from minicnn.typing import Config, Shape

if TYPE_CHECKING:
    from minicnn.models import Sequential

HDF5, ARCHIVE, WEIGHTS, ONNX = ".h5", ".keras", ".weights.h5", ".onnx"
"""The formats that are written, by how a file's name ends."""

FORMATS = (HDF5, ARCHIVE, WEIGHTS, ONNX)


def format_of(path: Path) -> str | None:
    """Which of FORMATS a file of this name is written in; None if in none of them."""
    name = path.name.lower()
    if name.endswith(WEIGHTS):
        return WEIGHTS
    return {HDF5: HDF5, ".hdf5": HDF5, ARCHIVE: ARCHIVE, ONNX: ONNX}.get(path.suffix.lower())


def changes(found: Contents, model: Sequential) -> list[str]:
    """How the model that was read from a whole model's file differs from the file's, whatever is written next."""
    declared = [layer for layer in found.layers() if layer.class_name not in architecture.MODELS]
    nested = [layer.name or layer.where for layer in found.layers() if layer.class_name in architecture.MODELS]
    result = []
    if architecture.class_of(found.config) in architecture.FUNCTIONAL:
        result.append("the functional model, a chain of layers, becomes a Sequential")
    if nested:
        result.append(f"the layers of nested models ({matching.listed(nested)}) become the model's own")
    if is_channels_first(found.config):
        result.append("images and maps (channels, height, width) become (height, width, channels)")
    if found.backend == "theano":
        result.append("Theano's kernels are turned by 180 degrees, into the order of all others")
    dtypes = {dialects.dtype_name(layer.config.get("dtype")) for layer in declared} - {None, model.dtype.name}
    if dtypes:
        result.append(f"{matching.listed(sorted(map(str, dtypes)))} becomes {model.dtype.name}")
    kept = {layer.name for layer in model.layers}
    renamed = [layer.name for layer in declared if layer.name and layer.name not in kept and _has_name(layer)]
    if renamed:
        result.append(f"layers get other names: {matching.listed(renamed)}")
    return result


def losses(found: Contents, model: Sequential, format: str, optimizer_for: str = "keras3") -> list[str]:
    """What a file of that format does not keep of the file that the model was read from.

    model: as it will be written, uncompiled if its training is left out. optimizer_for: as in Sequential.save.
    """
    result = []
    if left_out := _left_out(found):
        result.append(f"what acts in training alone, and minicnn does not have: {matching.listed(left_out)}")
    if found.others:
        result.append(f"what minicnn does not read: {matching.listed(found.others)}")
    if format == ONNX:
        return result + _lost_in_onnx(model)
    if found.training is not None and not model.compiled:
        result.append("loss, metrics and optimizer")
    if model.optimizer is None and found.whole and (found.keras_optimizer or found.state):
        result.append("the optimizer's state")
    if format == WEIGHTS:
        return result + _lost_in_weights(found, model)
    if format == HDF5 and _steps(model) and optimizer_for == "keras3":
        result.append(
            "for Keras: the optimizer's state, which minicnn alone finds in .h5 files, and Keras 2 if written for it"
        )
    return result + [f"for Keras: the model, since {problem}" for problem in what_keras_refuses(model)]


def _left_out(found: Contents) -> list[str]:
    """What the model's layers lose by being read."""
    with suppress(MinicnnError):
        return architecture.model_from_keras(found.config).left_out() if found.config else []
    return []  # not understood, and so not read at all


def _lost_in_onnx(model: Sequential) -> list[str]:
    result = ["all that training needs: an ONNX file predicts, and neither minicnn nor Keras reads it"]
    if model.dtype.name == "float64":
        result.append("float64: weights are rounded to float32, in which it computes")
    return result


def _lost_in_weights(found: Contents, model: Sequential) -> list[str]:
    result = ["the layers, their settings and names: the weights serve who builds the same model"]
    if model.compiled:
        result.append("loss, metrics and the optimizer's settings")
    if _steps(model) and keras_3_variables(model) is None:
        result.append("the optimizer's state")
    if found.state is not None and model.compiled:
        result.append("the seed and the count of steps, by which minicnn goes on to the same bits")
    return result


def _steps(model: Sequential) -> int:
    return 0 if model.optimizer is None else model.optimizer.iterations


def is_channels_first(config: Config) -> bool:
    """Whether the model computes on maps (channels, height, width)."""
    values = [(layer.config.get("data_format"), layer.config.get("dim_ordering")) for layer in declared_layers(config)]
    return any(value in (("channels_first", None), (None, "th")) for value in values)


def _has_name(layer: DeclaredLayer) -> bool:
    """Whether the layer is one of the model's list under a name: the input is not."""
    return layer.class_name != InputLayer.__name__


def known_shapes(found: Contents) -> dict[str, Shape]:
    """By a layer's number its output's shape, without the batch, as far as minicnn's layers go from the input on."""
    foreign = {name for _, name in architecture.class_names(found.config)} - LAYERS.keys()
    result: dict[str, Shape] = {}
    try:
        with naming("shapes"):
            shape: Shape | None = None
            for entry in architecture.model_from_keras(found.config, foreign).layers:
                if entry.class_name in foreign:
                    break
                layer = make_layer(entry, {})
                shape = layer.declared_input_shape or shape
                if shape is None:
                    break
                layer.check_rank(shape)
                shape = layer.output_shape(shape)
                result[".".join(map(str, entry.order))] = shape
    except FileFormatError:
        pass  # from here on nothing is known, and why not is what load_model says
    return result
