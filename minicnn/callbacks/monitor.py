"""What callbacks that watch one number of the logs share: the direction, the comparison, the missing number."""

from __future__ import annotations

import math
import warnings
from typing import Any

from minicnn.arguments import finite_number
from minicnn.callbacks.base import Callback, Logs
from minicnn.errors import ConfigError, MinicnnWarning
from minicnn.geometry import positive_int

_LARGER_IS_BETTER = ("acc", "auc", "precision", "recall", "fmeasure", "f1")


class Monitor(Callback):
    """A callback that watches `monitor` and remembers its best value.

    Args:
        monitor: a key of the logs: "val_loss", "accuracy", ...
        mode: "min", "max", or "auto": loss is to fall; a metric of the model has its own direction; any other name
            is to rise if it contains acc, auc, precision, recall, fmeasure or f1, and to fall otherwise.
        min_delta: an improvement is larger than this; the sign is ignored.
        best: the value to beat from the start; None takes the first that is seen.

    Values are compared in float64 (Keras 3: float32). NaN never counts as an improvement, not even as the first value.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0, best: float | None = None) -> None:
        owner = type(self).__name__
        if not isinstance(monitor, str):
            raise ConfigError(f'{owner}: monitor must be a key of the logs such as "val_loss", got {monitor!r}.')
        if mode not in ("auto", "min", "max"):
            raise ConfigError(f'{owner}: mode must be "auto", "min" or "max", got {mode!r}.')
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(finite_number(min_delta, "min_delta", owner))
        self.best = best

    def maximize(self) -> bool:
        """Whether the monitored value is to rise. Asked at each use: a model knows its metrics only once it runs."""
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return False
        for metric in getattr(self.model, "metrics", None) or ():
            if getattr(metric, "name", None) == name and getattr(metric, "direction", None) is not None:
                return bool(metric.direction == "max")
        return any(part in name.lower() for part in _LARGER_IS_BETTER)

    def improves(self, value: float, reference: float | None) -> bool:
        """Whether value beats reference by more than min_delta."""
        if math.isnan(value):
            return False
        if reference is None:
            return True
        return value - self.min_delta > reference if self.maximize() else value + self.min_delta < reference

    def monitored(self, logs: Logs | None, consequence: str) -> float | None:
        """The watched value, or None with a MinicnnWarning that says what follows and which keys there are."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            known = ", ".join(logs or {}) or "none"
            warnings.warn(
                f"{type(self).__name__}: {self.monitor!r} is not among the logs ({known}); {consequence}.",
                MinicnnWarning,
                stacklevel=3,
            )
            return None
        return float(value)


def verbosity(owner: str, value: Any) -> int:
    """0 for silence, 1 for messages; True and False are taken too. Raises ConfigError for anything else."""
    return int(value) if isinstance(value, bool) else positive_int(value, "verbose", owner, minimum=0)
