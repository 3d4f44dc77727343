"""What the figures show: lines, labels, legends and numbers."""

import matplotlib.colors
import numpy as np
import pytest
from matplotlib import pyplot

from minicnn import Sequential, plotting
from minicnn.callbacks import History
from minicnn.errors import ConfigError, DataError, ShapeError
from minicnn.layers import Dense

RECORD = {"loss": [3.0, 2.0, 1.5], "top_k": [0.1, 0.5, 0.75], "val_loss": [3.5, 2.5, 2.0]}


def lines(axes):
    """Label, style, x and y of each line."""
    return [
        (line.get_label(), line.get_linestyle(), list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.get_lines()
    ]


def test_learning_curves_show_each_quantity_over_the_epochs():
    figure = plotting.learning_curves(RECORD, "LeNet-5")
    loss, top_k = figure.axes
    assert lines(loss) == [
        ("training", "-", [1, 2, 3], [3.0, 2.0, 1.5]),
        ("validation", "--", [1, 2, 3], [3.5, 2.5, 2.0]),
    ]
    assert lines(top_k) == [("training", "-", [1, 2, 3], [0.1, 0.5, 0.75])]
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")
    assert (top_k.get_xlabel(), top_k.get_ylabel()) == ("epoch", "top k")
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    assert [text.get_text() for text in top_k.get_legend().get_texts()] == ["training"]
    assert figure.get_suptitle() == "LeNet-5"
    assert tuple(figure.get_size_inches()) == (10.0, 3.8)


def test_learning_curves_take_what_fit_returns():
    history = History()
    history.history = RECORD
    figure = plotting.learning_curves(history)
    assert [lines(axes) for axes in figure.axes] == [lines(axes) for axes in plotting.learning_curves(RECORD).axes]
    assert figure.get_suptitle() == ""


@pytest.mark.parametrize("record", [{}, {"loss": []}, {"val_loss": [1.0]}])
def test_learning_curves_of_nothing(record):
    with pytest.raises(ConfigError) as error:
        plotting.learning_curves(record)
    assert str(error.value) == "learning_curves: the history holds no epoch; pass what fit returned."


def test_learning_curves_of_chosen_quantities():
    (top_k,) = plotting.learning_curves(RECORD, names=["top_k"]).axes
    assert lines(top_k) == [("training", "-", [1, 2, 3], [0.1, 0.5, 0.75])]


def test_a_single_epoch_is_a_point():
    (axes,) = plotting.learning_curves({"loss": [1.0], "val_loss": [2.0]}).axes
    assert [line.get_marker() for line in axes.get_lines()] == ["o", "o"]


def test_a_resumed_training_goes_on_counting():
    history = History()
    history.history, history.epoch = {"loss": [2.0, 1.0]}, [10, 11]
    assert lines(plotting.learning_curves(history).axes[0]) == [("training", "-", [11, 12], [2.0, 1.0])]


@pytest.mark.parametrize("freq", [2, [2, 4]])
def test_validation_stands_at_its_own_epochs(freq):
    record = {"loss": [5.0, 4.0, 3.0, 2.0, 1.0], "val_loss": [4.5, 2.5]}
    (axes,) = plotting.learning_curves(record, validation_freq=freq).axes
    assert lines(axes)[1] == ("validation", "--", [2, 4], [4.5, 2.5])
    with pytest.raises(ConfigError) as error:
        plotting.learning_curves(record)
    assert str(error.value) == (
        "learning_curves: val_loss has 2 values, where 5 epochs with validation_freq=1 make 5; "
        "give the validation_freq of fit."
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["acc"], "learning_curves: the history has no 'acc'; it has loss, top_k."),
        (["val_loss"], "learning_curves: the history has no 'val_loss'; it has loss, top_k."),
        ("loss", "learning_curves: names must be a list of quantities, got 'loss'; put it into a list."),
        ([], "learning_curves: names must be a list of quantities, got []; put it into a list."),
        (5, "learning_curves: names must be a list of quantities, got 5; put it into a list."),
    ],
)
def test_quantities_that_are_not_there(names, message):
    with pytest.raises(ConfigError) as error:
        plotting.learning_curves(RECORD, names=names)
    assert str(error.value) == message


