"""The exercise sheet's own code, with keras changed to minicnn in its import lines, runs from top to bottom.

A few hundred images and one epoch by default. MINICNN_SHEET_IMAGES=10000 takes so many training images of the real
data sets, and two epochs: some minutes.
"""

import contextlib
import io
import os
import re
import warnings

import numpy as np
import pytest
from matplotlib import pyplot

from minicnn import load_model, utils
from minicnn.datasets import cifar10, digits, mnist
from tests import sheet

LIMIT = int(os.environ.get("MINICNN_SHEET_IMAGES", "0"))
IMAGES, EPOCHS = (LIMIT, 2) if LIMIT else (300, 1)


def grey_digits():
    return digits.load_data()


def coloured_digits():
    """As CIFAR-10 comes: (N, 32, 32, 3) and (N, 1), uint8."""
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    frame = ((0, 0), (2, 2), (2, 2))
    x_train, x_test = (np.repeat(np.pad(x, frame)[..., None], 3, axis=3) for x in (x_train, x_test))
    return (x_train, y_train[:, None]), (x_test, y_test[:, None])


def first(load_data):
    def load():
        (x_train, y_train), (x_test, y_test) = load_data()
        return (x_train[:IMAGES], y_train[:IMAGES]), (x_test[:IMAGES], y_test[:IMAGES])

    return load


@pytest.fixture(scope="module")
def text():
    text = sheet.sheet_text()
    if text is None:
        pytest.skip("no shared/seed; set MINICNN_SHARED to the folder that has the exercise sheet in seed/")
    return text


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    """What the script printed, its variables, the titles of its figures and the folder that it ran in."""
    shown = []

    def show():
        axes = pyplot.gca()
        shown.append((axes.get_title(), [line.get_label() for line in axes.get_lines()]))
        pyplot.close("all")

    folder = tmp_path_factory.mktemp("sheet")
    variables = {"__name__": "__main__"}
    code = re.sub(r"epochs=\d+", f"epochs={EPOCHS}", sheet.script(text))
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("error")
        patch.setattr(mnist, "load_data", first(mnist.load_data if LIMIT else grey_digits))
        patch.setattr(cifar10, "load_data", first(cifar10.load_data if LIMIT else coloured_digits))
        patch.setattr(pyplot, "show", show)
        patch.chdir(folder)
        pyplot.switch_backend("agg")
        utils.clear_session()
        exec(compile(code, "sheet.py", "exec"), variables)
    return printed.getvalue(), variables, shown, folder


def test_only_import_lines_and_the_slip_of_the_pen_differ(text):
    """What the script is made by changes nothing else of the sheet."""
    original = "".join(sheet.code_blocks(text)).splitlines()
    changed = [(old, new) for old, new in zip(original, sheet.script(text).splitlines(), strict=True) if old != new]
    others = [(old, new) for old, new in changed if "import" not in old]
    assert others == [
        ("sn.set() # Set theme", ""),
        (
            "model_6_1.compile(optimizer=Optimizer, loss=Loss, metrics=['accuracy'])",
            "model_6_2.compile(optimizer=Optimizer, loss=Loss, metrics=['accuracy'])",
        ),
        (
            "history_6_1 = model_6_1.fit(X_train_extra, y_train_extra_new,",
            "history_6_2 = model_6_2.fit(X_train_extra, y_train_extra_new,",
        ),
    ]


def test_summaries_are_the_sheets(run, text):
    printed = run[0]
    assert sheet.rows(printed) == sheet.rows(text)
    assert len(sheet.rows(printed)) == 92
    assert sheet.totals(printed) == sheet.totals(text)
    assert tuple(total for total, _, _ in sheet.totals(printed)) == sheet.PARAMETERS
    assert re.findall(r'^Model: "(.*)"$', printed, re.MULTILINE) == [
        "sequential",
        *(f"sequential_{k}" for k in range(1, 8)),
    ]


def test_every_model_was_trained_and_measured(run):
    printed, variables, _, _ = run
    accuracies = re.findall(r"^Accuracy test = (\d+\.\d+)$", printed, re.MULTILINE)
    assert len(accuracies) == len(sheet.MODELS)
    assert all(0 <= float(accuracy) <= 100 for accuracy in accuracies)
    for name in sheet.MODELS:
        history = variables[name.replace("model", "history")].history
        assert history.keys() == {"accuracy", "loss", "val_accuracy", "val_loss"}
        assert all(len(values) == EPOCHS and np.isfinite(values).all() for values in history.values())


def test_figures(run):
    curves = [(name, [f"Train {name}", f"Validation {name}"]) for name in ("Accuracy", "Loss")]
    assert run[2] == curves * len(sheet.MODELS)


def test_the_saved_model(run):
    _, variables, _, folder = run
    x = variables["X_test_expanded"]
    saved = load_model(folder / "LeNET-5.h5")
    np.testing.assert_array_equal(saved.predict(x, verbose=0), variables["model_4"].predict(x, verbose=0))
    assert (saved.get_layer(index=0).name, saved.get_layer(index=-1).name) == ("conv2d_6", "dense_5")
