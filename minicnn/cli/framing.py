"""Where the figure stands in an image: digits drawn anywhere, at any size, brought to the frame of a data set.

A network that has only seen digits of one size in one place does not know others. MNIST's were fitted into a box of
20x20 pixels and moved so that their centre of mass is that of the 28x28 field (LeCun et al. 1998); those of
scikit-learn fill their field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minicnn.typing import Array

INK = 0.2
"""The part of the largest brightness from which on a pixel belongs to the figure."""

SLACK = 2
"""A figure that misses box or centre by at most so many pixels is left alone: the data sets' own are no better."""


@dataclass(frozen=True)
class Frame:
    """box: the longer side of the figure, in pixels. by_mass: its centre of mass is central, else that of its box."""

    box: int
    by_mass: bool


FRAMES = {"mnist": Frame(20, by_mass=True), "digits": Frame(28, by_mass=False)}
"""Of the data sets whose figures stand alone on a dark ground."""


def framed(pixels: Array, size: tuple[int, int], frame: Frame) -> Array:
    """The figure of a grey image (H, W) uint8, bright on dark, in that frame in an image of `size` (height, width).

    The ground becomes 0 and the brightest pixel 255. An image without a figure, and one of that size that is in the
    frame already, are returned as they are.
    """
    from PIL import Image

    bright = pixels.astype(np.float32) - np.median(border(pixels))
    if bright.max() <= 0:
        return pixels
    bright = np.clip(bright / bright.max(), 0, 1)
    top, bottom, left, right = _box(bright)
    middle = _middle(bright, frame.by_mass)
    longer = max(bottom - top, right - left)
    off = max(abs(m - side / 2) for m, side in zip(middle, pixels.shape, strict=True))
    if pixels.shape == size and abs(longer - frame.box) <= SLACK and off <= SLACK:
        return pixels
    scale = frame.box / longer
    new = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    figure = Image.fromarray(bright[top:bottom, left:right])
    small = np.asarray(figure.resize(new, Image.Resampling.BILINEAR))
    small = small / small.max()  # a thin stroke is faint after averaging
    return _placed((255 * small).astype(np.uint8), size, _middle(small, frame.by_mass))


def border(pixels: Array) -> Array:
    """The outermost pixels, (M,) or (M, C)."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _box(bright: Array) -> tuple[int, int, int, int]:
    """First row, last row + 1, first column, last column + 1 of the figure."""
    rows, columns = (np.flatnonzero((bright > INK).any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _middle(bright: Array, by_mass: bool) -> tuple[float, float]:
    """Row and column of the figure's centre, pixel k reaching from k to k + 1."""
    if not by_mass:
        top, bottom, left, right = _box(bright)
        return (top + bottom) / 2, (left + right) / 2
    ink = np.where(bright > INK, bright, 0)
    rows, columns = np.indices(ink.shape)
    return float(((rows + 0.5) * ink).sum() / ink.sum()), float(((columns + 0.5) * ink).sum() / ink.sum())


def _placed(figure: Array, size: tuple[int, int], middle: tuple[float, float]) -> Array:
    """The figure on a ground of 0, its middle as near to that of the image as leaves it whole."""
    field = np.zeros(size, np.uint8)
    (height, width), (row, column) = figure.shape, middle
    top = min(max(round(size[0] / 2 - row), 0), size[0] - height)
    left = min(max(round(size[1] / 2 - column), 0), size[1] - width)
    field[top : top + height, left : left + width] = figure
    return field
