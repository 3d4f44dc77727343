"""Metrics: numbers that are reported, never differentiated. They see a batch at a time and remember sums.

Throughout: y_true and y_pred have the batch in front, classes last. A per-sample function returns one value a sample
(or a pixel); a metric reports their mean over all batches since reset_state, weighted by sample_weight:

    result = sum(w·value) / sum(w)

Sums are float64 whatever the dtype of the predictions. Numbers, names and arguments are those of Keras 3.15.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from minicnn import lookup
from minicnn.errors import ConfigError, ShapeError
from minicnn.metrics.base import Mean, MeanMetricWrapper, Metric
from minicnn.metrics.classification import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from minicnn.metrics.crossentropy import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from minicnn.metrics.regression import MeanAbsoluteError, MeanSquaredError, mean_absolute_error, mean_squared_error
from minicnn.naming import function_name, snake_case
from minicnn.typing import Config, Shape

__all__ = [
    "METRICS",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "accuracy",
    "accuracy_for",
    "binary_accuracy",
    "categorical_accuracy",
    "deserialize",
    "get",
    "mean_absolute_error",
    "mean_squared_error",
    "metric_for",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


METRICS: dict[str, type[Metric]] = lookup.table_of(
    Mean,
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    TopKCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    MeanSquaredError,
    MeanAbsoluteError,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    aliases={
        "mse": MeanSquaredError,
        "MSE": MeanSquaredError,
        "mae": MeanAbsoluteError,
        "MAE": MeanAbsoluteError,
        "bce": BinaryCrossentropy,
        "BCE": BinaryCrossentropy,
    },
)
"""Every metric under its own name, in snake case, and under Keras's short names."""


def get(identifier: Any, custom_objects: Mapping[str, type] | None = None) -> Metric:
    """The metric that a name, class, object, config or plain function (y_true, y_pred) stands for.

    A function needs no derivative here: its mean is reported under its name in snake case, psnr for PSNR, or under what
    it has as `name`, as losses do. Raises ConfigError for anything else.
    """
    if hasattr(identifier, "update_state") and not isinstance(identifier, (Metric, type)):
        raise ConfigError(
            f"metric: {identifier!r} is a {type(identifier).__module__}.{type(identifier).__name__}, which counts by "
            "itself; take one of minicnn.metrics, or subclass Metric."
        )
    if callable(identifier) and not isinstance(identifier, (Metric, type)):
        return MeanMetricWrapper(identifier, _name_in_logs(identifier))
    return lookup.initialized(lookup.resolve("metric", Metric, METRICS, identifier, custom_objects), "name")


def deserialize(config: Any, custom_objects: Mapping[str, type] | None = None) -> Metric:
    """The metric of a config {"class_name", "config"}; get, under Keras's other name."""
    return get(config, custom_objects)


def serialize(metric: Metric) -> Config:
    """{"class_name", "config"}, from which get makes the metric again, with no batch seen."""
    return {"class_name": type(metric).__name__, "config": metric.get_config()}


def _name_in_logs(function: Any) -> str:
    """As Keras 3 makes it: of a lambda, lambda."""
    name = getattr(function, "name", None)
    if isinstance(name, str) and name:
        return name
    return snake_case(re.sub(r"\W+", "", function_name(function)))


def accuracy_for(y_true_shape: Shape, y_pred_shape: Shape, name: str = "accuracy") -> Metric:
    """The accuracy that the word means for labels and predictions of these shapes, batch included, as Keras chooses.

    One output: binary. Labels of fewer axes than the output, or with a last axis of 1: sparse. Else categorical.
    """
    if len(y_pred_shape) < 2 or not y_true_shape:
        raise ShapeError(
            f"accuracy: labels {tuple(y_true_shape)} and output {tuple(y_pred_shape)} must have the batch in front, "
            "and the output its classes behind."
        )
    if y_pred_shape[-1] == 1:
        return BinaryAccuracy(name)
    if len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1:
        return SparseCategoricalAccuracy(name)
    return CategoricalAccuracy(name)


def metric_for(
    identifier: Any,
    y_true_shape: Shape,
    y_pred_shape: Shape,
    custom_objects: Mapping[str, type] | None = None,
) -> Metric:
    """The metric that an entry of compile's list stands for, given the shapes of a batch of labels and of predictions.

    "accuracy" and "acc" mean accuracy_for; a string is also the metric's key in the logs.
    """
    if not isinstance(identifier, str):
        return get(identifier, custom_objects)
    if identifier.lower() in ("accuracy", "acc"):
        return accuracy_for(y_true_shape, y_pred_shape, identifier)
    metric = get(identifier, custom_objects)
    metric.name = identifier
    return metric
