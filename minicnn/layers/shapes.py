"""Shapes, axes and dtypes as the caller gives them, checked, and shapes as users see them.

A sample's shape leaves the batch out: (28, 28, 1), which users see as (None, 28, 28, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minicnn.errors import ConfigError, ShapeError
from minicnn.typing import Config, Shape


def batched(shape: Any) -> str:
    """A sample's shape as users see it: (None, 28, 28, 1)."""
    return "None" if shape is None else str((None, *shape))


def float_dtype(dtype: Any, owner: str) -> np.dtype[Any]:
    """numpy's float32 or float64. Raises ConfigError for any other dtype."""
    if isinstance(dtype, Mapping) and isinstance(dtype.get("config"), Mapping):  # Keras 3's DTypePolicy
        dtype = dtype["config"].get("name")
    try:
        result = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        result = None
    if result not in (np.float32, np.float64):
        raise ConfigError(f'{owner}: dtype must be "float32" or "float64", got {dtype!r}.')
    return result


def declared_shape(kwargs: Config, owner: str) -> Shape | None:
    """Take the spellings of an input shape out of kwargs; the sample's shape, or None if there is none."""
    given = {}
    for key in ("input_shape", "input_dim", "batch_shape", "batch_input_shape"):
        value = kwargs.pop(key, None)
        if value is None:
            continue
        if key.startswith("batch"):
            if not isinstance(value, (tuple, list)) or not value:
                raise ConfigError(f"{owner}: {key} must be a tuple (None, ...) with the batch in front, got {value!r}.")
            if value[0] is not None:
                raise ConfigError(f"{owner}: {key}={tuple(value)!r} fixes the batch; put None first.")
            value = value[1:]
        given[key] = sample_shape((value,) if key == "input_dim" else value, owner)
    if len(set(given.values())) > 1:
        raise ConfigError(f"{owner}: {' and '.join(given)} give different shapes; keep one of them.")
    return next(iter(given.values()), None)


def axis_number(axis: Any, owner: str) -> int:
    """axis as an integer other than 0, which is the batch. [axis], as Keras 2 writes it, is taken too."""
    one = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
    if isinstance(one, bool) or not isinstance(one, (int, np.integer)) or one == 0:
        raise ConfigError(f"{owner}: axis must be one integer other than 0, the batch; got {axis!r}.")
    return int(one)


def size_along(axis: int, input_shape: Shape, owner: str) -> int:
    """The length of a sample along axis, counted with the batch as axis 0. Raises ShapeError if there is none."""
    rank = len(input_shape) + 1
    if rank == 1:
        raise ShapeError(f"{owner}: samples must have an axis, got {batched(input_shape)}; add one with x[None].")
    if not -rank < axis < rank:
        raise ShapeError(f"{owner}: axis {axis} is not in input {batched(input_shape)}; use axis=-1.")
    return (0, *input_shape)[axis]


def sample_shape(shape: Any, owner: str) -> Shape:
    """A tuple of positive ints from what the caller gave as a sample's shape. Raises ConfigError otherwise."""
    values = (shape,) if isinstance(shape, (int, np.integer)) else shape
    try:
        result = tuple(int(v) for v in values)
        whole = all(v == r and r > 0 for v, r in zip(values, result, strict=True))
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise ConfigError(f"{owner}: a shape holds positive integers and leaves the batch out, got {shape!r}.")
    return result


def rank_remedy(rank: int, input_shape: Shape) -> str:
    if rank == 3 and len(input_shape) == 2:
        return "add the channel axis with x[..., None]."
    if rank == 1:
        return "put Flatten() before it."
    return "reshape the input."
