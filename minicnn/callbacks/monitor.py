"""What callbacks that watch one number of the logs share: the direction, the comparison, the missing number."""

from __future__ import annotations

import math

from minicnn.arguments import finite_number
from minicnn.callbacks.base import Callback, Logs
from minicnn.errors import ConfigError
from minicnn.progress import warn

_SMALLER_IS_BETTER = ("loss", "err", "entropy", "mse", "mae")
_LARGER_IS_BETTER = ("acc", "auc", "precision", "recall", "fmeasure", "f1")


class Monitor(Callback):
    """A callback that watches `monitor` and remembers its best value.

    Args:
        monitor: a key of the logs: "val_loss", "accuracy", ...
        mode: "min", "max", or "auto": a metric of the model may have a direction of its own; any other name is to fall
            if it contains loss, err, entropy, mse or mae, and to rise if acc, auc, precision, recall, fmeasure or f1.
        min_delta: an improvement is larger than this; the sign is ignored.
        best: the value to beat from the start; None takes the first that is seen.

    Raises ConfigError, when values are compared, for a name of which "auto" knows nothing, as Keras 3 does.
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
        self._warned = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._warned = False

    def maximize(self) -> bool:
        """Whether the monitored value is to rise. Asked at each use: a model knows its metrics only once it runs.

        Raises ConfigError if nothing tells.
        """
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        for metric in getattr(self.model, "metrics", None) or ():
            if getattr(metric, "name", None) == name and getattr(metric, "direction", None) is not None:
                return bool(metric.direction == "max")
        if any(part in name.lower() for part in _SMALLER_IS_BETTER):
            return False
        if any(part in name.lower() for part in _LARGER_IS_BETTER):
            return True
        raise ConfigError(
            f"{type(self).__name__}: mode='auto' cannot tell whether {self.monitor!r} is to rise or to fall; "
            "give mode='max' or mode='min'."
        )

    def improves(self, value: float, reference: float | None) -> bool:
        """Whether value beats reference by more than min_delta."""
        rises = self.maximize()
        if math.isnan(value):
            return False
        if reference is None:
            return True
        return value - self.min_delta > reference if rises else value + self.min_delta < reference

    def monitored(self, logs: Logs | None, consequence: str) -> float | None:
        """The watched value; or None, with one MinicnnWarning a fit that says what follows and which keys there are."""
        value = (logs or {}).get(self.monitor)
        if value is not None:
            return float(value)
        if not self._warned:
            self._warned = True
            known = ", ".join(logs or {}) or "none"
            warn(f"{type(self).__name__}: {self.monitor!r} is not among the logs ({known}); {consequence}.")
        return None
