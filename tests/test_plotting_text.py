"""Texts of figures: inside, apart from each other, and as they were given."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from minicnn import Sequential, plotting
from minicnn.datasets import cifar10
from minicnn.errors import ConfigError, DataError, ShapeError
from minicnn.layers import Conv2D, Dense, Flatten, Input

LONG = "red-breasted merganser, $x^2$"
ODD = "my$^$ \\foo_{"  # as a formula, an error


def boxes(figure):
    """Lay the figure out; the boxes of its images and of their titles."""
    FigureCanvasAgg(figure).draw()
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    return titles + [axes.get_window_extent() for axes in figure.axes]


@pytest.mark.parametrize(
    ("names", "count", "columns"),
    [
        (cifar10.CLASS_NAMES, 14, 6),
        ([*cifar10.CLASS_NAMES[:9], LONG], 10, 4),
        (None, 3, 6),
        (cifar10.CLASS_NAMES, 1, 6),
    ],
)
def test_titles_of_a_grid_stand_apart_and_inside(names, count, columns):
    """The longest ones in every column: bold, since wrong, and with 100%."""
    images = np.zeros((count, 32, 32, 3), np.uint8)
    true = np.full(count, 0 if names is None or LONG in names else 1)
    predicted = np.eye(10)[np.full(count, 9 if names is None or LONG in names else 1)]
    true[1:] = 9 - true[1:]
    figure = plotting.image_grid(images, true, predicted, names, columns=columns)
    found = boxes(figure)
    width, height = figure.bbox.size
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in found)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(found, 2))


def test_short_titles_leave_the_columns_as_they_are():
    figure = plotting.image_grid(np.zeros((6, 2, 2)), [0] * 6, [1] * 6)
    assert figure.get_size_inches()[0] == pytest.approx(9.6)


@pytest.mark.parametrize("text", [ODD, "a\udcff"])
def test_texts_are_no_formulas(tmp_path, text):
    """Whatever they hold; a byte of a file's name that is no UTF-8 is shown as an escape."""
    model = Sequential([Input((4, 4, 1)), Conv2D(2, 3, name="$^$"), Flatten(), Dense(2)], seed=0, kernels="numpy")
    image, names = np.zeros((4, 4)), [ODD, "b"]
    figures = [
        plotting.learning_curves({"$^$": [1.0, 2.0]}, text),
        plotting.confusion_matrix([0, 1], [1, 1], names, text),
        plotting.image_grid(image[None], [0], [1], names, title=text),
        plotting.filters(model.layers[0]),
        plotting.filters(model.layers[0], title=text),
        plotting.feature_maps(model, image, title=text),
        plotting.saliency_map(model, image, 0, names, text),
    ]
    for k, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{k}.png")
    shown = text.replace("\udcff", "\\udcff")
    assert figures[0].get_suptitle() == figures[-1].get_suptitle() == shown
    assert figures[1].axes[0].get_title() == shown


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"images": np.zeros((201, 2, 2))},
            ShapeError,
            "image_grid: draws up to 200 images, got 201; give images[:200].",
        ),
        (
            {"images": np.zeros((1, 2, 2)), "y_pred": [1], "class_names": 5},
            ConfigError,
            "image_grid: class_names must be a list of names or None, got 5.",
        ),
        (
            {"images": np.zeros((1, 2, 2)), "y_pred": [[np.nan, 0.5]]},
            DataError,
            "image_grid: labels: holds nan at (0, 0); replace or drop such samples.",
        ),
    ],
)
def test_what_a_grid_refuses(arguments, error, message):
    with pytest.raises(error) as caught:
        plotting.image_grid(**arguments)
    assert str(caught.value) == message
