"""`minicnn evaluate`: how good a trained model is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from minicnn import plotting
from minicnn.cli.errors import ArgumentError, wrong_ending
from minicnn.cli.options import BatchSize, DivideBy, ModelFile
from minicnn.cli.output import percent
from minicnn.cli.running import data_of
from minicnn.cli.sources import DataName, load_data, loss_for, need_built, need_fit, open_model, scores

FIGURES = (".png", ".pdf", ".svg")


def evaluate(
    file: ModelFile,
    data: Annotated[
        DataName | None, typer.Option(help="data set whose test images are taken", show_default="that of its training")
    ] = None,
    batch_size: BatchSize = 256,
    divide_by: DivideBy = 1.0,
    confusion: Annotated[
        Path | None, typer.Option(help="draw which classes it takes for which into this .png, .pdf or .svg file")
    ] = None,
) -> None:
    """Loss and accuracy on a data set's test images.

    \b
    Examples:
      minicnn evaluate runs/lenet5/model.h5
      minicnn evaluate model.h5 --data fashion_mnist --confusion confusion.png
    """
    if confusion is not None and confusion.suffix.lower() not in FIGURES:
        raise wrong_ending(confusion, FIGURES)
    if confusion is not None and not confusion.parent.is_dir():
        raise ArgumentError(f"{confusion}: there is no folder {confusion.parent}; make it first.")
    model = open_model(file)
    need_built(model, file)
    images = load_data(data or data_of(model, str(file)))
    need_fit(model, images, str(file))
    x, classes = images.test
    if divide_by != 1:
        x = x / np.float32(divide_by)
    if not model.compiled:
        model.compile(loss=loss_for(model), metrics=["accuracy"])
    loss, accuracy = scores(model, x, classes, len(images.class_names), batch_size)
    print(f"{file} on {len(x):,} test images of {images.name}")
    print(f"Test accuracy: {percent(accuracy)} (loss {loss:.4f})")
    if confusion is not None:
        predicted = model.predict(x, batch_size=batch_size, verbose=0)
        plotting.confusion_matrix(classes, predicted, images.class_names).savefig(confusion)
        print(f"Wrote {confusion}")
