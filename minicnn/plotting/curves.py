"""Learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.checks import validation_epochs
from minicnn.errors import ConfigError
from minicnn.plotting.canvas import finished, new_figure
from minicnn.typing import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_curves(
    history: Any, title: str = "", names: Sequence[str] | None = None, validation_freq: int | Sequence[int] = 1
) -> Figure:
    """Quantities of a training over its epochs, training and validation in one panel.

    history: what fit returned, or its `.history` dict. names: of the quantities to show, such as ["accuracy"]; None
    shows all. validation_freq: as given to fit. Raises ConfigError if there is nothing to show.
    """
    from matplotlib.ticker import MaxNLocator

    record = _record(history)
    shown = _shown(record, names)
    figure = new_figure(5.0 * len(shown), 3.8)
    for place, name in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), place)
        epochs = _epochs(history, len(record[name]))
        marker = "o" if len(epochs) == 1 else None  # one point is no line
        axes.plot(epochs, record[name], "-", marker=marker, label="training")
        if len(validated := record.get(f"val_{name}", ())):
            validates = validation_epochs(validation_freq, "learning_curves")
            when = [n for n in epochs if validates(n)]
            if len(when) != len(validated):
                raise ConfigError(
                    f"learning_curves: val_{name} has {len(validated)} values, where {len(epochs)} epochs with "
                    f"validation_freq={validation_freq!r} make {len(when)}; give the validation_freq of fit."
                )
            axes.plot(when, validated, "--", marker="o" if len(when) == 1 else None, label="validation")
        axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    if title:
        figure.suptitle(title)
    return finished(figure)


def _record(history: Any) -> dict[str, Array]:
    """The values of each quantity, one an epoch; None among them becomes NaN, which leaves a gap."""
    record = getattr(history, "history", history)
    if not isinstance(record, Mapping):
        raise ConfigError(
            f"learning_curves: takes what fit returned, or its .history dict, got {type(history).__name__}."
        )
    return {str(name): _values(name, values) for name, values in record.items()}


def _values(name: Any, values: Any) -> Array:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = np.empty(())
    if array.ndim != 1:
        raise ConfigError(f"learning_curves: {name} must be a list of numbers, one an epoch, got {values!r}.")
    return array


def _shown(record: Mapping[str, Array], names: Sequence[str] | None) -> list[str]:
    available = [name for name in record if not name.startswith("val_") and len(record[name])]
    if not available:
        raise ConfigError("learning_curves: the history holds no epoch; pass what fit returned.")
    if names is None:
        return sorted(available, key=lambda name: name != "loss")  # which comes first, the others as they are
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise ConfigError(f"learning_curves: names must be a list of quantities, got {names!r}; put it into a list.")
    for name in names:
        if name not in available:
            raise ConfigError(f"learning_curves: the history has no {name!r}; it has {', '.join(available)}.")
    return list(names)


def _epochs(history: Any, count: int) -> list[int]:
    """The numbers of the epochs, from 1: the history's own where it has one for each value, as after a resumed fit."""
    numbers = getattr(history, "epoch", [])
    return [n + 1 for n in numbers] if len(numbers) == count else list(range(1, count + 1))
