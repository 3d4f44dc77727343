"""Losses: how far predictions are from the truth, and the gradient that training follows.

The formulas follow Keras 3 on TensorFlow, measured case by case; each class says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minicnn.lookup import initialized, resolve, table_of
from minicnn.losses.base import Loss
from minicnn.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from minicnn.losses.functions import (
    FUNCTIONS,
    binary_crossentropy,
    categorical_crossentropy,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from minicnn.losses.regression import MeanSquaredError
from minicnn.typing import Config

__all__ = [
    "LOSSES",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "mean_squared_error",
    "serialize",
    "sparse_categorical_crossentropy",
]

LOSSES = table_of(
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    BinaryCrossentropy,
    MeanSquaredError,
    aliases={"mse": MeanSquaredError, "MSE": MeanSquaredError, "bce": BinaryCrossentropy, "BCE": BinaryCrossentropy},
)


def get(identifier: Any, custom_objects: Mapping[str, type] | None = None) -> Loss:
    """The loss for a name, a class, an instance, a config or one of the functions. Raises ConfigError otherwise."""
    if any(identifier is function for function in FUNCTIONS):
        identifier = identifier.__name__
    return initialized(resolve("loss", Loss, LOSSES, identifier, custom_objects), "reduction")


def deserialize(name: Any, custom_objects: Mapping[str, type] | None = None) -> Loss:
    """The loss of a config {"class_name", "config"}; get, under Keras's other name."""
    return get(name, custom_objects)


def serialize(loss: Loss) -> Config:
    """{"class_name", "config"}, from which get makes the loss again."""
    return {"class_name": type(loss).__name__, "config": loss.get_config()}
