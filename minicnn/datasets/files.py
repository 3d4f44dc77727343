"""Where data sets lie on this machine, and what is said of a file that is not what it should be."""

import os
from pathlib import Path
from typing import TypeAlias

from minicnn.errors import DatasetError
from minicnn.typing import Array

Split: TypeAlias = tuple[Array, Array]
"""Images and their labels."""


def datasets_folder() -> Path:
    """minicnn's own folder: $MINICNN_HOME/datasets, by default ~/.minicnn/datasets. It need not exist."""
    return _home("MINICNN_HOME", ".minicnn") / "datasets"


def keras_folder() -> Path:
    """The folder where Keras keeps its downloads: $KERAS_HOME/datasets, by default ~/.keras/datasets."""
    return _home("KERAS_HOME", ".keras") / "datasets"


def damaged(path: Path, what: str) -> DatasetError:
    """The error for a file of a data set that cannot be used; what: what is wrong with it."""
    return DatasetError(
        f"{path}: {what}; replace it by the official file, or remove it to have it looked for elsewhere."
    )


def check_labels(path: Path, labels: Array, classes: int = 10) -> None:
    """Raises DatasetError if a label is not below the number of classes."""
    largest = int(labels.max(initial=0))
    if largest >= classes:
        raise damaged(path, f"holds the label {largest}, but labels go from 0 to {classes - 1}")


def _home(variable: str, default: str) -> Path:
    given = os.environ.get(variable)
    return Path(given).expanduser() if given else Path("~", default).expanduser()


def give_usual_mode(path: Path) -> None:
    """Give a file that its owner alone may read, as tempfile and pooch make them, the mode of any new file."""
    probe = path.with_name(f"{path.name}.mode")
    probe.touch()
    path.chmod(probe.stat().st_mode)
    probe.unlink()
