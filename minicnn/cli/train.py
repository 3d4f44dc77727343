"""`minicnn train`: one model, one data set, one output folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from minicnn.applications import APPLICATIONS
from minicnn.cli.errors import INTERRUPTED, ArgumentError, say
from minicnn.cli.interruption import Stopped
from minicnn.cli.options import finite
from minicnn.cli.output import duration, percent, plural
from minicnn.cli.planning import plan, ready
from minicnn.cli.record import CSV_FILE, JSON_FILE
from minicnn.cli.running import Folder, Result, Settings, run
from minicnn.cli.sources import Data, DataName, find_model, load_data, need_fit
from minicnn.models import Sequential

OptimizerName: TypeAlias = Literal["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamw"]


def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model of the exercise sheet, or a model file")],
    data: Annotated[
        DataName | None, typer.Option(help="images to learn", show_default="what the model is for, or learned")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", "-e", min=1, help="passes through the images", show_default="the sheet's, or 10"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", "--batch", "-b", min=1, help="images a step", show_default="the sheet's, or 32"),
    ] = None,
    optimizer: Annotated[
        OptimizerName | None, typer.Option(help="how the weights are moved", show_default="the file's, or adam")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            *("--learning-rate", "--rate"),
            min=0,
            callback=finite,
            help="how far",
            show_default="the sheet's or the optimizer's",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="the same seed, the same bits", show_default="0")] = None,
    validation_split: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.9, help="part of the training images to hold out, to watch for overfitting", show_default="0.1"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="folder for what comes out", show_default="runs/MODEL")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with the training in the folder, as if it had never stopped")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="drop the training in the folder")] = False,
) -> None:
    """Train a model and write what came out.

    MODEL is a name (cnn_relu, cnn_tanh, cnn_dropout, lenet5, alexnet_mnist, cnn_cifar10, lenet5_cifar10,
    alexnet_cifar10), which is trained as the exercise sheet does, or a model file of minicnn's or Keras's, which is
    trained further. The output folder gets the model, the history as JSON and CSV, the learning curves, and backup/,
    the state from which --resume goes on; it stays there.

    Ctrl-C stops after the step at hand and saves; --resume goes on from the last epoch that was over, so it repeats the
    one that was stopped, to the same bits as without the stop. More --epochs with --resume prolong a training that is
    over.

    \b
    Examples:
      minicnn train lenet5
      minicnn train lenet5 --data digits --epochs 3 --output runs/digits
      minicnn train runs/digits/model.h5 --data mnist --rate 1e-4 --output runs/further
      minicnn train lenet5 --resume
    """
    if resume and overwrite:
        raise ArgumentError("--resume and --overwrite exclude each other; give one.")
    opened = None if model in APPLICATIONS else find_model(model)
    given = {
        "model": model,
        "data": data,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "seed": seed,
        "validation_split": validation_split,
    }
    given = {name: value for name, value in given.items() if value is not None}
    folder = Folder(output or Path("runs") / Path(model).stem)
    if opened is not None and folder.model.exists() and folder.model.samefile(model):
        raise ArgumentError(f"{model}: would be overwritten by its own training; choose another --output.")
    settings = plan(opened, folder, given, resume, overwrite)
    images = load_data(settings.data, settings.validation_split, settings.seed)
    network = ready(opened, settings)
    need_fit(network, images, model)
    folder.make()  # now that all that was named is there and fits
    if overwrite:
        folder.clear()
    announce(network, images, settings)
    try:
        result = run(network, images, settings, folder)
    except Stopped as stopped:
        command = shlex.join(["minicnn", "train", model, "--output", str(folder.path), "--resume"])
        say(f"stopped in epoch {stopped.epoch} of {settings.epochs}; saved {folder.model}. Go on with: {command}")
        raise typer.Exit(INTERRUPTED) from None
    report(result, folder)


def announce(model: Sequential, data: Data, settings: Settings) -> None:
    """What is going to happen."""
    assert model.optimizer is not None
    print(f"{data.name}: {data.counts}\n")
    model.summary()
    print(
        f"\n{plural(settings.epochs, 'epoch')}, batches of {settings.batch_size}, {type(model.optimizer).__name__}, "
        f"seed {settings.seed}",
        flush=True,
    )


def report(result: Result, folder: Folder) -> None:
    """What came out, and where it is."""
    print(f"\nTest accuracy: {percent(result.test_accuracy)} (loss {result.test_loss:.4f})")
    print(f"{plural(result.epochs, 'epoch')} in {duration(result.seconds)}")
    files = ", ".join((folder.model.name, JSON_FILE, CSV_FILE, folder.figure.name))
    print(f"Wrote {files} into {folder.path}")
