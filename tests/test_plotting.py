"""What the figures show: lines, labels, legends and numbers."""

import matplotlib.colors
import numpy as np
import pytest
from matplotlib import pyplot

from minicnn import plotting
from minicnn.callbacks import History
from minicnn.errors import ConfigError, ShapeError

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
    ],
)
def test_quantities_that_are_not_there(names, message):
    with pytest.raises(ConfigError) as error:
        plotting.learning_curves(RECORD, names=names)
    assert str(error.value) == message


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


def test_numbers_are_white_on_dark_cells():
    (axes,) = plotting.confusion_matrix(TRUE, PREDICTED).axes
    colors = {text.get_position(): matplotlib.colors.to_hex(text.get_color()) for text in axes.texts}
    assert colors[0, 0] == "#ffffff"
    assert colors[1, 0] == "#000000"


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
