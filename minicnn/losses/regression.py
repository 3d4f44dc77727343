"""Mean squared error."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.losses.base import Loss
from minicnn.typing import Array


class MeanSquaredError(Loss):
    """L = 1/K · Σ over k of (y_k − t_k)²;  dL/dy_k = 2·(y_k − t_k)/K.

    Shapes: y_true and y_pred (N, ..., K), or y_true (N, ...) for K = 1. Raises ShapeError for labels of another shape.
    Source: Goodfellow et al. 2016, §5.1.4.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_error",
        dtype: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(name, reduction, dtype, **unknown)

    def value(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(np.mean((y_pred - y_true) ** 2, axis=-1))

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        return (y_pred - y_true) * y_pred.dtype.type(2 / y_pred.shape[-1])
