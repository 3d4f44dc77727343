"""Errors of predicted numbers. Each as a function of one batch, then as a metric over many."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.metrics.base import SampleMetric, same_shape
from minicnn.typing import Array


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """Mean of (y_true − y_pred)² over the last axis, in float64."""
    y_true, y_pred = same_shape("mean_squared_error", y_true, y_pred)
    result: Array = np.mean(np.square(y_true.astype(np.float64) - y_pred), axis=-1)
    return result


class MeanSquaredError(SampleMetric):
    """The mean of (y_true − y_pred)²."""

    direction = "min"

    def values(self, y_true: Any, y_pred: Any) -> Array:
        return mean_squared_error(y_true, y_pred)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Array:
    """Mean of |y_true − y_pred| over the last axis, in float64."""
    y_true, y_pred = same_shape("mean_absolute_error", y_true, y_pred)
    result: Array = np.mean(np.abs(y_true.astype(np.float64) - y_pred), axis=-1)
    return result


class MeanAbsoluteError(SampleMetric):
    """The mean of |y_true − y_pred|."""

    direction = "min"

    def values(self, y_true: Any, y_pred: Any) -> Array:
        return mean_absolute_error(y_true, y_pred)
