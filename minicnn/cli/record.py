"""The history of a training as files that are whole after every epoch, and go on when the training does."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from pathlib import Path
from typing import Any

from minicnn.callbacks import Callback
from minicnn.callbacks.base import Logs
from minicnn.cli.errors import CommandError
from minicnn.saving import atomic

JSON_FILE, CSV_FILE = "history.json", "history.csv"

START_ANEW = "choose another --output to start anew"
"""What to do about files of a training that cannot be used: not all commands that train have --overwrite."""


class Record(Callback):
    """Writes history.json and history.csv after every epoch.

    JSON: {"epoch": [1, 2, ...], "loss": [...], "val_loss": [...], ..., "seconds": [...]}; CSV: the same as a table, a
    line an epoch. seconds: that an epoch took, with its validation.

    folder: where they are written. Epochs that are there already stay, up to the one with which training goes on.
    Raises CommandError for a history.json that cannot be read, and after an epoch whose loss is not finite.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = _read(folder / JSON_FILE)
        self._started = 0.0

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The history by name, as in the JSON file; what an epoch does not have is None."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {name: [row.get(name) for row in self.rows] for name in names}

    @property
    def history(self) -> dict[str, list[Any]]:
        """Losses and metrics alone, as fit's History has them."""
        return {name: values for name, values in self.columns.items() if name not in ("epoch", "seconds")}

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        seconds = round(time.perf_counter() - self._started, 3)
        values = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(values.get("loss", 0.0)):
            raise CommandError(f"the loss became {values['loss']} in epoch {epoch + 1}; use a smaller --learning-rate.")
        row = {"epoch": epoch + 1, **values, "seconds": seconds}
        self.rows = [earlier for earlier in self.rows if earlier["epoch"] <= epoch] + [row]
        write_text(self.folder / JSON_FILE, json.dumps(self.columns) + "\n")
        write_text(self.folder / CSV_FILE, self._csv())

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all. Raises FileFormatError where the system refuses."""
    atomic.write_whole(path, memoryview(text.encode()))


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None if there is no file. Raises CommandError for anything else in it."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CommandError(f"{path}: cannot be read ({error}); {START_ANEW}.") from error
    if not isinstance(value, dict):
        raise CommandError(f"{path}: holds {type(value).__name__}, not a JSON object; {START_ANEW}.")
    return value


def _read(path: Path) -> list[dict[str, Any]]:
    columns = read_json(path) or {}
    try:
        if not all(isinstance(values, list) for values in columns.values()):
            raise TypeError
        rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
        if any(type(row["epoch"]) is not int for row in rows):
            raise TypeError
    except (KeyError, TypeError, ValueError):
        raise CommandError(f"{path}: is not a history as minicnn writes it; {START_ANEW}.") from None
    return rows
