"""What layers see: the filters of a convolution, and the feature maps that an image leaves in every layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.errors import ConfigError, NotBuiltError
from minicnn.geometry import positive_int
from minicnn.kernels.blas import single_threaded_blas
from minicnn.layers import Conv2D, Layer, Run
from minicnn.plotting.canvas import finished, mosaic, new_figure, one_sample, pictures
from minicnn.steps.plan import LAYER_RULES, make_plan
from minicnn.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = 20
"""Outputs of up to so many numbers, such as class probabilities, are drawn as bars."""


def filters(layer: Any, max_filters: int = 32, max_channels: int = 16, title: str = "") -> Figure:
    """The filters of a Conv2D: its kernel (KH, KW, C, F) as small pictures.

    One input channel: a picture a filter, from blue below 0 over grey to yellow above, in print from dark to light.
    Three: a colour picture a filter, in which grey is 0. Otherwise a row a channel and a column a filter. All pictures
    have one scale.
    max_filters, max_channels: no more than the first so many are drawn; the title says if there are more.
    Raises ConfigError for another layer, NotBuiltError before it has weights.
    """
    if not isinstance(layer, Conv2D):
        raise ConfigError(f"filters: takes a Conv2D layer, got {layer!r}; find one with model.get_layer(name).")
    if not layer.built:
        raise NotBuiltError(f"filters: {layer} has no weights yet; build its model first.")
    most = positive_int(max_filters, "max_filters", "filters"), positive_int(max_channels, "max_channels", "filters")
    kernel = layer.params["kernel"]
    kh, kw, channels, count = kernel.shape
    one_each = channels in (1, 3)  # a picture a filter
    tiles = kernel[:, :, : channels if one_each else most[1], : most[0]].transpose(2, 3, 0, 1)  # (C, F, KH, KW)
    shown = tiles.shape[1]
    largest = float(np.abs(tiles).max()) or 1.0
    columns = math.ceil(math.sqrt(2 * shown)) if one_each and shown > 8 else shown
    if channels == 3:
        picture = mosaic(0.5 + tiles.transpose(1, 2, 3, 0) / (2 * largest), columns)
    else:
        picture = mosaic(tiles.reshape(-1, kh, kw), columns)
    rows = math.ceil(tiles.shape[0] * shown / columns) if channels != 3 else math.ceil(shown / columns)
    inches = max(0.2, min(1.0, 9.0 / max(rows, columns)))  # a picture; of less than 0.2 nothing can be made out
    height = inches * columns * picture.shape[0] / picture.shape[1]
    figure = new_figure(max(3.2, inches * columns) + 1.2, max(0.7, height) + 0.7)
    axes = figure.add_subplot()
    drawn = axes.imshow(picture, cmap="cividis", vmin=-largest, vmax=largest)  # colours of its own where it has them
    if channels != 3:
        figure.colorbar(drawn, ax=axes)
    axes.set(xticks=[], yticks=[])
    axes.set_frame_on(False)
    parts = [_first_of(shown, count, "filters")]
    if not one_each:
        axes.set(xlabel="filter", ylabel="input channel")
        parts.append(_first_of(len(tiles), channels, "channels"))
    parts += [f"{kh}x{kw}"] + ["grey is 0"] * (channels == 3)
    figure.suptitle(title or f"{layer.name}: {', '.join(parts)}", size=10)  # may be wider than the pictures
    return finished(figure)


def layer_outputs(model: Any, image: Any) -> list[tuple[Layer, Array]]:
    """Every layer with its output for one image, without the batch, in inference mode.

    image: one sample of the model's input shape. Raises ConfigError for no model, NotBuiltError, DataError or
    ShapeError for an image that does not fit.
    """
    x = one_sample(model, image, "layer_outputs")
    run = Run(model.kernels)
    outputs = []
    with single_threaded_blas():
        for layer, step in zip(model.layers, make_plan(model.layers, None, LAYER_RULES).steps, strict=True):
            x, _ = step.forward(x, run)
            outputs.append((layer, x[0].copy()))
    return outputs


def feature_maps(model: Any, image: Any, max_maps: int = 16, title: str = "") -> Figure:
    """What one image becomes in every layer, from top to bottom, in inference mode.

    Outputs (H, W, C) are shown as their first max_maps channels, each row from its smallest value (dark) to its largest
    (bright), which stand beside it; others as a strip of numbers, short ones as bars. Raises as layer_outputs.
    """
    most = positive_int(max_maps, "max_maps", "feature_maps")
    sample = one_sample(model, image, "feature_maps")
    rows: list[tuple[str, Array]] = [("image" if sample.ndim == 4 else "input", sample[0])]
    rows += [(layer.name, y) for layer, y in layer_outputs(model, image)]
    heights = [_height(values, most) for _, values in rows]
    figure = new_figure(10.0, sum(heights) + 0.4 * bool(title))
    grid = figure.add_gridspec(len(rows), 1, height_ratios=heights)
    for k, (name, values) in enumerate(rows):
        axes = figure.add_subplot(grid[k])
        axes.set(xticks=[], yticks=[])
        if values.ndim == 3:
            _draw_maps(axes, values, most, is_image=k == 0)
        elif _is_short(values):
            _draw_bars(axes, values.reshape(-1))
        else:
            axes.imshow(values.reshape(1, -1), cmap="viridis", aspect="auto")
        size = "x".join(map(str, values.shape))
        if values.ndim == 3 and values.shape[2] > most:
            size += f", first {most}"
        label = f"{name}\n{size}\n{values.min():.3g} to {values.max():.3g}"
        axes.set_ylabel(label, rotation=0, ha="right", va="center", size=7)
    if title:
        figure.suptitle(title)
    return finished(figure)


def _draw_maps(axes: Axes, values: Array, most: int, is_image: bool) -> None:
    """The first maps of (H, W, C) side by side, in a row that has room for `most`; an image as itself."""
    limits = float(values.min()), float(values.max())
    tiles = values[:, :, :most].transpose(2, 0, 1)
    if is_image and values.shape[2] == 3:
        blank = np.ones((most - 1, *values.shape))
        tiles = np.concatenate([pictures(values[None], "feature_maps"), blank])
    axes.imshow(mosaic(tiles, most), cmap="gray" if is_image else "viridis", vmin=limits[0], vmax=limits[1])
    axes.set_anchor("W")
    axes.set_frame_on(False)


def _draw_bars(axes: Axes, values: Array) -> None:
    axes.bar(range(len(values)), values, color="tab:blue")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(values)))
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _is_short(values: Array) -> bool:
    return values.ndim != 3 and values.size <= BARS


def _height(values: Array, most: int) -> float:
    """Inches for a row of the figure; `most` maps fill its width."""
    if values.ndim == 3:
        map_height = 8.8 / most * values.shape[0] / values.shape[1]
        return min(
            max(map_height + 0.15, 0.45), 2.0
        )  # no less than the three lines beside it, no more than a row needs
    return 0.9 if _is_short(values) else 0.5


def _first_of(shown: int, count: int, what: str) -> str:
    if shown < count:
        return f"the first {shown} of {count} {what}"
    return f"{count} {what if count > 1 else what.removesuffix('s')}"
