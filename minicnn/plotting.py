"""Figures, drawn with matplotlib. Each function returns the figure; `figure.savefig(path)` writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_curves(history: Any, title: str = "") -> Figure:
    """Every quantity of a training over its epochs, training and validation in one panel.

    history: what fit returned, or its `.history` dict. Raises ConfigError if it holds no epoch.
    """
    from matplotlib.ticker import MaxNLocator

    record: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    names = [name for name in record if not name.startswith("val_") and len(record[name])]
    if not names:
        raise ConfigError("learning_curves: the history holds no epoch; pass what fit returned.")
    figure = _figure(5.0 * len(names), 3.8)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), place)
        for key, label, style in ((name, "training", "-"), (f"val_{name}", "validation", "--")):
            if key in record:
                axes.plot(range(1, len(record[key]) + 1), record[key], style, label=label)
        axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    if title:
        figure.suptitle(title)
    return figure


def confusion_matrix(
    y_true: Any, y_pred: Any, class_names: Sequence[str] | None = None, title: str = "Confusion matrix"
) -> Figure:
    """How often each true class (rows) was predicted as each class (columns).

    y_true: (N,) or (N, 1) class numbers, or (N, K) one-hot; y_pred: (N,) class numbers or (N, K) probabilities.
    class_names: of all classes; None numbers those that occur. Raises ShapeError if the lengths differ, ConfigError for
    labels that are no class numbers or have no name.
    """
    from sklearn.metrics import confusion_matrix as count

    true, predicted = _class_numbers(y_true), _class_numbers(y_pred)
    if true.shape != predicted.shape:
        counts = f"y_true has {len(true)} labels and y_pred {len(predicted)}"
        raise ShapeError(f"confusion_matrix: {counts}; give one for each sample.")
    largest = int(max(true.max(initial=0), predicted.max(initial=0)))
    classes = largest + 1 if class_names is None else len(class_names)
    if largest >= classes:
        raise ConfigError(
            f"confusion_matrix: class_names has {classes} names, but the labels go up to {largest}; name every class."
        )
    matrix = count(true, predicted, labels=np.arange(classes))
    names = list(class_names) if class_names is not None else [str(k) for k in range(classes)]
    figure = _figure(2.0 + 0.55 * classes, 1.6 + 0.5 * classes)
    axes = figure.add_subplot()
    axes.imshow(np.log1p(matrix), cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true", title=title)
    slanted = max(map(len, names)) > 2
    axes.set_xticks(range(classes), names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(classes), names)
    for row in range(classes):
        for column in range(classes):
            color = "white" if np.log1p(matrix[row, column]) > 0.6 * np.log1p(matrix.max()) else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", size=8, color=color)
    return figure


def _class_numbers(labels: Any) -> Any:
    array = np.asarray(labels)
    if array.dtype.kind not in "biuf":
        raise ConfigError(
            f"confusion_matrix: labels must be numbers, got {array.dtype} values; give class numbers or probabilities."
        )
    if array.ndim == 2 and array.shape[1] > 1:
        return array.argmax(axis=1)
    numbers = array.reshape(-1).astype(np.int64)
    if numbers.min(initial=0) < 0:
        raise ConfigError(f"confusion_matrix: labels must be class numbers from 0 on, got {numbers.min()}.")
    return numbers


def _figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches: no window, no global state, no backend to choose."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=120)
