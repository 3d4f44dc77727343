"""What `minicnn inspect` tells of a file, gathered as plain values, which JSON can hold."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.cli.output import plural
from minicnn.errors import FileFormatError, MinicnnError, MinicnnWarning
from minicnn.layers import Layer
from minicnn.models import Sequential, load_model
from minicnn.saving import architecture, compile_section, conversion, optimizer_state
from minicnn.saving.building import naming
from minicnn.saving.contents import KERAS_3_WEIGHTS, Contents, contents
from minicnn.saving.model_file import LayerWeights
from minicnn.typing import Array

MOST_LAYERS = 1_000
"""Of which rows are made; a hostile file may list a million."""


@dataclass
class Row:
    """A layer. number: its place in the list, "3.0" in a nested model. arrays: the shapes of its arrays.

    output_shape: without the batch; None where it is not known.
    """

    number: str
    name: str
    class_name: str
    output_shape: tuple[int, ...] | None
    parameters: int
    arrays: list[tuple[int, ...]]


@dataclass
class Report:
    """All that is told. loads: whether load_model reads the file, else why_not says why. lost: by format."""

    file: str
    format: str
    bytes: int
    keras_version: str | None
    saved: str | None
    by_minicnn: bool
    backend: str | None
    model: str | None = None
    input_shape: tuple[int, ...] | None = None
    layers: list[Row] = field(default_factory=list)
    layers_left_out: int = 0
    parameters: int = 0
    trainable: int | None = None
    not_finite: list[str] = field(default_factory=list)
    compiled: bool = False
    loss: str | None = None
    metrics: list[str] = field(default_factory=list)
    optimizer: str | None = None
    optimizer_state: str | None = None
    training_state: str | None = None
    problems: list[str] = field(default_factory=list)
    loads: bool = False
    why_not: str | None = None
    warnings: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    lost: dict[str, list[str]] = field(default_factory=dict)
    """Empty for formats into which the file cannot be converted."""


def report_on(path: Path) -> Report:
    """The report on the file at path. Raises FileFormatError if it is no model file, or damaged as a whole."""
    found = contents(path)
    report = Report(
        file=str(path),
        format=found.format,
        bytes=path.stat().st_size,
        keras_version=found.keras_version,
        saved=found.saved,
        by_minicnn=found.by_minicnn,
        backend=found.backend,
        parameters=sum(array.size for entry in found.weights for _, array in entry.arrays),
        not_finite=[name for entry in found.weights for name, array in entry.arrays if not np.isfinite(array).all()],
        problems=[_without(path, problem) for problem in found.problems],
    )
    model = _loaded(path, report)
    if found.config:
        name = (found.config.get("config") or {}).get("name") if isinstance(found.config.get("config"), dict) else None
        report.model = f"{architecture.class_of(found.config)}" + (f" {name!r}" if isinstance(name, str) else "")
    rows = _rows_of_model(model) if model is not None and model.built else _rows_of_file(found)
    report.layers, report.layers_left_out = rows[:MOST_LAYERS], max(0, len(rows) - MOST_LAYERS)
    _add_training(report, found)
    if model is not None:
        _add_model(report, found, model, path)
    return report


def _loaded(path: Path, report: Report) -> Sequential | None:
    """The model, if load_model reads it; its refusal and warnings go into the report."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = load_model(path)
        except MinicnnError as error:
            model, report.why_not = None, _without(path, str(error))
    report.loads = model is not None
    own = [str(warning.message) for warning in caught if issubclass(warning.category, MinicnnWarning)]
    report.warnings = [_without(path, text) for text in own]
    return model


def _add_model(report: Report, found: Contents, model: Sequential, path: Path) -> None:
    if model.built:
        report.input_shape = tuple(size for size in model.input_shape[1:] if size is not None)
        report.trainable = model._count_trained()
        report.lost = {format: conversion.losses(found, model, format) for format in conversion.FORMATS}
    report.changes = conversion.changes(found, model)


def _without(path: Path, message: str) -> str:
    """A message without the file's name in front."""
    return message.removeprefix(f"{path}: ")


# -- layers


def _rows_of_model(model: Sequential) -> list[Row]:
    return [_row_of(number, layer) for number, layer in enumerate(model.layers)]


