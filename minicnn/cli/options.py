"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

ModelFile: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="a model file, minicnn's or Keras's")]
Model: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL", help="a model file, minicnn's or Keras's, or a model of the exercise sheet")
]
BatchSize: TypeAlias = Annotated[
    int, typer.Option("--batch-size", "--batch", "-b", min=1, help="images at a time; the outcome is the same")
]
DivideBy: TypeAlias = Annotated[
    float, typer.Option(min=1e-6, help="divide the pixels, 0 to 255, as the model's training did, such as by 255")
]
KernelsName: TypeAlias = Literal["numba", "numpy"]
