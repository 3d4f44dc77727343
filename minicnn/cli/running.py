"""One training into one folder: what `train` and `exercises` have in common.

The folder holds training.json (settings and, once finished, results), history.json and history.csv, model.h5,
learning_curves.png, and backup/, from which the training goes on bit for bit after an interruption.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from minicnn import plotting
from minicnn.callbacks import BackupAndRestore
from minicnn.callbacks.backup import LATEST, PREVIOUS
from minicnn.cli.errors import ArgumentError, CommandError
from minicnn.cli.interruption import Interruption, Stopped
from minicnn.cli.record import CSV_FILE, JSON_FILE, START_ANEW, Record, read_json, write_text
from minicnn.cli.sources import Data, default_data, labels_for, scores
from minicnn.datasets import DATASETS
from minicnn.models import Sequential

MODEL_FILE, FIGURE_FILE, STATE_FILE, BACKUP = "model.h5", "learning_curves.png", "training.json", "backup"
FILES = (STATE_FILE, JSON_FILE, CSV_FILE, MODEL_FILE, FIGURE_FILE)


@dataclass(frozen=True)
class Settings:
    """All that decides the outcome of a training.

    model: a name of minicnn.applications or a model file. optimizer, learning_rate: None leaves what the model file
    brings. validation_split: the part of the training images that is held out. images: only so many of the training
    images, and half as many for testing; None takes all.
    """

    model: str
    data: str
    epochs: int
    batch_size: int
    optimizer: str | None
    learning_rate: float | None
    seed: int
    validation_split: float
    images: int | None = None


@dataclass(frozen=True)
class Result:
    """What came out. Accuracies from 0 to 1, those of training and validation from the last epoch, None if there are
    none; seconds: of all epochs, validation included."""

    parameters: int
    epochs: int
    seconds: float
    test_loss: float
    test_accuracy: float
    accuracy: float | None
    val_accuracy: float | None


class Folder:
    """The output folder of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Make it, if it is not there. Raises ArgumentError where that fails, or no file can be written into it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(
                f"{self.path}: cannot make the folder ({error.strerror}); choose another --output."
            ) from error
        try:
            with TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise ArgumentError(
                f"{self.path}: cannot write into the folder ({error.strerror}); choose another --output."
            ) from error

    @property
    def model(self) -> Path:
        return self.path / MODEL_FILE

    @property
    def figure(self) -> Path:
        return self.path / FIGURE_FILE

    def state(self) -> tuple[Settings, Result | None] | None:
        """The settings of the training that the folder holds, and its result once finished; None if it holds none."""
        path = self.path / STATE_FILE
        stored = read_json(path)
        if stored is None:
            return None
        try:
            settings, result = Settings(**stored["settings"]), stored.get("result")
            if not isinstance(settings.model, str) or settings.data not in DATASETS:
                raise KeyError
            return settings, None if result is None else Result(**result)
        except (KeyError, TypeError):
            raise CommandError(f"{path}: is not written by this version of minicnn; {START_ANEW}.") from None

    def write(self, settings: Settings, result: Result | None = None) -> None:
        state: dict[str, Any] = {"settings": asdict(settings)}
        if result is not None:
            state["result"] = asdict(result)
        write_text(self.path / STATE_FILE, json.dumps(state, indent=1) + "\n")

    @property
    def backup(self) -> Path:
        return self.path / BACKUP

    def present(self) -> list[str]:
        """The names of the files there that a training would replace."""
        return [name for name in FILES if (self.path / name).exists()]

    def clear(self) -> None:
        """Remove what an earlier training left, and nothing else."""
        self.drop_backup()
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)

    def drop_backup(self) -> None:
        for name in (LATEST, PREVIOUS):
            (self.backup / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.backup.rmdir()  # unless something else is in it


def run(model: Sequential, data: Data, settings: Settings, folder: Folder, verbose: int = 1) -> Result:
    """Train a compiled model on the data, going on from the folder's backup if there is one, and fill the folder.

    Raises Stopped after Ctrl-C, with model and history saved as far as they got.
    """
    folder.write(settings)
    record = Record(folder.path)
    backup = BackupAndRestore(folder.backup, delete_checkpoint=False)
    (x, y), classes = data.training, len(data.class_names)
    held_out = data.validation and (data.validation[0], labels_for(model.loss, data.validation[1], classes))
    try:
        with Interruption() as interruption:
            model.fit(
                x,
                labels_for(model.loss, y, classes),
                batch_size=settings.batch_size,
                epochs=settings.epochs,
                validation_data=held_out,
                verbose=verbose,
                callbacks=[record, backup, interruption],
            )
            interruption.look()
    except Stopped:
        model.save(folder.model)
        draw(record, folder, settings.model)
        raise
    model.save(folder.model)
    loss, accuracy = scores(model, *data.test, classes)
    columns = record.columns
    result = Result(
        parameters=model.count_params(),
        epochs=len(record.rows),
        seconds=round(sum(columns.get("seconds", [])), 3),
        test_loss=loss,
        test_accuracy=accuracy,
        accuracy=columns.get("accuracy", [None])[-1],
        val_accuracy=columns.get("val_accuracy", [None])[-1],
    )
    folder.write(settings, result)
    draw(record, folder, settings.model)
    return result


def draw(record: Record, folder: Folder, title: str) -> None:
    """Write the figure, after the first epoch. Last, so that nothing is lost where that fails."""
    if record.rows:
        figure = plotting.learning_curves(record.history, Path(title).name)
        figure.savefig(folder.figure)


def trained_on(file: Path) -> str | None:
    """The data set of the training whose folder a model file lies in; None for a file that `train` did not write."""
    if file.name != MODEL_FILE:
        return None
    try:
        state = Folder(file.parent).state()
    except CommandError:  # of another program: the name is a common one
        return None
    return state and state[0].data


def data_of(model: Sequential, file: str) -> str:
    """The data set that a model in a file was trained on, else the one whose images fit it.

    Raises ArgumentError where neither is known.
    """
    return trained_on(Path(file)) or default_data(model, file)


def differences(one: Settings, other: Settings, except_for: tuple[str, ...] = ()) -> list[str]:
    """Where two settings differ, as "batch size 128, not 64" with the first one's value first."""
    values = {name: (value, getattr(other, name)) for name, value in asdict(one).items() if name not in except_for}
    return [f"{name.replace('_', ' ')} {_word(a)}, not {_word(b)}" for name, (a, b) in values.items() if a != b]


def _word(value: Any) -> str:
    return "unset" if value is None else str(value)