def _row_of(number: int, layer: Layer) -> Row:
    assert layer.input_shape is not None
    shapes = [array.shape for array in layer.weights().values()]
    name, shape = type(layer).__name__, layer.output_shape(layer.input_shape)
    return Row(str(number), layer.name, name, shape, layer.count_params(), shapes)


def _rows_of_file(found: Contents) -> list[Row]:
    """What the file lists as layers with the arrays that it holds for each; then arrays that belong to none of them."""
    shapes = conversion.known_shapes(found)
    by_name = {entry.layer: entry for entry in found.weights} if not found.places else {}
    by_place = dict(zip(found.places, found.weights, strict=True)) if found.places else {}
    rows, matched = [], set()
    for layer in found.layers():
        entry = by_place.get(layer.place) or (by_name.get(layer.name) if "." not in layer.where else None)
        if entry is not None:
            matched.add(id(entry))
        rows.append(_row(layer.where, layer.name, layer.class_name, shapes.get(layer.where), entry))
    places = found.places or [()] * len(found.weights)
    for place, entry in zip(places, found.weights, strict=True):
        if id(entry) not in matched and (entry.arrays or not found.config):
            rows.append(_row("", entry.layer, place[-1][0] if place else "", None, entry))
    return rows


def _row(number: str, name: str, class_name: str, shape: tuple[int, ...] | None, entry: LayerWeights | None) -> Row:
    arrays: list[Array] = [] if entry is None else [array for _, array in entry.arrays]
    return Row(number, name, class_name, shape, sum(a.size for a in arrays), [a.shape for a in arrays])


# -- training


def _add_training(report: Report, found: Contents) -> None:
    """What the compile section says, and how far the optimizer has come."""
    report.compiled = found.training is not None
    if found.training is not None:
        try:
            with naming("compile section"):
                entry = compile_section.compile_from_keras(found.training)
                report.loss = None if entry.loss is None else _in_words(entry.loss)
                report.metrics = [_in_words(metric) for metric in (*entry.metrics, *entry.weighted_metrics)]
                report.optimizer = _in_words(entry.optimizer)
        except FileFormatError as error:
            report.problems.append(str(error))
    try:
        report.optimizer_state = _state_in_words(found)
    except FileFormatError as error:
        report.problems.append(f"the optimizer's state is damaged: {error}; load_model and load_weights leave it out.")
    if found.state is not None:
        state = found.state
        report.training_state = (
            f"seed {state.seed}, {plural(state.steps_trained, 'step')} and {plural(state.epochs_trained, 'epoch')}"
        )


def _in_words(entry: Any) -> str:
    """ "mse" as it is, a configuration as Adam(learning_rate=0.001). Only plain values are shown."""
    if not isinstance(entry, dict):
        return str(entry)
    arguments = []
    for key, value in entry.get("config", {}).items():
        if isinstance(value, dict) and isinstance(value.get("class_name"), str):
            value = value["class_name"]
        if key != "name" and isinstance(value, (str, int, float)) and value is not False:
            arguments.append(f"{key}={value}")
    return f"{entry.get('class_name')}({', '.join(arguments)})"


def _state_in_words(found: Contents) -> str | None:
    """How far the optimizer has come. Raises FileFormatError, without the file's name, if its counter is damaged."""
    if found.state is not None and found.state.optimizer is not None:
        state = found.state.optimizer
        slots = ", ".join(state.slots) or "no slots"
        return f"after {plural(state.iterations, 'step')}, {slots}; where minicnn alone finds them"
    stored = found.keras_optimizer
    if not stored:
        return None
    (name, first), rest = stored[0], stored[1:]
    has_counter = first.shape == () and re.search(r"iter(ation)?s?(:0)?$", name) is not None
    arrays = [array for _, array in (rest if has_counter else stored) if array.shape != ()]
    steps = f"after {plural(optimizer_state.counted(name, first), 'step')}, " if has_counter else ""
    return f"{steps}{len(arrays)} arrays of {sum(a.size for a in arrays):,} numbers"


def why_not_written(report: Report, format: str) -> str:
    """Why the file cannot be converted into the format as it stands."""
    if report.format.startswith("weights"):
        same = format == conversion.WEIGHTS and report.format == KERAS_3_WEIGHTS
        return "is in this format already" if same else "weights alone: name the model that they are for with --model"
    return "cannot be loaded" if not report.loads else "says no input shape, so there are no weights to write"
