"""Arguments and options that several commands have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer


def finite(number: float | None) -> float | None:
    """The callback of an option that takes no infinity; its min refuses NaN."""
    if number is None or math.isfinite(number):
        return number
    raise typer.BadParameter(f"must be a finite number, got '{number}'")


ModelFile: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="a model file, minicnn's or Keras's")]
Model: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL", help="a model file, minicnn's or Keras's, or a model of the exercise sheet")
]
BatchSize: TypeAlias = Annotated[
    int, typer.Option("--batch-size", "--batch", "-b", min=1, help="images at a time; the outcome is the same")
]
DivideBy: TypeAlias = Annotated[
    float,
    typer.Option(
        min=1e-6, callback=finite, help="divide the pixels, 0 to 255, as the model's training did, such as by 255"
    ),
]
KernelsName: TypeAlias = Literal["numba", "numpy"]
