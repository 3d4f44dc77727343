"""`minicnn datasets`: what is on this machine, where, and how to get the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minicnn.cli.errors import ArgumentError
from minicnn.cli.output import print_table
from minicnn.cli.sources import load_data
from minicnn.datasets import DATASETS, cifar10, fashion_mnist, mnist
from minicnn.datasets.files import datasets_folder, keras_folder

datasets = typer.Typer(rich_markup_mode=None)

CONTENTS = {
    "mnist": "70,000 handwritten digits, 28x28, grey",
    "fashion_mnist": "70,000 pieces of clothing, 28x28, grey",
    "cifar10": "60,000 animals and vehicles, 32x32, in colour",
    "digits": "1,797 handwritten digits, 28x28, grey",
}


@datasets.callback(invoke_without_command=True)
def listing(context: typer.Context) -> None:
    """List data sets and where they are; fetch them.

    \b
    Examples:
      minicnn datasets
      minicnn datasets fetch mnist
    """
    if context.invoked_subcommand is None:
        rows = [(name, CONTENTS[name], _place_in_words(name)) for name in DATASETS]
        print_table(("name", "images", "where"), rows)


@datasets.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="mnist, fashion_mnist, cifar10")],
) -> None:
    """Download what is not here, check what is.

    \b
    Example:
      minicnn datasets fetch mnist cifar10
    """
    for name in names:
        if name not in DATASETS:
            raise ArgumentError(f"{name}: is no data set; choose from {', '.join(DATASETS)}.")
    for name in names:
        there = place(name) is not None or name == "digits"
        data = load_data(name)
        print(f"{name}: {data.counts}, {'already' if there else 'now'} in {_place_in_words(name)}")


def place(name: str) -> Path | None:
    """Where load_data finds the data set without a network; None if it has to be downloaded or is in a package."""
    own = datasets_folder()
    if name == "mnist":
        keras_file = keras_folder() / "mnist.npz"
        return own / name if mnist.OFFICIAL.is_in(own / name) else keras_file if keras_file.is_file() else None
    if name == "fashion_mnist":
        folders = (own / name, keras_folder() / "fashion-mnist", fashion_mnist.DEBIAN)
        return next((folder for folder in folders if fashion_mnist.OFFICIAL.is_in(folder)), None)
    if name == "cifar10":
        folder = own / cifar10.FOLDER
        if all((folder / file).is_file() for file in (*cifar10.TRAIN_FILES, cifar10.TEST_FILE)):
            return folder
        return own / cifar10.ARCHIVE if (own / cifar10.ARCHIVE).is_file() else None
    return None


def _place_in_words(name: str) -> str:
    if name == "digits":
        return "scikit-learn"
    found = place(name)
    return f"not here; minicnn datasets fetch {name}" if found is None else str(found)
