"""What the figures share: a sheet to draw on, pictures from images, tiles side by side, and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.batches import as_numeric, check_finite
from minicnn.errors import ConfigError, NotBuiltError, ShapeError
from minicnn.models import Sequential
from minicnn.typing import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE = 24
"""Small tiles are enlarged to about this many pixels a side, so that the gaps between them stay narrow."""


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches: no window, no global state, no backend to choose."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def pictures(images: Any, owner: str) -> Array:
    """Images (N, H, W), (N, H, W, 1) or (N, H, W, 3) as (N, H, W) or (N, H, W, 3) of 0 to 1.

    uint8 goes from 0 to 255; other numbers from their smallest to their largest. Raises DataError or ShapeError.
    """
    array = as_numeric(images, f"{owner}: images")
    check_finite(array, f"{owner}: images")
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)):
        raise ShapeError(
            f"{owner}: images must have shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), got {array.shape}; "
            "for a single image give x[None]."
        )
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.dtype == np.uint8:
        return array / 255
    array = array.astype(np.float64)
    least, most = array.min(initial=math.inf), array.max(initial=-math.inf)
    return (array - least) / (most - least) if most > least else np.zeros_like(array)


def mosaic(tiles: Array, columns: int) -> Array:
    """Tiles (N, H, W) or (N, H, W, 3) side by side, `columns` a row, with gaps between them.

    Gaps, and places of the last row that no tile fills, are NaN (grey tiles), which matplotlib leaves blank, or white.
    """
    n, h, w = tiles.shape[:3]
    scale = max(1, round(TILE / max(h, w)))
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    h, w = tiles.shape[1:3]
    gap = max(1, max(h, w) // 12)
    rows = math.ceil(n / columns)
    size = rows * (h + gap) - gap, columns * (w + gap) - gap
    whole: Array = np.full((*size, *tiles.shape[3:]), 1.0 if tiles.ndim == 4 else np.nan)
    for k, tile in enumerate(tiles):
        top, left = k // columns * (h + gap), k % columns * (w + gap)
        whole[top : top + h, left : left + w] = tile
    return whole


def class_numbers(labels: Any, owner: str) -> Array:
    """(N,) integers from (N,) or (N, 1) class numbers, or from (N, K) probabilities or one-hot rows.

    Raises ConfigError for anything that is no class.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "biuf":
        raise ConfigError(
            f"{owner}: labels must be numbers, got {array.dtype} values; give class numbers or probabilities."
        )
    if array.ndim == 2 and array.shape[1] > 1:
        return array.argmax(axis=1)
    flat = array.reshape(-1)
    wrong = flat[flat != np.floor(flat)]
    if wrong.size:
        raise ConfigError(f"{owner}: labels must be whole class numbers or (N, K) probabilities, got {wrong[0]}.")
    numbers = flat.astype(np.int64)
    if numbers.min(initial=0) < 0:
        raise ConfigError(f"{owner}: labels must be class numbers from 0 on, got {numbers.min()}.")
    return numbers


def name_of(number: int, class_names: Sequence[str] | None, owner: str) -> str:
    """The class's name, or its number where there are no names. Raises ConfigError where the names end before it."""
    if class_names is None:
        return str(number)
    if number >= len(class_names):
        raise ConfigError(
            f"{owner}: class_names has {len(class_names)} names, but there is a class {number}; name every class."
        )
    return str(class_names[number])


def one_sample(model: Any, image: Any, owner: str) -> Array:
    """The image as a batch of one, (1, ...) in the model's dtype.

    image: one sample of the model's input shape, with or without the batch of one in front; (H, W) where the model
    takes one channel. Raises ConfigError, NotBuiltError, DataError or ShapeError.
    """
    if not isinstance(model, Sequential):
        raise ConfigError(f"{owner}: the first argument must be a model, got {model!r}; make a Sequential.")
    if not model.built:
        raise NotBuiltError(
            f"{owner}: {model} has no weights yet; give the first layer input_shape=..., or call build."
        )
    array = as_numeric(image, f"{owner}: image")
    check_finite(array, f"{owner}: image", model.dtype)
    shape = model.input_shape[1:]
    if array.shape not in (shape, (1, *shape)) and (*array.shape, 1) != shape:
        raise ShapeError(f"{owner}: image must be one sample of shape {shape}, got {array.shape}; give x[k].")
    return np.ascontiguousarray(array.reshape(1, *(n or 0 for n in shape)), model.dtype)
