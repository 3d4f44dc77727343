"""History and CSVLogger: callbacks that keep what each epoch brought."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from minicnn.arguments import refuse_unknown
from minicnn.callbacks.base import Callback, Logs
from minicnn.errors import ConfigError, FileFormatError


class History(Callback):
    """What `fit` returns: the logs of every epoch.

    history: {"loss": [...], "val_loss": [...], ...}, one Python float an epoch. epoch: their numbers, which start at
    initial_epoch. params: verbose, epochs, steps. A History used in several fits goes on with `history` and starts
    `epoch` anew, as in Keras.
    """

    state_names: ClassVar[tuple[str, ...]] = ("history", "epoch")

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(_plain(value))
        self.model.history = self


class CSVLogger(Callback):
    """Writes a line an epoch to a file of comma-separated values: the epoch (from 0), then the logs by name.

    Args:
        filename: written anew by each fit, unless append.
        separator: one character.
        append: go on at the end of the file; the header is written only if it is empty or absent.

    The first epoch fixes the columns. Without validation in it, there is a "val_" column for each value; what an epoch
    does not have is NA. The file is closed between epochs, so that it is whole however training ends; BackupAndRestore
    brings it back to what it was.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False, **unknown: Any
    ) -> None:
        refuse_unknown(unknown, self)
        try:
            self.filename = str(os.fspath(filename))
        except TypeError:
            raise ConfigError(f"CSVLogger: filename must be a path, got {filename!r}.") from None
        if not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n':
            raise ConfigError(
                f"CSVLogger: separator must be one character, no quote and no line end, got {separator!r}."
            )
        self.separator = separator
        self.append = append
        self.keys: list[str] | None = None
        self._begins_anew = False  # what the file holds stays until there is a line to write: fit may yet be refused

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.keys, self._begins_anew = None, not self.append
        try:
            with open(self.filename, "a", encoding="utf-8"):
                pass  # a file that cannot be written is better known before the first epoch than after it
        except OSError as error:
            raise FileFormatError(
                f"CSVLogger: {self.filename} cannot be written: {error.strerror}; name a file in a folder there is."
            ) from error

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        rows: list[list[Any]] = []
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(key.startswith("val_") for key in self.keys):
                self.keys += [f"val_{key}" for key in self.keys]
            if self._begins_anew or os.path.getsize(self.filename) == 0:
                rows.append(["epoch", *self.keys])
        rows.append([epoch, *(_cell(logs.get(key, "NA")) for key in self.keys)])
        with open(self.filename, "w" if self._begins_anew else "a", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=self.separator).writerows(rows)
        self._begins_anew = False

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._begins_anew:  # of no epoch nothing is left, as in Keras
            Path(self.filename).write_bytes(b"")

    def get_state(self) -> dict[str, Any]:
        """The columns, and the file itself: a run that is taken up again must not keep lines that it will repeat."""
        kept = not self._begins_anew and os.path.exists(self.filename)
        content = Path(self.filename).read_bytes() if kept else b""
        return {"keys": self.keys, "content": np.frombuffer(content, np.uint8)}

    def set_state(self, state: dict[str, Any]) -> None:
        self.keys, self._begins_anew = state["keys"], False
        Path(self.filename).write_bytes(state["content"].tobytes())


def _plain(value: Any) -> Any:
    """A NumPy scalar as the Python number that it holds; anything else as it is."""
    return (
        value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0) else value
    )


def _cell(value: Any) -> Any:
    """A sequence, which only a caller's own callback puts into logs, as Keras writes it: "[1, 2]", quotes and all."""
    value = _plain(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return f'"[{", ".join(map(str, value))}]"'
    return value