@pytest.mark.parametrize("history", [None, "history.json", [1.0, 2.0], Sequential([Dense(2)])])
def test_what_is_no_history(history):
    with pytest.raises(ConfigError) as error:
        plotting.learning_curves(history)
    assert str(error.value) == (
        f"learning_curves: takes what fit returned, or its .history dict, got {type(history).__name__}."
    )


@pytest.mark.parametrize("values", [1.0, None, "many", ["a"], [[1.0], [2.0, 3.0]], [[1.0]]])
def test_what_are_no_values_of_epochs(values):
    with pytest.raises(ConfigError) as error:
        plotting.learning_curves({"loss": values})
    assert str(error.value) == f"learning_curves: loss must be a list of numbers, one an epoch, got {values!r}."


def test_an_epoch_without_a_value_is_a_gap():
    (axes,) = plotting.learning_curves({"loss": [3.0, None, 1.0]}).axes
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), [3.0, np.nan, 1.0])


TRUE, PREDICTED = [0, 0, 0, 1, 2, 2], [0, 0, 2, 1, 1, 2]
COUNTS = [[2, 0, 1], [0, 1, 0], [0, 1, 1]]


def numbers(axes, classes):
    """The numbers written into the cells, by row and column."""
    matrix = np.full((classes, classes), -1)
    for text in axes.texts:
        column, row = text.get_position()
        matrix[row, column] = int(text.get_text())
    return matrix.tolist()


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_confusion_matrix_counts_true_classes_in_rows_and_predicted_ones_in_columns():
    (axes,) = plotting.confusion_matrix(TRUE, PREDICTED).axes
    assert numbers(axes, 3) == COUNTS
    (image,) = axes.get_images()
    np.testing.assert_allclose(image.get_array(), np.log1p(COUNTS))
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("predicted", "true", "Confusion matrix")
    assert ticks(axes.xaxis) == ticks(axes.yaxis) == ["0", "1", "2"]


