"""`minicnn convert`: a model file into another format."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

import typer

from minicnn import saving
from minicnn.cli.errors import ArgumentError, no_such_file, say, wrong_ending
from minicnn.cli.sources import find_model, need_built, open_model
from minicnn.errors import FileFormatError, MinicnnError, MinicnnWarning
from minicnn.models import Sequential
from minicnn.saving import atomic, conversion, safe_json
from minicnn.saving.building import built_model, understood
from minicnn.saving.contents import ARCHIVE, KERAS_3_WEIGHTS, Contents, contents
from minicnn.saving.conversion import is_channels_first
from minicnn.saving.model_file import ModelFile

BackendName: TypeAlias = Literal["tensorflow", "theano", "cntk", "jax", "torch"]
OptimizerFor: TypeAlias = Literal["keras3", "keras2"]
DataFormat: TypeAlias = Literal["channels_last", "channels_first"]


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="a model file, minicnn's or Keras's")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="the file to write: .keras, .h5, .weights.h5 (weights alone) or .onnx")
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="replace OUT if it exists")] = False,
    no_optimizer: Annotated[
        bool, typer.Option("--no-optimizer", help="leave out loss, metrics, optimizer and its state")
    ] = False,
    optimizer_for: Annotated[
        OptimizerFor | None,
        typer.Option(help="the Keras that is to train on from an .h5 or .keras file", show_default="keras3"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="for weights alone: the model that they are for, a file, Keras's to_json in a .json file, or a name",
            show_default="none",
        ),
    ] = None,
    backend: Annotated[
        BackendName | None,
        typer.Option(help="what Keras ran on, for an IN that does not say: theano's kernels are turned"),
    ] = None,
    data_format: Annotated[
        DataFormat | None,
        typer.Option(help="for weights alone: the order of the maps in the model that they were trained in"),
    ] = None,
) -> None:
    """Write a model in another format.

    Every format that minicnn reads goes in. What OUT cannot keep is told; `minicnn inspect IN` tells it beforehand. OUT
    appears whole or not at all, and an old file is only replaced with --force.

    \b
    Examples:
      minicnn convert model.h5 model.keras
      minicnn convert runs/lenet5/model.h5 lenet5.onnx
      minicnn convert old_theano.h5 new.h5 --backend theano --no-optimizer
      minicnn convert lenet5.weights.h5 lenet5.keras --model lenet5
      minicnn convert weights.h5 model.keras --model model.json --data-format channels_first
    """
    format = _check_target(target, force)
    _check_optimizer_for(optimizer_for, target, format, no_optimizer)
    if not source.exists():
        raise no_such_file(source)
    found = _contents(source, backend, data_format, model)
    options: dict[str, Any] = {} if found.backend or backend is None else {"backend": backend}
    if model is None:
        network = open_model(source, compile=not no_optimizer, **options)
        need_built(network, source)
    else:
        options |= {} if data_format is None else {"data_format": data_format}
        network = _with_weights(model, source, found, not no_optimizer, options)
    _write(network, target, format, optimizer_for or "keras3")
    print(f"Wrote {target}: {network.count_params():,} parameters in {len(network.layers)} layers")
    _tell(found, network, format, optimizer_for or "keras3")


def _check_target(target: Path, force: bool) -> str:
    """The format to write. Raises ArgumentError before any work is done."""
    format = conversion.format_of(target)
    if format is None:
        raise wrong_ending(target, conversion.FORMATS)
    try:
        atomic.check_target(target, True, (target.suffix.lower(),), "convert")
        exists = target.exists()
    except MinicnnError as error:
        raise ArgumentError(str(error)) from error
    if exists and not force:
        raise ArgumentError(f"{target}: exists; give --force to replace it, or another name.")
    return format


def _check_optimizer_for(optimizer_for: str | None, target: Path, format: str, no_optimizer: bool) -> None:
    """Raises ArgumentError for an --optimizer-for that would change nothing."""
    if optimizer_for is None:
        return
    if format not in (conversion.HDF5, conversion.ARCHIVE):
        raise ArgumentError(
            f"--optimizer-for {optimizer_for}: {target} does not keep how a model is compiled; "
            "leave out --optimizer-for."
        )
    if no_optimizer:
        raise ArgumentError(
            f"--optimizer-for {optimizer_for}: --no-optimizer leaves the optimizer out; give one of both."
        )


def _contents(source: Path, backend: str | None, data_format: str | None, model: str | None) -> Contents:
    """What IN holds. Raises ArgumentError if it is no model file, or if the options do not go with it."""
    try:
        found = contents(source)
    except FileFormatError as error:
        raise ArgumentError(str(error)) from error
    if backend is not None and found.backend not in (None, backend):
        raise ArgumentError(f"--backend {backend}: {source} says that it is of {found.backend}; leave out --backend.")
    if backend == "theano" and found.format in (ARCHIVE, KERAS_3_WEIGHTS):
        raise ArgumentError(f"--backend theano: {source} is in a format that came after Theano; leave out --backend.")
    if data_format is not None and found.whole:
        raise ArgumentError(f"--data-format {data_format}: {source} holds a whole model, which says it; leave it out.")
    if model is not None and found.whole:
        raise ArgumentError(f"--model {model}: {source} holds a whole model; leave out --model.")
    if model is None and not found.whole:
        raise ArgumentError(f"{source}: holds weights alone; name the model that they are for with --model.")
    return found


def _with_weights(model: str, source: Path, found: Contents, compile: bool, options: dict[str, Any]) -> Sequential:
    """The model with the weights of IN. options: of load_weights."""
    if Path(model).suffix.lower() == ".json":
        network, layout = _from_json(Path(model), found)
        options = {**layout, **options}
    else:
        network = find_model(model, compile)
    need_built(network, model)
    try:
        network.load_weights(source, **options)
    except FileFormatError as error:
        raise ArgumentError(str(error)) from error
    return network


def _from_json(path: Path, found: Contents) -> tuple[Sequential, dict[str, Any]]:
    """The model that Keras's to_json described, and what load_weights has to know of the order of its arrays.

    found: of the weights, which the model must not exceed by far.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(safe_json.MAX_CHARACTERS + 1)
        config = safe_json.parse_object(text, str(path))
        described = ModelFile(config, found.weights, entry=understood(config, path, {}))
        network = built_model(described, path, {}, {})
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(
            f"{path}: cannot be read: {getattr(error, 'strerror', 'it is no text')}; check the name."
        ) from error
    except MinicnnError as error:
        raise ArgumentError(str(error)) from error
    backend = config.get("backend") if found.backend is None else None
    options = {"backend": backend} if backend in get_args(BackendName) else {}
    return network, options | ({"data_format": "channels_first"} if is_channels_first(config) else {})


def _write(network: Sequential, target: Path, format: str, optimizer_for: str) -> None:
    if format == conversion.ONNX:
        saving.export_onnx(network, target)
    elif format == conversion.WEIGHTS:
        network.save_weights(target)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MinicnnWarning)  # of what Keras refuses, which is told as not kept
            network.save(target, optimizer_for=optimizer_for)


def _tell(found: Contents, network: Sequential, format: str, optimizer_for: str) -> None:
    """What is otherwise in OUT than in IN."""
    if found.whole:
        for change in conversion.changes(found, network):
            say(f"note: {change}.")
    for lost in conversion.losses(found, network, format, optimizer_for):
        say(f"not kept: {lost}.")
