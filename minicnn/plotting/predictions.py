"""What a model predicts: the confusion matrix, and images with their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.errors import ConfigError, ShapeError
from minicnn.geometry import positive_int
from minicnn.plotting.canvas import (
    class_numbers,
    finished,
    name_of,
    names_or_none,
    new_figure,
    pictures,
    readable_on,
    text_width,
)
from minicnn.typing import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLASSES, MOST_IMAGES = 100, 200
"""Of more, nothing could be made out in a figure, and it would take minutes and gigabytes."""

TITLE_SIZE = 7
"""Points of the letters over an image of a grid."""


def confusion_matrix(
    y_true: Any, y_pred: Any, class_names: Sequence[str] | None = None, title: str = "Confusion matrix"
) -> Figure:
    """How often each true class (rows) was predicted as each class (columns).

    y_true: (N,) or (N, 1) class numbers, or (N, K) one-hot; y_pred: (N,) class numbers or (N, K) probabilities.
    class_names: of all classes; None numbers them from 0 to the largest that occurs.
    Raises ShapeError if there are no labels or the lengths differ, ConfigError for labels that are no class numbers or
    have no name and for more than 100 classes, DataError for NaN.
    """
    from sklearn.metrics import confusion_matrix as count

    true, predicted = class_numbers(y_true, "confusion_matrix"), class_numbers(y_pred, "confusion_matrix")
    if true.shape != predicted.shape:
        counts = f"y_true has {len(true)} labels and y_pred {len(predicted)}"
        raise ShapeError(f"confusion_matrix: {counts}; give one for each sample.")
    if not len(true):
        raise ShapeError("confusion_matrix: there are no labels to count; give at least one.")
    largest = int(max(true.max(initial=0), predicted.max(initial=0)))
    given = names_or_none(class_names, "confusion_matrix")
    classes = largest + 1 if given is None else len(given)
    if largest >= classes:
        raise ConfigError(
            f"confusion_matrix: class_names has {classes} names, but the labels go up to {largest}; name every class."
        )
    if classes > MOST_CLASSES:
        raise ConfigError(
            f"confusion_matrix: draws up to {MOST_CLASSES} classes, got {classes}; "
            "count them with sklearn.metrics.confusion_matrix."
        )
    matrix = count(true, predicted, labels=np.arange(classes))
    names = [name_of(k, given, "confusion_matrix") for k in range(classes)]
    figure = new_figure(2.0 + 0.55 * classes, 1.6 + 0.5 * classes)
    axes = figure.add_subplot()
    shade = np.log1p(matrix)
    image = axes.imshow(shade, cmap="Blues", vmin=0)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    slanted = max(map(len, names)) > 2
    axes.set_xticks(range(classes), names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(classes), names)
    for row in range(classes):
        for column in range(classes):
            color = readable_on(tuple(image.to_rgba(shade[row, column])))
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", size=8, color=color)
    return finished(figure)


def image_grid(
    images: Any,
    y_true: Any = None,
    y_pred: Any = None,
    class_names: Sequence[str] | None = None,
    columns: int = 6,
    title: str = "",
) -> Figure:
    """Images in rows, each with its true class, the predicted one and its probability; wrong predictions in bold red.

    images: (N, H, W), (N, H, W, 1) or (N, H, W, 3); uint8 of 0 to 255, or other numbers, which are drawn from their
    smallest to their largest. y_true, y_pred: as in confusion_matrix; either may be left out. Class numbers have no
    probability. class_names: None shows numbers. columns: images a row.
    Raises ShapeError or DataError for what are no images, for more than 200 and where the lengths differ, ConfigError
    and DataError as confusion_matrix.
    """
    drawn = pictures(images, "image_grid")
    columns = min(positive_int(columns, "columns", "image_grid"), max(1, len(drawn)))
    true, predicted = (None if y is None else class_numbers(y, "image_grid") for y in (y_true, y_pred))
    for name, labels in (("y_true", true), ("y_pred", predicted)):
        if labels is not None and len(labels) != len(drawn):
            raise ShapeError(f"image_grid: there are {len(drawn)} images and {name} has {len(labels)}; give one each.")
    if not len(drawn):
        raise ShapeError("image_grid: there are no images to draw; give at least one.")
    if len(drawn) > MOST_IMAGES:
        raise ShapeError(
            f"image_grid: draws up to {MOST_IMAGES} images, got {len(drawn)}; give images[:{MOST_IMAGES}]."
        )
    texts = _grid_titles(true, predicted, y_pred, names_or_none(class_names, "image_grid"), len(drawn))
    rows = math.ceil(len(drawn) / columns)
    lines = (true is not None) + (predicted is not None)
    width = max(1.6, *(text_width(text, TITLE_SIZE) + 0.15 for text in texts))
    figure = new_figure(max(3.0, width * columns), (1.25 + 0.17 * lines) * rows + 0.4 * bool(title))
    for k, (picture, text) in enumerate(zip(drawn, texts, strict=True)):
        axes = figure.add_subplot(rows, columns, k + 1)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
        wrong = true is not None and predicted is not None and true[k] != predicted[k]
        color, weight = ("tab:red", "bold") if wrong else ("black", "normal")
        axes.set_title(text, size=TITLE_SIZE, color=color, weight=weight)
    if title:
        figure.suptitle(title)
    return finished(figure)


def _grid_titles(
    true: Array | None, predicted: Array | None, y_pred: Any, names: list[str] | None, count: int
) -> list[str]:
    """What stands over each image. y_pred: as given; its probabilities are shown, if it holds any."""
    lines: list[list[str]] = [[] for _ in range(count)]
    if true is not None:
        for line, number in zip(lines, true, strict=True):
            line.append(f"true: {name_of(number, names, 'image_grid')}")
    if predicted is not None:
        sure = np.asarray(y_pred).max(axis=1) if np.ndim(y_pred) == 2 and np.shape(y_pred)[1] > 1 else None
        for k, (line, number) in enumerate(zip(lines, predicted, strict=True)):
            chance = "" if sure is None else f", {sure[k]:.0%}"
            line.append(f"predicted: {name_of(number, names, 'image_grid')}{chance}")
    return ["\n".join(line) for line in lines]
