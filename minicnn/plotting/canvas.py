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

LARGEST = 2**31 - 1
"""The largest number of a class."""


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches: no window, no global state, no backend to choose."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def finished(figure: Figure) -> Figure:
    """The figure, with every text as it reads: names of classes, layers and files are no formulas, whatever their $.

    What no font can show, such as a byte of a file's name that is no UTF-8, becomes an escape.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text(text.get_text().encode(errors="backslashreplace").decode())
    return figure


def text_width(text: str, size: float) -> float:
    """The width of a text's longest line in inches, in bold letters of `size` points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight="bold")
    lines = text.encode(errors="backslashreplace").decode().split("\n")
    return max(text_to_path.get_text_width_height_descent(line, font, False)[0] for line in lines) / 72


def readable_on(color: Sequence[float]) -> str:
    """ "black" or "white", whichever stands out more on a colour (red, green, blue, ...) of 0 to 1.

    Contrast of a lighter and a darker colour: (L + 0.05) / (M + 0.05), L and M their luminances, black 0 and white 1.
    Source: WCAG 2.2, "contrast ratio" and "relative luminance".
    """
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3])
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"


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

    Raises ConfigError for anything that is no class, DataError for NaN and infinity.
    """
    try:
        array = np.asarray(labels)
    except ValueError:
        raise ConfigError(
            f"{owner}: labels must be class numbers or (N, K) probabilities, got rows of different lengths; "
            "give one number a class in each."
        ) from None
    if array.dtype.kind not in "biuf":
        raise ConfigError(
            f"{owner}: labels must be numbers, got {array.dtype} values; give class numbers or probabilities."
        )
    check_finite(array, f"{owner}: labels")
    if array.ndim == 2 and array.shape[1] > 1:
        return array.argmax(axis=1)
    flat = array.reshape(-1)
    wrong = flat[flat != np.floor(flat)]
    if wrong.size:
        raise ConfigError(f"{owner}: labels must be whole class numbers or (N, K) probabilities, got {wrong[0]}.")
    if flat.min(initial=0) < 0:
        raise ConfigError(f"{owner}: labels must be class numbers from 0 on, got {flat.min()}.")
    if flat.max(initial=0) > LARGEST:
        raise ConfigError(f"{owner}: labels must be class numbers up to {LARGEST}, got {flat.max()}.")
    return flat.astype(np.int64)


def names_or_none(class_names: Any, owner: str) -> list[str] | None:
    """The names of the classes as a list; None as it is. Raises ConfigError for what is no list of names."""
    if class_names is None:
        return None
    if isinstance(class_names, str) or np.asarray(class_names, object).ndim != 1:
        raise ConfigError(f"{owner}: class_names must be a list of names or None, got {class_names!r}.")
    return list(map(str, class_names))


def name_of(number: int, class_names: list[str] | None, owner: str) -> str:
    """The class's name, or its number where there are no names. Raises ConfigError where the names end before it."""
    if class_names is None:
        return str(number)
    if number >= len(class_names):
        raise ConfigError(
            f"{owner}: class_names has {len(class_names)} names, but there is a class {number}; name every class."
        )
    return class_names[number]


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