def brightness(color):
    """Relative luminance, 0 to 1, of (red, green, blue, ...): WCAG's."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(
    "counts", [[[5, 5], [5, 5]], [[1, 0], [0, 1]], [[900, 1, 30], [100, 200, 6], [0, 60, 800]], [[1, 2, 3], [4, 5, 6]]]
)
def test_every_number_can_be_read_on_its_cell(counts):
    """A contrast of at least 4.5 to 1, which WCAG asks of small letters."""
    pairs = [(t, p) for t, row in enumerate(counts) for p, count in enumerate(row) for _ in range(count)]
    (axes,) = plotting.confusion_matrix(*np.transpose(pairs)).axes
    (image,) = axes.get_images()
    for text in axes.texts:
        column, row = text.get_position()
        cell = brightness(image.to_rgba(image.get_array()[row, column]))
        letters = brightness(matplotlib.colors.to_rgb(text.get_color()))
        assert (max(cell, letters) + 0.05) / (min(cell, letters) + 0.05) >= 4.5, text


def test_a_cell_is_as_dark_as_it_is_full():
    """From 0 on: cells with equal counts are not empty ones."""
    (axes,) = plotting.confusion_matrix([0, 0, 1, 1], [0, 1, 0, 1]).axes
    (image,) = axes.get_images()
    assert brightness(image.to_rgba(image.get_array()[0, 0])) < 0.1
    assert brightness(image.to_rgba(0)) > 0.9


def test_a_confusion_matrix_of_probabilities_one_hot_labels_and_columns():
    one_hot = np.eye(3)
    for y_true in (one_hot[TRUE], np.array(TRUE)[:, None]):
        (axes,) = plotting.confusion_matrix(y_true, 0.5 * one_hot[PREDICTED]).axes
        assert numbers(axes, 3) == COUNTS


def test_class_names_and_a_class_that_does_not_occur():
    names = ["cat", "dog", "emu", "fox"]
    (axes,) = plotting.confusion_matrix(TRUE, PREDICTED, names, title="Pets").axes
    assert numbers(axes, 4) == [[*row, 0] for row in COUNTS] + [[0, 0, 0, 0]]
    assert axes.get_title() == "Pets"
    assert ticks(axes.xaxis) == ticks(axes.yaxis) == names
    assert {label.get_rotation() for label in axes.xaxis.get_ticklabels()} == {45}


@pytest.mark.parametrize(
    ("true", "predicted", "names", "error", "message"),
    [
        (
            TRUE,
            PREDICTED[:5],
            None,
            ShapeError,
            "confusion_matrix: y_true has 6 labels and y_pred 5; give one for each sample.",
        ),
        ([], [], None, ShapeError, "confusion_matrix: there are no labels to count; give at least one."),
        (
            TRUE,
            PREDICTED,
            ["cat", "dog"],
            ConfigError,
            "confusion_matrix: class_names has 2 names, but the labels go up to 2; name every class.",
        ),
        (
            [0, -1],
            [0, 1],
            None,
            ConfigError,
            "confusion_matrix: labels must be class numbers from 0 on, got -1.",
        ),
        (
            ["cat"],
            ["dog"],
            None,
            ConfigError,
            "confusion_matrix: labels must be numbers, got <U3 values; give class numbers or probabilities.",
        ),
        (
            [[0, 1], [1]],
            [0, 1],
            None,
            ConfigError,
            "confusion_matrix: labels must be class numbers or (N, K) probabilities, got rows of different lengths; "
            "give one number a class in each.",
        ),
        (
            [0, 1],
            [[0.5, 0.5], [np.nan, 0.5]],
            None,
            DataError,
            "confusion_matrix: labels: holds nan at (1, 0); replace or drop such samples.",
        ),
        (
            [0, np.inf],
            [0, 1],
            None,
            DataError,
            "confusion_matrix: labels: holds inf at (1,); replace or drop such samples.",
        ),
        (
            [0, 1e300],
            [0, 1],
            None,
            ConfigError,
            "confusion_matrix: labels must be class numbers up to 2147483647, got 1e+300.",
        ),
        (
            [0, 1],
            [0, 1_000_000],
            None,
            ConfigError,
            "confusion_matrix: draws up to 100 classes, got 1000001; count them with sklearn.metrics.confusion_matrix.",
        ),
        ([0], [0], 5, ConfigError, "confusion_matrix: class_names must be a list of names or None, got 5."),
        ([0], [0], "cat", ConfigError, "confusion_matrix: class_names must be a list of names or None, got 'cat'."),
    ],
)
def test_labels_that_do_not_fit(true, predicted, names, error, message):
    with pytest.raises(error) as caught:
        plotting.confusion_matrix(true, predicted, names)
    assert str(caught.value) == message


@pytest.mark.parametrize("predicted", [[0.0, 0.9], [[0.0], [0.9]]])
def test_one_probability_a_sample_is_no_class_number(predicted):
    with pytest.raises(ConfigError) as caught:
        plotting.confusion_matrix([0, 1], predicted)
    assert str(caught.value) == (
        "confusion_matrix: labels must be whole class numbers or (N, K) probabilities, got 0.9."
    )


def test_figures_are_their_own_and_can_be_saved(tmp_path):
    plotting.learning_curves(RECORD).savefig(tmp_path / "curves.png")
    plotting.confusion_matrix(TRUE, PREDICTED).savefig(tmp_path / "matrix.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("curves.png", "matrix.png"))
    assert not pyplot.get_fignums(), "no window, and no figure that pyplot keeps alive"
