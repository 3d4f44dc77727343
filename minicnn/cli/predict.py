"""`minicnn predict`: what a trained model sees in the caller's own images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from minicnn.activations import sigmoid, softmax
from minicnn.applications import MNIST_SHAPE
from minicnn.cli.errors import ArgumentError, CommandError, say
from minicnn.cli.framing import FRAMES
from minicnn.cli.images import Picture, read_picture
from minicnn.cli.options import DivideBy, ModelFile
from minicnn.cli.output import percent
from minicnn.cli.running import trained_on
from minicnn.cli.sources import BATCH, DataName, ends_in_probabilities, need_built, open_model, suggested_data
from minicnn.datasets import DATASETS
from minicnn.models import Sequential
from minicnn.typing import Array


def predict(
    file: ModelFile,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="PNG or JPEG files")],
    data: Annotated[
        DataName | None,
        typer.Option(
            help="data set that the model knows: its class names and its frame",
            show_default="that of its training, else one that fits",
        ),
    ] = None,
    invert: Annotated[
        bool | None,
        typer.Option(
            "--invert/--no-invert",
            help="swap dark and light, for models of bright figures on dark ground",
            show_default="if a grey image is bright at its border",
        ),
    ] = None,
    centre: Annotated[
        bool, typer.Option(help="for models of mnist and digits: bring the figure to the size and place of theirs")
    ] = True,
    divide_by: DivideBy = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, one object an image")] = False,
) -> None:
    """The class of images, with probabilities.

    An image is made grey or coloured, padded to the model's proportions and resized to its input, as needed; what was
    done is shown behind the class. The data set is known for model.h5 in a folder that `minicnn train` wrote; for other
    files it is guessed by the shape of the input, and a note says so.

    Outputs of a last softmax or sigmoid are the probabilities; others are taken for its logits.

    \b
    Examples:
      minicnn predict runs/lenet5/model.h5 seven.png
      minicnn predict runs/cnn_cifar10/model.h5 --data cifar10 cat.jpg dog.jpg
    """
    model = open_model(file, compile=False)
    need_built(model, file)
    shape = _image_shape(model, file)
    known = data or trained_on(file) or _guess(model, file)
    frame = FRAMES.get(known or "") if centre and shape == MNIST_SHAPE else None
    pictures = [read_picture(path, shape, invert, frame) for path in images]
    x = np.stack([picture.pixels for picture in pictures]) / np.float32(divide_by)
    probabilities = _probabilities(model, x, file)
    names = _class_names(known, probabilities.shape[1], file)
    for path, picture, row in zip(images, pictures, probabilities, strict=True):
        if as_json:
            print(_json(path, picture, row, names))
        else:
            print(_text(path, picture, row, names))


def _image_shape(model: Sequential, file: Path) -> tuple[int, int, int]:
    shape = model.input_shape[1:]
    if len(shape) != 3 or shape[2] not in (1, 3) or shape[0] is None or shape[1] is None:
        raise ArgumentError(
            f"{file}: {model} takes samples {model.input_shape}, not images (None, height, width, 1 or 3); "
            "give a model for "
            "images."
        )
    return shape[0], shape[1], shape[2]


def _guess(model: Sequential, file: Path) -> str | None:
    """The data set whose images and number of classes fit the model, which a note tells; None if there is none."""
    name = suggested_data(model)
    if name is None or model.output_shape[1:] != (len(DATASETS[name].CLASS_NAMES),):
        return None
    say(f"note: {file} does not say what it was trained on; by its shape, {name}. If not, name it with --data.")
    return name


def _probabilities(model: Sequential, x: Array, file: Path) -> Array:
    """(N, K) probabilities: outputs of a last softmax or sigmoid as they are, others, logits, through one of them.

    A lone output p becomes 1 − p and p. Several of a sigmoid stand each for itself; all other rows have sum 1.
    Raises ArgumentError for no classifier, CommandError for NaN or infinity.
    """
    outputs = model.predict(x, batch_size=BATCH, verbose=0).astype(np.float64)
    if outputs.ndim != 2:
        raise ArgumentError(
            f"{file}: {model} has outputs {model.output_shape}; predict takes (None, classes); give a classifier."
        )
    if not np.isfinite(outputs).all():
        raise CommandError(f"{file}: {model} has outputs that are NaN or infinite; train it anew, or give another.")
    lone = outputs.shape[1] == 1
    if not ends_in_probabilities(model):
        outputs = (sigmoid if lone else softmax)(outputs)
    return np.hstack([1 - outputs, outputs]) if lone else outputs


def _class_names(data: str | None, classes: int, file: Path) -> list[str]:
    if data is None:
        return [str(k) for k in range(classes)]
    names = list(DATASETS[data].CLASS_NAMES)
    if len(names) != classes:
        raise ArgumentError(
            f"--data {data}: has {len(names)} classes, but {file} tells {classes} apart; "
            "name the data set that it was trained on."
        )
    return names


def _text(path: Path, picture: Picture, row: Array, names: list[str]) -> str:
    """The class, what was done to the image, and the probabilities in the order of the classes."""
    best = int(row.argmax())
    changes = f"  ({', '.join(picture.changes)})" if picture.changes else ""
    cells = [f"{name}: {percent(p)}" for name, p in zip(names, row, strict=True)]
    lines = [", ".join(cells[k : k + 5]) for k in range(0, len(cells), 5)]
    return "\n    ".join([f"{path}: {names[best]}, {percent(row[best])}{changes}", *lines])


def _json(path: Path, picture: Picture, row: Array, names: list[str]) -> str:
    best = int(row.argmax())
    return json.dumps(
        {
            "image": str(path),
            "class": best,
            "name": names[best],
            "probabilities": dict(zip(names, map(float, row), strict=True)),
            "changes": picture.changes,
        }
    )
