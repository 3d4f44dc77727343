"""What training and evaluation report: the running loss and metrics of one epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minicnn.errors import ConfigError
from minicnn.lending import to_read
from minicnn.metrics import Mean, Metric, metric_for
from minicnn.typing import Array

Logs = dict[str, float]


class Scores:
    """The loss and the metrics of an epoch so far, under the names that histories and callbacks see.

    Every batch counts with its size, the last partial one as well. Metrics are of the predictions before the batch's
    update, those in `metrics` without sample weights, those in `weighted_metrics` with them.
    """

    def __init__(self, metrics: Sequence[Metric], weighted_metrics: Sequence[Metric]) -> None:
        of_all = [(metric, False) for metric in metrics] + [(metric, True) for metric in weighted_metrics]
        names = names_of(metrics, weighted_metrics)
        self._metrics = [(name, *metric) for name, metric in zip(names, of_all, strict=True)]
        self._loss_sum, self._samples = 0.0, 0
        for _, metric, _ in self._metrics:
            metric.reset_state()

    def update(self, loss: float, y_true: Array, y_pred: Array, sample_weight: Array | None) -> None:
        """Add a batch: its loss (penalties included) and its predictions."""
        self._loss_sum += loss * len(y_pred)
        self._samples += len(y_pred)
        y_true, y_pred = to_read(y_true), to_read(y_pred)  # of the caller, and of the last step
        for _, metric, weighted in self._metrics:
            if weighted and sample_weight is not None:
                metric.update_state(y_true, y_pred, sample_weight)
            else:
                metric.update_state(y_true, y_pred)

    def logs(self, prefix: str = "") -> Logs:
        """{"accuracy": ..., "loss": ...} as Python floats, over all batches so far; sorted by name, as in Keras 3."""
        loss = self._loss_sum / self._samples if self._samples else 0.0
        found = {"loss": loss} | {name: _result(m) for name, m, _ in self._metrics}
        return {prefix + name: found[name] for name in sorted(found)}

    def values(self) -> list[float]:
        """The loss, and each metric in the order in which compile was given them."""
        logs = self.logs()
        return [logs[name] for name in ("loss", *(name for name, _, _ in self._metrics))]

    def get_state(self) -> dict[str, Any]:
        """The sums so far: the loss's, and all attributes of each metric but functions, which are none of its sums."""
        kept = [{k: v for k, v in vars(m).items() if isinstance(v, Metric) or not callable(v)} for m in self.metrics]
        return {"loss_sum": self._loss_sum, "samples": self._samples, "metrics": kept}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what get_state returned for Scores of the same metrics."""
        self._loss_sum, self._samples = state["loss_sum"], state["samples"]
        for metric, attributes in zip(self.metrics, state["metrics"], strict=True):
            vars(metric).update(attributes)

    @property
    def metrics(self) -> list[Metric]:
        """The metric objects, in the order in which compile was given them."""
        return [metric for _, metric, _ in self._metrics]


def _result(metric: Metric) -> float:
    """The metric's value. Raises ConfigError if one of the caller's is no number."""
    result = metric.result()
    try:
        return float(result)
    except (TypeError, ValueError):
        raise ConfigError(
            f"metric {metric.name}: result must return a number, got {result!r}; return one for all batches."
        ) from None


def names_of(metrics: Sequence[Metric], weighted_metrics: Sequence[Metric]) -> list[str]:
    """The names of these metrics in logs."""
    taken = {"loss"}
    names = [_free_name(metric.name, "", taken) for metric in metrics]
    return names + [_free_name(metric.name, "weighted_", taken) for metric in weighted_metrics]


def _free_name(name: str, prefix: str, taken: set[str]) -> str:
    """The metric's own name, with the prefix or a number where it is taken."""
    candidates = [name] + ([prefix + name] if prefix else []) + [f"{prefix}{name}_{k}" for k in range(1, 1000)]
    free = next(c for c in candidates if c not in taken)
    taken.add(free)
    return free


def check_metrics(metrics: Any, argument: str) -> list[Any]:
    """The list of metrics that compile was given; each must be resolvable. Raises ConfigError for an unknown one."""
    if metrics is None:
        return []
    if isinstance(metrics, Mapping):
        raise ConfigError(f"compile: {argument} must be a list, got a dict; a Sequential has one output.")
    given = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
    for metric in given:
        if type(metric_for(metric, (1, 1), (1, 1))).update_state is Mean.update_state:
            raise ConfigError(
                f"compile: {argument} got {metric!r}, the mean of values handed to it; take a metric of labels and "
                "predictions."
            )
    return given


def make_scores(metrics: list[Any], weighted: list[Any], y_shape: Sequence[int], output_shape: Sequence[int]) -> Scores:
    """Scores for labels (N, ...) of y_shape and outputs of output_shape (without the batch)."""
    shapes = tuple(y_shape), (None, *output_shape)
    return Scores(
        [metric_for(m, *shapes) for m in metrics],  # type: ignore[arg-type]
        [metric_for(m, *shapes) for m in weighted],  # type: ignore[arg-type]
    )
