"""`minicnn inspect`: what is in a model file, whether minicnn reads it, and what other formats would not keep."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from typing import Annotated

import typer

from minicnn.cli.errors import ArgumentError, no_such_file
from minicnn.cli.file_report import Report, Row, report_on, why_not_written
from minicnn.cli.options import ModelFile
from minicnn.cli.output import print_table
from minicnn.errors import FileFormatError
from minicnn.saving.contents import KERAS_2_WEIGHTS, WHOLE_HDF5
from minicnn.saving.conversion import FORMATS
from minicnn.saving.matching import listed

WIDTH = 118
LABEL = 14
LONGEST = 60
"""Of a name from a file; the rest is cut."""


def inspect(
    file: ModelFile,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """What is in a model file, whoever wrote it.

    Its format, Keras's version and backend, the layers with shapes and parameters, how it was compiled and how far its
    training has come; whether minicnn loads it, or why not; what .h5, .keras, .weights.h5 and .onnx files would not
    keep of it. Nothing in the file is executed. Files that minicnn does not load are told of as far as possible.

    \b
    Examples:
      minicnn inspect runs/lenet5/model.h5
      minicnn inspect downloaded.keras --json
    """
    if not file.exists():
        raise no_such_file(file)
    try:
        report = report_on(file)
    except FileFormatError as error:
        raise ArgumentError(str(error)) from error
    if as_json:
        print(json.dumps(asdict(report)))
        return
    _print_origin(report)
    _print_layers(report)
    _print_training(report)
    _print_verdict(report)


def _print_origin(report: Report) -> None:
    version = report.keras_version or ("not said, as of Keras 1" if _is_old(report) else "not said")
    if report.by_minicnn:
        version = "written by minicnn" + (f" as Keras {report.keras_version} does" if report.keras_version else "")
    _line("File", f"{report.file}, {report.bytes:,} bytes")
    _line("Format", report.format)
    _line("Keras", version + (f", saved {report.saved}" if report.saved else ""))
    _line("Backend", report.backend or ("not said, taken for TensorFlow's" if _is_old(report) else "not said"))
    if report.model:
        _line("Model", report.model)
    if report.input_shape is not None:
        _line("Input", _batched(report.input_shape))


def _is_old(report: Report) -> bool:
    """Whether the format is one of those that Keras 1 had, which wrote neither its version nor its backend."""
    return report.format in (WHOLE_HDF5, KERAS_2_WEIGHTS)


def _print_layers(report: Report) -> None:
    print()
    if report.layers:
        rows = [_cells(row) for row in report.layers]
        columns = ("", "layer", "class", "output shape", "parameters", "arrays")
        print_table(columns, rows, right=("", "parameters"))
    if report.layers_left_out:
        print(f"... and {report.layers_left_out:,} more")
    trainable = "" if report.trainable is None else f", {report.trainable:,} of them trainable"
    print(f"{report.parameters:,} parameters{trainable}\n")


def _cells(row: Row) -> tuple[str, ...]:
    shape = _batched(row.output_shape) if row.output_shape is not None else "?" if row.number else ""
    arrays = ", ".join("x".join(map(str, shape)) or "1" for shape in row.arrays)
    return row.number, _shown(row.name), _shown(row.class_name), shape, f"{row.parameters:,}", arrays


def _print_training(report: Report) -> None:
    if report.optimizer is None:
        _line("Compiled", "yes, in a way that minicnn does not understand" if report.compiled else "no")
    else:
        _line("Loss", report.loss or "none")
        _line("Metrics", ", ".join(report.metrics) or "none")
        _line("Optimizer", report.optimizer)
    _line("Its state", report.optimizer_state or "none")
    if report.training_state:
        _line("Trained", f"{report.training_state}, for minicnn to go on to the same bits")
    print()


def _print_verdict(report: Report) -> None:
    for problem in report.problems:
        _line("Problem", problem)
    if report.not_finite:
        _line("Problem", f"NaN or infinite numbers in {listed(report.not_finite)}")
    _line("minicnn", "loads it" if report.loads else f"does not load it: {report.why_not}")
    for warning in report.warnings:
        _line("", f"Warning: {warning}")
    for change in report.changes:
        _line("", f"{change[0].upper()}{change[1:]}")
    print("\nWhat is lost in conversion to")
    for format in FORMATS:
        lost = report.lost.get(format)
        if lost is None:
            lost = [f"not possible: {why_not_written(report, format)}"]
        for number, text in enumerate(lost or ["nothing"]):
            _line("" if number else f"  {format}", text)


def _line(label: str, text: str) -> None:
    """A label and a text beside it, wrapped."""
    lines = textwrap.wrap(_shown(text, 2_000), WIDTH - LABEL, break_long_words=False, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        print(f"{'' if number else label:<{LABEL}}{line}")


def _shown(text: str, longest: int = LONGEST) -> str:
    """Text from a file, cut, without what a terminal would obey."""
    clean = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: longest + 1])
    return clean if len(clean) <= longest else f"{clean[: longest - 3]}..."


def _batched(shape: tuple[int, ...]) -> str:
    return str((None, *shape))
