"""One-hot labels, in the place where Keras 2 has them: `from minicnn.utils import np_utils`."""

from contextlib import suppress
from typing import Any

import numpy as np

from minicnn.arguments import refuse_unknown
from minicnn.errors import ConfigError, DataError
from minicnn.typing import Array


def to_categorical(x: Any, num_classes: int | None = None, dtype: Any = None, **unknown: Any) -> Array:
    """One-hot rows from class numbers: (...) or (..., 1) to (..., num_classes), float64 as in Keras 3.

    x: integers, also as strings; floats are cut to integers. A negative number counts from the end.
    num_classes: None or 0 means the largest number of x plus 1. dtype: Keras 2's argument, any type of numbers or bool;
    None is float64.
    Raises DataError for a number that is no class and for x that holds no numbers, ConfigError for other arguments
    that are wrong or unknown.
    """
    refuse_unknown(unknown, "to_categorical")
    number = _number_type(dtype)
    labels = _class_numbers(x)
    if num_classes is not None and (
        isinstance(num_classes, bool) or not isinstance(num_classes, (int, np.integer)) or num_classes < 0
    ):
        raise ConfigError(
            "to_categorical: num_classes must be a positive integer, or None or 0 to count the classes of x, got "
            f"{num_classes!r}."
        )
    if not num_classes:
        if not labels.size:
            raise DataError(f"to_categorical: x of shape {labels.shape} is empty; say num_classes.")
        num_classes = int(labels.max()) + 1
    wrong = labels[(labels >= num_classes) | (labels < -num_classes)]
    if wrong.size:
        raise DataError(
            f"to_categorical: x holds {wrong[0]}, which is none of {num_classes} classes; raise num_classes."
        )
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    one_hot = np.zeros((labels.size, num_classes), number)
    one_hot[np.arange(labels.size), labels.ravel()] = 1
    return one_hot.reshape(*labels.shape, num_classes)


def _class_numbers(x: Any) -> Array:
    """x as int64. Raises DataError unless it is an array of finite numbers."""
    try:
        labels = np.asarray(x)
    except ValueError:  # rows of different lengths
        raise DataError("to_categorical: x must be an array of class numbers, got rows of different lengths.") from None
    if labels.dtype.kind in "OUS":  # "5", as tables read from files hold them
        with suppress(TypeError, ValueError, OverflowError):
            labels = labels.astype(np.int64)
    if labels.dtype.kind not in "biuf":
        raise DataError(f"to_categorical: x must hold class numbers, got dtype {labels.dtype}; convert it to integers.")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError("to_categorical: x holds NaN or infinity; class numbers are finite.")
    return labels.astype(np.int64)


def _number_type(dtype: Any) -> np.dtype[Any]:
    try:
        number = np.dtype(dtype)  # None is float64
    except TypeError:
        number = np.dtype(object)
    if number.kind not in "biufc":
        raise ConfigError(f'to_categorical: dtype must be a type of numbers such as "float32", got {dtype!r}.')
    return number
