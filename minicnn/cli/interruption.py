"""Ctrl-C while a model trains: training ends between two batches, so that what is saved is whole."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from minicnn.callbacks import Callback
from minicnn.callbacks.base import Logs
from minicnn.cli.errors import say


class Stopped(Exception):
    """Training was stopped by Ctrl-C, between two batches. epoch: the one that was under way, counted from 1."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"stopped in epoch {epoch}")
        self.epoch = epoch


class Interruption(Callback):
    """Raises Stopped between two batches once Ctrl-C was pressed; a second Ctrl-C is Python's KeyboardInterrupt.

        with Interruption() as interruption:
            model.fit(..., callbacks=[..., interruption])
            interruption.look()  # pressed after the last batch

    It looks before each batch: an epoch that is over is stored by then, and no logs are wanted, which fit would
    otherwise compute for every batch.
    """

    def __init__(self) -> None:
        self.asked = False
        self._epoch = 0
        self._before: Any = None

    def __enter__(self) -> Interruption:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: Any) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        say("stopping after this batch; Ctrl-C again stops at once, without saving.")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.look()

    def look(self) -> None:
        """Raise Stopped if Ctrl-C was pressed."""
        if self.asked:
            raise Stopped(self._epoch + 1)
