"""Training data at the border: everything is checked before the first step, so a call that fails changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minicnn.arguments import finite_number
from minicnn.batches import as_numeric, check_finite
from minicnn.errors import ConfigError, DataError, MinicnnError
from minicnn.geometry import positive_int
from minicnn.losses import BinaryCrossentropy, CategoricalCrossentropy, Loss
from minicnn.losses.crossentropy import check_distributions
from minicnn.typing import Array, Shape


def check_labels(y: Any, count: int, loss: Loss, output_shape: Shape, owner: str, dtype: Any = None) -> Array:
    """y as an array with one label for each of `count` samples that the loss can compare with the outputs.

    dtype: one that the numbers must fit, if given.
    """
    if y is None:
        raise DataError(f"{owner}: needs labels y beside x, got None.")
    labels = as_numeric(y, f"{owner}: y")
    if labels.ndim == 0 or len(labels) != count:
        raise DataError(
            f"{owner}: x has {count} samples and y has {len(labels) if labels.ndim else 1}; give one label each."
        )
    check_finite(labels, f"{owner}: y", dtype)
    try:
        loss.check(labels, output_shape)
        if isinstance(loss, CategoricalCrossentropy):
            check_distributions(labels, loss.name)
        if isinstance(loss, BinaryCrossentropy):
            check_probabilities(labels, loss.name)
    except MinicnnError as error:
        raise type(error)(f"{owner}: {error}") from None
    return labels


def check_probabilities(labels: Array, owner: str) -> None:
    """Raise DataError unless all labels lie between 0 and 1."""
    if labels.size and (labels.min() < 0 or labels.max() > 1):
        raise DataError(
            f"{owner}: labels must lie between 0 and 1, got {labels.min()} to {labels.max()}; "
            "for more than two classes use SparseCategoricalCrossentropy."
        )


def check_weights(
    sample_weight: Any, count: int, owner: str, output_shape: Shape = (), dtype: Any = None
) -> Array | None:
    """sample_weight as an array of one number a sample, (N,), or of an output of several axes, one a place, (N, H, W).

    output_shape: of one sample; its last axis is one loss's. dtype: one that the numbers must fit, if given.
    """
    if sample_weight is None:
        return None
    weights = as_numeric(sample_weight, f"{owner}: sample_weight")
    if weights.ndim == 0 or len(weights) != count:
        raise DataError(
            f"{owner}: x has {count} samples and sample_weight has shape {weights.shape}; give one weight each."
        )
    check_finite(weights, f"{owner}: sample_weight", dtype)
    allowed = [(count, *output_shape[:k]) for k in range(max(1, len(output_shape)))]
    shape = weights.shape[:-1] if weights.shape[-1] == 1 and weights.shape[:-1] in allowed else weights.shape
    if shape not in allowed:
        further = f", or one for each place of {output_shape[:-1]}" if len(output_shape) > 1 else ""
        raise DataError(
            f"{owner}: sample_weight must have shape ({count},), got {weights.shape}; give one weight for each "
            f"sample{further}."
        )
    return weights.reshape(shape)


def class_weights(
    class_weight: Any, sample_weight: Array | None, y: Array, output_shape: Shape, owner: str, dtype: Any
) -> Array | None:
    """The weight of each sample from its class's; classes that class_weight leaves out weigh 1.

    A label is rounded to a class, as in Keras. dtype: one that the weights must fit; they come in float64. Raises
    DataError for weights that do not, ConfigError for a class beyond the outputs; where there is one output, any whole
    number may be a class, and need not occur in y, which may be one batch of many.
    """
    if class_weight is None:
        return sample_weight
    if sample_weight is not None:
        raise ConfigError(
            f"{owner}: class_weight and sample_weight exclude each other; multiply them into sample_weight."
        )
    if not isinstance(class_weight, Mapping):
        raise ConfigError(f"{owner}: class_weight must be a dict of class number to weight, got {class_weight!r}.")
    if y.ndim > 2:
        raise ConfigError(
            f"{owner}: class_weight needs one label for each sample, and y has shape {y.shape}; give sample_weight "
            "instead."
        )
    one_hot = y.ndim > 1 and y.shape[-1] > 1
    numbers = y.argmax(axis=-1) if one_hot else np.rint(np.asarray(y.reshape(len(y)), np.float64)).astype(np.int64)
    classes, places = np.unique(numbers, return_inverse=True)
    outputs = output_shape[-1]
    weights: dict[int, float] = {}
    for number, weight in class_weight.items():
        whole = isinstance(number, (int, np.integer)) or (isinstance(number, (float, np.floating)) and number % 1 == 0)
        if not whole or not (outputs == 1 or 0 <= number < outputs):
            there = "" if outputs == 1 else f", and there are {outputs}, from 0 on"
            raise ConfigError(f"{owner}: class_weight names class {number!r}; classes are integers{there}.")
        weights[int(number)] = finite_number(weight, f"class_weight[{number}]", owner)
    largest = max(map(abs, weights.values()), default=0.0)
    if largest > float(np.finfo(dtype).max):
        raise DataError(f"{owner}: class_weight has {largest:g}, more than {dtype} holds; give smaller ones.")
    return np.array([weights.get(int(number), 1.0) for number in classes])[places]


def optional_count(value: Any, name: str, owner: str) -> int | None:
    """A positive number, of batches or of the samples in one, or None."""
    return None if value is None else positive_int(value, name, owner)


def validation_epochs(freq: Any, owner: str) -> Callable[[int], bool]:
    """Whether there is a validation after epoch n, counted from 1: every freq-th, or those listed."""
    if isinstance(freq, Sequence) and not isinstance(freq, str):
        return {positive_int(n, "validation_freq", owner) for n in freq}.__contains__
    every = positive_int(freq, "validation_freq", owner)
    return lambda epoch: epoch % every == 0
