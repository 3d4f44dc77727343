"""The losses as functions of arrays, under Keras's names: one value a sample.

compile takes them too, as the losses of these names: `compile(loss=losses.categorical_crossentropy)`.
"""

from __future__ import annotations

from typing import Any

from minicnn.losses.base import Loss
from minicnn.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from minicnn.losses.regression import MeanSquaredError
from minicnn.typing import Array


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """Of one-hot labels (N, ..., K) and predictions of that shape: (N, ...). See CategoricalCrossentropy."""
    return _values(CategoricalCrossentropy(from_logits, label_smoothing, axis, reduction=None), y_true, y_pred)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: Any = None, axis: int = -1
) -> Array:
    """Of class numbers (N, ...) and predictions (N, ..., K): (N, ...). See SparseCategoricalCrossentropy."""
    return _values(SparseCategoricalCrossentropy(from_logits, ignore_class, None, axis), y_true, y_pred)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """Of labels 0 and 1 (N, ..., K) and predictions of that shape: (N, ...). See BinaryCrossentropy."""
    return _values(BinaryCrossentropy(from_logits, label_smoothing, axis, reduction=None), y_true, y_pred)


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """Of two arrays (N, ..., K): (N, ...). See MeanSquaredError."""
    return _values(MeanSquaredError(reduction=None), y_true, y_pred)


def _values(loss: Loss, y_true: Any, y_pred: Any) -> Array:
    values: Array = loss(y_true, y_pred)
    return values


FUNCTIONS = (categorical_crossentropy, sparse_categorical_crossentropy, binary_crossentropy, mean_squared_error)
