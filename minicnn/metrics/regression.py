"""Errors of predicted numbers. Each as a function of one batch, then as a metric over many."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.metrics.base import SampleMetric, same_shape
from minicnn.typing import Array


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """Mean of (y_true − y_pred)² over the last axis, in float64."""
    return _mean_error("mean_squared_error", np.square, y_true, y_pred)


class MeanSquaredError(SampleMetric):
    """The mean of (y_true − y_pred)²."""

    direction = "min"

    def __init__(self, name: str | None = "mean_squared_error", dtype: str | None = None, **unknown: Any) -> None:
        super().__init__(name, dtype, **unknown)

    def values(self, y_true: Any, y_pred: Any) -> Array:
        return mean_squared_error(y_true, y_pred)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Array:
    """Mean of |y_true − y_pred| over the last axis, in float64."""
    return _mean_error("mean_absolute_error", np.abs, y_true, y_pred)


class MeanAbsoluteError(SampleMetric):
    """The mean of |y_true − y_pred|."""

    direction = "min"

    def __init__(self, name: str | None = "mean_absolute_error", dtype: str | None = None, **unknown: Any) -> None:
        super().__init__(name, dtype, **unknown)

    def values(self, y_true: Any, y_pred: Any) -> Array:
        return mean_absolute_error(y_true, y_pred)


def _mean_error(owner: str, size: np.ufunc, y_true: Any, y_pred: Any) -> Array:
    true, pred = same_shape(owner, y_true, y_pred)
    result: Array = np.mean(size(true.astype(np.float64) - pred), axis=-1)
    return result
