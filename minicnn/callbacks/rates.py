"""LearningRateScheduler and ReduceLROnPlateau: callbacks that change the learning rate."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any, ClassVar

from minicnn.arguments import finite_number, refuse_unknown, takes
from minicnn.callbacks.base import Callback, Logs
from minicnn.callbacks.monitor import Monitor
from minicnn.errors import ConfigError
from minicnn.geometry import positive_int
from minicnn.progress import verbosity


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of every epoch and logs it as "learning_rate".

    Args:
        schedule: a function of (epoch, rate) or of (epoch) alone that returns the rate; epochs count from 0.
        verbose: 1 prints each rate.

    Raises ConfigError for a schedule that cannot be called so, and when it returns anything but a finite number.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0, **unknown: Any) -> None:
        refuse_unknown(unknown, self)
        self.schedule = schedule
        self.verbose = verbosity(verbose, "LearningRateScheduler")
        self.takes_rate = _takes_rate(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        rate: Any = self.schedule(epoch, float(optimizer.learning_rate)) if self.takes_rate else self.schedule(epoch)
        if not isinstance(rate, numbers.Real) or isinstance(rate, bool) or not math.isfinite(rate):
            raise ConfigError(
                f"LearningRateScheduler: schedule must return a finite number, got {rate!r} for epoch {epoch}."
            )
        optimizer.learning_rate = float(rate)
        if self.verbose > 0:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {float(rate)}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` when a value has stopped improving; logs it as "learning_rate".

    Args:
        monitor: a key of the logs.
        factor: new rate = rate · factor, at least 0 and below 1.
        patience: epochs without improvement until the rate falls.
        verbose: 1 prints each change.
        mode: "auto", "min" or "max", as in Monitor.
        min_delta: an improvement is larger than this; the sign is ignored. Keras 2's name `epsilon` is taken too.
        cooldown: epochs after a change during which no waiting is counted.
        min_lr: the rate never falls below this.

    The state starts anew with each fit. A missing value gives one MinicnnWarning a fit and changes nothing.
    """

    state_names: ClassVar[tuple[str, ...]] = ("wait", "best", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        **keras_2: Any,
    ) -> None:
        min_delta = keras_2.pop("epsilon", min_delta)
        refuse_unknown(keras_2, self)
        super().__init__(monitor, mode, min_delta)
        self.factor = finite_number(factor, "factor", "ReduceLROnPlateau", least=0, below=1)
        self.patience = positive_int(patience, "patience", "ReduceLROnPlateau", minimum=0)
        self.verbose = verbosity(verbose, "ReduceLROnPlateau")
        self.cooldown = positive_int(cooldown, "cooldown", "ReduceLROnPlateau", minimum=0)
        self.min_lr = finite_number(min_lr, "min_lr", "ReduceLROnPlateau")
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.best = None
        self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if getattr(self.model.optimizer, "follows_schedule", False):
            raise ConfigError(
                "ReduceLROnPlateau: the optimizer's learning_rate follows a schedule and cannot be reduced; make the "
                "optimizer with a number, or leave the callback out."
            )
        super().on_train_begin(logs)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)  # the rate of the epoch that ends
        current = self.monitored(logs, "the learning rate stays")
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
        if self.improves(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def in_cooldown(self) -> bool:
        return self.cooldown_counter > 0

    def _reduce(self, epoch: int) -> None:
        rate = float(self.model.optimizer.learning_rate)
        if rate <= self.min_lr:
            return
        rate = max(rate * self.factor, self.min_lr)
        self.model.optimizer.learning_rate = rate
        self.cooldown_counter = self.cooldown
        self.wait = 0
        if self.verbose > 0:
            print(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.")


def _takes_rate(schedule: Any) -> bool:
    """Whether schedule is a function of (epoch, rate) rather than of (epoch). Raises ConfigError if it is neither."""
    if not callable(schedule):
        raise ConfigError(f"LearningRateScheduler: schedule must be a function of (epoch, rate), got {schedule!r}.")
    if takes(schedule, 2) or takes(schedule, 1):
        return takes(schedule, 2)
    signature = inspect.signature(schedule)
    raise ConfigError(
        f"LearningRateScheduler: schedule must take (epoch, rate) or (epoch), got {schedule!r}{signature}."
    )
