"""The classification losses: categorical, sparse and binary cross-entropy."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from minicnn.activations import Sigmoid
from minicnn.activations import Softmax as SoftmaxActivation
from minicnn.arguments import finite_number, refuse
from minicnn.errors import ConfigError, DataError, ShapeError
from minicnn.kernels import NUMPY, KernelSet
from minicnn.losses.base import Loss
from minicnn.typing import Array, Config

ACTIVATIONS = (SoftmaxActivation, Sigmoid)

EPSILON = 1e-7
"""Probabilities are clipped to [1e-7, 1 − 1e-7] before a logarithm, as Keras does."""


class _CrossEntropy(Loss):
    """What the classification losses share; each names its `activations` itself, so that a subclass of it which
    computes something else is known as one (Loss.takes_logits_of).

    As in Keras on TensorFlow, each of them goes behind a softmax or a sigmoid output to the logits, whichever of the
    two it is, and also where from_logits=True was said of such an output by mistake.
    """

    def __init__(
        self,
        from_logits: bool,
        label_smoothing: float,
        axis: int,
        reduction: str | None,
        name: str | None,
        dtype: str | None,
        **unknown: Any,
    ) -> None:
        super().__init__(name, reduction, dtype, **unknown)
        self.from_logits = bool(from_logits)
        self.label_smoothing = finite_number(label_smoothing, "label_smoothing", self.name, least=0, most=1)
        if axis != -1:
            raise ConfigError(
                f"{self.name}: axis={axis!r} is not supported by minicnn; the classes are the last axis, -1."
            )

    def get_config(self) -> Config:
        return {**super().get_config(), "from_logits": self.from_logits}

    def on_logits(self) -> Loss:
        loss = copy.copy(self)
        loss.from_logits = True
        return loss


class _SoftmaxCrossEntropy(_CrossEntropy):
    """One class of several: loss and gradient come out of one computation."""

    def value(self, y_true: Array, y_pred: Array) -> Array:
        return self.value_and_gradient(y_true, y_pred, NUMPY)[0]

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        return self.value_and_gradient(y_true, y_pred, NUMPY)[1]


class CategoricalCrossentropy(_SoftmaxCrossEntropy):
    """Cross-entropy with one-hot labels (or distributions): L = −Σ over k of t_k·log p_k.

    On probabilities: p is divided by its sum, then clipped to [1e-7, 1 − 1e-7]; dL/dp_k = −t_k/p_k where not clipped,
    through that division. On logits z (from_logits=True, or behind a last softmax, and as in Keras behind a sigmoid
    too): p = softmax(z), dL/dz_k = p_k − t_k, exact at any confidence. label_smoothing s: t_k·(1 − s) + s/K takes the
    place of t_k (Szegedy et al. 2016).

    Shapes: y_true and y_pred (N, ..., K). Raises ShapeError for labels of another shape, and in training DataError for
    rows that are no distributions. Source: Goodfellow et al. 2016, §6.2.2.
    """

    activations = ACTIVATIONS

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype, **unknown)

    def check(self, y_true: Array, output_shape: tuple[int, ...]) -> None:
        if y_true.shape[1:] != output_shape:
            raise ShapeError(
                f"{self.name}: labels of shape {y_true.shape} do not fit the model's output {(None, *output_shape)}; "
                "one-hot them with minicnn.utils.to_categorical, or use SparseCategoricalCrossentropy."
            )

    def align(self, y_true: Array, y_pred: Array) -> Array:
        t = np.asarray(y_true, y_pred.dtype)
        if self.label_smoothing:
            number = t.dtype.type
            t = t * number(1 - self.label_smoothing) + number(self.label_smoothing / t.shape[-1])
        return t

    def value_and_gradient(self, y_true: Array, y_pred: Array, kernels: KernelSet) -> tuple[Array, Array]:
        if self.from_logits:
            classes = y_pred.shape[-1]
            losses, _, dz = kernels.softmax_cross_entropy(y_pred.reshape(-1, classes), y_true.reshape(-1, classes))
            return losses.reshape(y_pred.shape[:-1]), dz.reshape(y_pred.shape)
        total = y_pred.sum(axis=-1, keepdims=True)
        q = y_pred / total
        clipped = np.clip(q, EPSILON, 1 - EPSILON)
        losses = -np.sum(y_true * np.log(clipped), axis=-1)
        dq = np.where((q >= EPSILON) & (q <= 1 - EPSILON), -y_true / clipped, np.zeros((), y_pred.dtype))
        return losses, (dq - np.sum(dq * q, axis=-1, keepdims=True)) / total

    def get_config(self) -> Config:
        return {**super().get_config(), "label_smoothing": self.label_smoothing, "axis": -1}


class SparseCategoricalCrossentropy(_SoftmaxCrossEntropy):
    """Cross-entropy with class numbers: L = −log p_t. CategoricalCrossentropy of the one-hot labels.

    On probabilities: clipped to [1e-7, 1 − 1e-7], then taken as softmax logits log p, which divides by their sum.

    Shapes: y_true (N, ...) or (N, ..., 1), integers 0 to K − 1; y_pred (N, ..., K). Raises ShapeError for labels of
    another shape, DataError for those that are no class. Source: Goodfellow et al. 2016, §6.2.2.
    """

    activations = ACTIVATIONS

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: Any = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: str | None = None,
        **unknown: Any,
    ) -> None:
        refuse(type(self).__name__, ignore_class=(ignore_class, None))
        super().__init__(from_logits, 0.0, axis, reduction, name, dtype, **unknown)

    def check(self, y_true: Array, output_shape: tuple[int, ...]) -> None:
        if y_true.shape[1:] not in (output_shape[:-1], (*output_shape[:-1], 1)):
            raise ShapeError(
                f"{self.name}: labels of shape {y_true.shape} do not fit the model's output {(None, *output_shape)}; "
                "give one class number for each sample, or use CategoricalCrossentropy for one-hot labels."
            )
        check_class_numbers(y_true, output_shape[-1], self.name)

    def align(self, y_true: Array, y_pred: Array) -> Array:
        numbers = y_true.reshape(y_pred.shape[:-1]).astype(np.int64)
        return np.asarray(numbers[..., None] == np.arange(y_pred.shape[-1]), y_pred.dtype)

    def value_and_gradient(self, y_true: Array, y_pred: Array, kernels: KernelSet) -> tuple[Array, Array]:
        classes = y_pred.shape[-1]
        clipped = y_pred if self.from_logits else np.clip(y_pred, EPSILON, 1 - EPSILON)
        z = y_pred if self.from_logits else np.log(clipped)
        losses, _, dz = kernels.softmax_cross_entropy(z.reshape(-1, classes), y_true.reshape(-1, classes))
        dz = dz.reshape(y_pred.shape)
        if not self.from_logits:  # z = log p, where p is not clipped
            dz = np.where(clipped == y_pred, dz / clipped, np.zeros((), y_pred.dtype))
        return losses.reshape(y_pred.shape[:-1]), dz


class BinaryCrossentropy(_CrossEntropy):
    """Cross-entropy of K yes-or-no outputs: L = −1/K · Σ over k of (t_k·log p_k + (1 − t_k)·log(1 − p_k)).

    On probabilities: clipped to [1e-7, 1 − 1e-7]; dL/dp_k = (p_k − t_k)/(K·p_k·(1 − p_k)) where not clipped. On logits
    z (from_logits=True, or behind a last sigmoid, and as in Keras behind a softmax too): p = sigmoid(z),
    L = 1/K · Σ over k of (max(z_k, 0) − z_k·t_k + log(1 + e^−|z_k|)), dL/dz_k = (p_k − t_k)/K.
    label_smoothing s: t_k·(1 − s) + s/2 takes the place of t_k.

    Shapes: y_true and y_pred (N, ..., K), or (N, ...) for K = 1. Raises ShapeError for labels of another shape, and in
    training DataError for some beyond 0 and 1. Source: Goodfellow et al. 2016, §6.2.2.2.
    """

    activations = ACTIVATIONS

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype, **unknown)

    def align(self, y_true: Array, y_pred: Array) -> Array:
        t = super().align(y_true, y_pred)
        if self.label_smoothing:
            number = t.dtype.type
            t = t * number(1 - self.label_smoothing) + number(0.5 * self.label_smoothing)
        return t

    def value(self, y_true: Array, y_pred: Array) -> Array:
        if self.from_logits:
            terms = np.maximum(y_pred, 0) - y_pred * y_true + np.log1p(np.exp(-np.abs(y_pred)))
        else:
            p = np.clip(y_pred, EPSILON, 1 - EPSILON)
            terms = -(y_true * np.log(p) + (1 - y_true) * np.log(1 - p))
        return np.asarray(terms.mean(axis=-1))

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        outputs = y_pred.dtype.type(y_pred.shape[-1])
        if self.from_logits:
            return np.asarray((NUMPY.sigmoid(y_pred) - y_true) / outputs)
        p = np.clip(y_pred, EPSILON, 1 - EPSILON)
        return np.where(p == y_pred, (p - y_true) / (p * (1 - p)), np.zeros((), y_pred.dtype)) / outputs

    def get_config(self) -> Config:
        return {**super().get_config(), "label_smoothing": self.label_smoothing, "axis": -1}


def check_class_numbers(labels: Array, classes: int, owner: str) -> None:
    """Raise DataError unless labels are whole numbers from 0 to classes − 1."""
    if labels.size == 0:
        return
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.floor(labels)):
        raise DataError(
            f"{owner}: labels must be whole class numbers, got fractions; one-hot labels need CategoricalCrossentropy."
        )
    low, high = labels.min(), labels.max()
    if low < 0 or high >= classes:
        raise DataError(
            f"{owner}: labels must lie between 0 and {classes - 1}, got {low} to {high}; "
            f"the model has {classes} outputs."
        )


def check_distributions(labels: Array, owner: str) -> None:
    """Raise DataError unless every row of labels is one-hot, or a distribution: entries of 0 to 1 whose sum is 1."""
    if labels.size == 0:
        return
    bad = (labels.min(axis=-1) < 0) | (np.abs(labels.sum(axis=-1, dtype=np.float64) - 1) > 1e-3)
    if bad.any():
        row = np.argwhere(bad)[0]
        raise DataError(
            f"{owner}: labels must be one-hot (or a distribution), but the row at {tuple(map(int, row))} is "
            f"{np.array2string(labels[tuple(row)], threshold=12)}; use minicnn.utils.to_categorical."
        )
