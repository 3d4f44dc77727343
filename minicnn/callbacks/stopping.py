"""EarlyStopping and TerminateOnNaN: callbacks that end training."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from minicnn.arguments import finite_number, refuse_unknown
from minicnn.callbacks.base import Callback, Logs
from minicnn.callbacks.monitor import Monitor
from minicnn.errors import NonFiniteLossError
from minicnn.geometry import positive_int
from minicnn.progress import verbosity
from minicnn.typing import Array


class EarlyStopping(Monitor):
    """Stops training once a value has not improved for `patience` epochs.

    Args:
        monitor: a key of the logs.
        min_delta: an improvement is larger than this; the sign is ignored. Equal values are no improvement.
        patience: epochs without improvement until training stops. 0 stops at the first, but never in epoch 0.
        verbose: 1 prints when training was stopped and which weights were restored.
        mode: "auto", "min" or "max", as in Monitor.
        baseline: a value to beat: waiting starts anew only when it is beaten too.
        restore_best_weights: at the end of training, stopped or not, put back the weights of the best epoch.
        start_from_epoch: epochs before this one (counted from 0) are not looked at.

    Patience is tested on epochs that do not improve, so a run that improves without ever reaching the baseline goes on.
    Attributes: best, best_epoch, best_weights, wait, and stopped_epoch (counted from 0; 0 if not stopped).
    The state starts anew with each fit. A missing value gives one MinicnnWarning a fit and never stops.
    Source: Prechelt, Early stopping - but when? (1998); behaviour of tf_keras 2.21 and Keras 3.15.
    """

    state_names: ClassVar[tuple[str, ...]] = ("wait", "best", "best_weights", "best_epoch", "stopped_epoch")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
        **unknown: Any,
    ) -> None:
        refuse_unknown(unknown, self)
        super().__init__(monitor, mode, min_delta)
        self.patience = positive_int(patience, "patience", "EarlyStopping", minimum=0)
        self.verbose = verbosity(verbose, "EarlyStopping")
        self.baseline = None if baseline is None else finite_number(baseline, "baseline", "EarlyStopping")
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = positive_int(start_from_epoch, "start_from_epoch", "EarlyStopping", minimum=0)
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.best = None
        self.best_weights: list[Array] | None = None
        self.best_epoch = 0
        self.stopped_epoch = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = self.monitored(logs, "training will not be stopped early")
        if current is None or epoch < self.start_from_epoch:
            return
        if self.improves(current, self.best):
            self.best = current
            self._remember(epoch)
            if self.baseline is None or self.improves(current, self.baseline):
                self.wait = 0
            else:
                self.wait += 1
            return
        if self.restore_best_weights and self.best_weights is None:
            self._remember(epoch)  # NaN from the start: these weights are as good as any
        self.wait += 1
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _remember(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is None:
            return
        if self.verbose > 0:
            print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
        self.model.set_weights(self.best_weights)


class TerminateOnNaN(Callback):
    """Stops training at the batch after which the loss is NaN or infinite.

    Args:
        raise_error: raise NonFiniteLossError at once instead of ending training in good order.
    """

    def __init__(self, raise_error: bool = False, **unknown: Any) -> None:
        refuse_unknown(unknown, self)
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss: Any = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise NonFiniteLossError(
                f"TerminateOnNaN: the loss is {float(loss)} after batch {batch}; "
                "lower the learning rate or clip gradients."
            )
        print(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
