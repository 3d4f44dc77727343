"""Accuracies: the share of predictions that are right. Each as a function of one batch, then as a metric over many."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.arguments import finite_number, refuse
from minicnn.errors import ShapeError
from minicnn.geometry import positive_int
from minicnn.metrics.base import SampleMetric, same_shape
from minicnn.typing import Array, Config


def accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where y_pred equals y_true exactly, else 0, as float64."""
    y_true, y_pred = same_shape("accuracy", y_true, y_pred)
    return _hits(y_true.astype(y_pred.dtype) == y_pred)


class Accuracy(SampleMetric):
    """The share of values that are predicted exactly. (The string "accuracy" in compile means accuracy_for.)"""

    direction = "max"

    def __init__(self, name: str | None = "accuracy", dtype: str | None = None, **unknown: Any) -> None:
        super().__init__(name, dtype, **unknown)

    def values(self, y_true: Any, y_pred: Any) -> Array:
        return accuracy(y_true, y_pred)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Array:
    """1 where (y_pred > threshold) is y_true's 0 or 1, else 0. y_true of neither 0 nor 1 is always a miss."""
    y_true, y_pred = same_shape("binary_accuracy", y_true, y_pred)
    return _hits((y_pred > float(threshold)) == y_true)


class BinaryAccuracy(SampleMetric):
    """The share of values on the right side of the threshold. See binary_accuracy."""

    direction = "max"

    def __init__(
        self, name: str | None = "binary_accuracy", dtype: str | None = None, threshold: float = 0.5, **unknown: Any
    ) -> None:
        self.threshold = finite_number(threshold, "threshold", "BinaryAccuracy")
        super().__init__(name, dtype, **unknown)

    def values(self, y_true: Any, y_pred: Any) -> Array:
        return binary_accuracy(y_true, y_pred, self.threshold)

    def get_config(self) -> Config:
        return {**super().get_config(), "threshold": self.threshold}


def categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where the largest of y_pred stands where the largest of y_true does; (..., K) both, result (...).

    Of equal values the first counts. As in TensorFlow, NaN is never the largest; a row of NaN means the first class.
    """
    y_true, y_pred = _one_hot_pair("categorical_accuracy", y_true, y_pred)
    return _hits(_largest(y_true) == _largest(y_pred))


class CategoricalAccuracy(SampleMetric):
    """The share of samples whose class is predicted, for one-hot labels. See categorical_accuracy."""

    direction = "max"

    def __init__(self, name: str | None = "categorical_accuracy", dtype: str | None = None, **unknown: Any) -> None:
        super().__init__(name, dtype, **unknown)

    def values(self, y_true: Any, y_pred: Any) -> Array:
        return categorical_accuracy(y_true, y_pred)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """As categorical_accuracy, with class numbers as y_true: (...) or (..., 1), y_pred (..., K), result (...)."""
    y_true, y_pred = _sparse_pair("sparse_categorical_accuracy", y_true, y_pred)
    return _hits(_largest(y_pred) == y_true)


class SparseCategoricalAccuracy(SampleMetric):
    """The share of samples whose class is predicted, for class numbers. See sparse_categorical_accuracy."""

    direction = "max"

    def __init__(
        self, name: str | None = "sparse_categorical_accuracy", dtype: str | None = None, **unknown: Any
    ) -> None:
        super().__init__(name, dtype, **unknown)

    def values(self, y_true: Any, y_pred: Any) -> Array:
        return sparse_categorical_accuracy(y_true, y_pred)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Array:
    """1 where fewer than k classes are scored above the true one, the largest of y_true; (..., K) both, result (...).

    A class that ties with the k-th is in. A row of y_pred with a value that is not finite is a miss (as in TensorFlow).
    """
    y_true, y_pred = _one_hot_pair("top_k_categorical_accuracy", y_true, y_pred)
    return _in_top_k(_largest(y_true), y_pred, k)


class TopKCategoricalAccuracy(SampleMetric):
    """The share of samples whose class is among the k best, for one-hot labels. See top_k_categorical_accuracy."""

    direction = "max"

    def __init__(
        self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: str | None = None, **unknown: Any
    ) -> None:
        self.k = positive_int(k, "k", type(self).__name__)
        super().__init__(name, dtype, **unknown)

    def values(self, y_true: Any, y_pred: Any) -> Array:
        return top_k_categorical_accuracy(y_true, y_pred, self.k)

    def get_config(self) -> Config:
        return {**super().get_config(), "k": self.k}


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Array:
    """As top_k_categorical_accuracy, with class numbers as y_true: (...) or (..., 1), y_pred (..., K), result (...)."""
    refuse("sparse_top_k_categorical_accuracy", from_sorted_ids=(from_sorted_ids, False))
    y_true, y_pred = _sparse_pair("sparse_top_k_categorical_accuracy", y_true, y_pred)
    return _in_top_k(y_true.astype(np.int64), y_pred, k)


class SparseTopKCategoricalAccuracy(SampleMetric):
    """The share of samples whose class is among the k best, for class numbers (sparse_top_k_categorical_accuracy)."""

    direction = "max"

    def __init__(
        self,
        k: int = 5,
        name: str | None = "sparse_top_k_categorical_accuracy",
        dtype: str | None = None,
        from_sorted_ids: bool = False,
        **unknown: Any,
    ) -> None:
        refuse(type(self).__name__, from_sorted_ids=(from_sorted_ids, False))
        self.k = positive_int(k, "k", type(self).__name__)
        super().__init__(name, dtype, **unknown)

    def values(self, y_true: Any, y_pred: Any) -> Array:
        return sparse_top_k_categorical_accuracy(y_true, y_pred, self.k)

    def get_config(self) -> Config:
        return {**super().get_config(), "k": self.k}


def _hits(equal: Any) -> Array:
    return np.asarray(equal, np.float64)


def _largest(scores: Array) -> Array:
    """The place of the largest score on the last axis: the first of equals, never a NaN."""
    if scores.dtype.kind == "f":
        scores = np.where(np.isnan(scores), -np.inf, scores)  # NumPy's argmax would pick the first NaN
    places: Array = scores.argmax(axis=-1)
    return places


def _in_top_k(classes: Array, scores: Array, k: int) -> Array:
    """1 where fewer than k scores exceed that of the class. A class that does not exist is a miss."""
    exists = (classes >= 0) & (classes < scores.shape[-1])
    own = np.take_along_axis(scores, np.where(exists, classes, 0)[..., None], axis=-1)
    above = np.count_nonzero(scores > own, axis=-1)
    return _hits(exists & np.isfinite(scores).all(axis=-1) & (above < k))


def _one_hot_pair(owner: str, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    if pred.ndim == 0 or true.shape != pred.shape:
        raise ShapeError(
            f"{owner}: y_true {true.shape} must be one-hot of y_pred's shape {pred.shape}; "
            f"for class numbers use sparse_{owner}."
        )
    return true, pred


def _sparse_pair(owner: str, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    numbers = true[..., 0] if true.ndim == pred.ndim and true.shape[-1:] == (1,) else true
    if pred.ndim == 0 or numbers.shape != pred.shape[:-1]:
        raise ShapeError(
            f"{owner}: y_pred {pred.shape} needs class numbers of shape {pred.shape[:-1]}, got y_true {true.shape}; "
            f"for one-hot labels use {owner.removeprefix('sparse_')}."
        )
    return numbers, pred
