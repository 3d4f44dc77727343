"""minicnn evaluate, summary and gradcheck."""

import re
from pathlib import Path

import numpy as np
import pytest

from minicnn import load_model
from minicnn.datasets import digits
from minicnn.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input
from minicnn.models import Sequential
from tests.cli.conftest import assert_fails
from tests.cli.test_train import tiny


def small(path, **kwargs):
    layers = [Input((5, 5, 1)), Conv2D(2, 3, activation="tanh"), BatchNormalization(), Flatten(), Dropout(0.3)]
    model = Sequential([*layers, Dense(3, activation="softmax")], seed=0, **kwargs)
    model.save(path)
    return model


def test_evaluate_repeats_what_train_said(run, trained):
    """The data set is that of the training, which the folder remembers."""
    folder, result = trained
    evaluated = run("evaluate", folder / "model.h5")
    assert evaluated.exit_code == 0, evaluated.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("Test accuracy"))
    assert evaluated.stdout == f"{folder / 'model.h5'} on 360 test images of digits\n{line}\n"


@pytest.mark.parametrize("options", [{"loss": "sparse_categorical_crossentropy", "metrics": ()}, {"loss": None}])
def test_evaluate_other_files(run, options):
    tiny("mine.h5", **options)
    (_, _), (x, y) = digits.load_data()
    x = x[..., None] / np.float32(255)
    model = load_model("mine.h5", compile=False)
    accuracy = (model.predict(x, verbose=0).argmax(axis=1) == y).mean()
    model.compile(loss="sparse_categorical_crossentropy")
    loss = model.evaluate(x, y, batch_size=256, verbose=0)
    result = run("evaluate", "mine.h5", "--data", "digits", "--divide-by", 255)
    assert result.stdout.splitlines()[1] == f"Test accuracy: {100 * accuracy:.2f} % (loss {loss:.4f})"


def test_evaluate_draws_a_confusion_matrix(run, trained):
    result = run("evaluate", trained[0] / "model.h5", "--confusion", "confusion.png")
    assert result.stdout.endswith("Wrote confusion.png\n")
    assert Path("confusion.png").read_bytes().startswith(b"\x89PNG")


def test_the_ending_of_a_figure_may_be_in_capitals(run):
    tiny("mine.h5")
    assert run("evaluate", "mine.h5", "--data", "digits", "--confusion", "C.PNG").exit_code == 0
    assert Path("C.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.h5"], 2, "absent.h5: no such file; check the name"),
        (["text.h5"], 2, "text.h5: is "),
        (["small.h5"], 2, "small.h5: takes samples (None, 5, 5, 1), which suggests no data set; name one with --data."),
        (["small.h5", "--data", "digits"], 2, "small.h5: digits: Sequential 'small' takes samples (None, 5, 5, 1), "),
        (["mine.h5"], 1, "mnist: not on this machine, and the download failed ("),
        (
            ["mine.h5", "--data", "digits", "--confusion", "no/c.png"],
            2,
            "no/c.png: there is no folder no; make it first.",
        ),
        (
            ["mine.h5", "--data", "digits", "--confusion", "c.abc"],
            2,
            "c.abc: ends in '.abc'; it must end in .png, .pdf or .svg.",
        ),
    ],
)
def test_evaluate_failures(run, arguments, code, message):
    Path("text.h5").write_text("hello")
    small("small.h5", name="small")
    tiny("mine.h5")
    result = run("evaluate", *arguments)
    assert result.exit_code == code, result.output
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"minicnn: {message}")


def test_summary(run):
    model = small("small.h5")
    lines = []
    model.summary(print_fn=lines.append)
    assert run("summary", "small.h5").stdout.splitlines() == lines
    assert "Total params: 21,627,658" in run("summary", "alexnet_cifar10").stdout.splitlines()


@pytest.mark.parametrize("command", ["summary", "gradcheck"])
def test_failures(run, command):
    Path("text.h5").write_text("hello")
    assert_fails(run(command, "vgg"), 2, "vgg: no such file, and no model of that name; choose one of cnn_relu, ")
    assert_fails(run(command, "text.h5"), 2, "text.h5: is ")


@pytest.mark.parametrize("options", [[], ["--inference"], ["--kernels", "numpy"]])
def test_gradcheck(run, options):
    small("small.h5", name="small")
    result = run("gradcheck", "small.h5", "--directions", 5, *options)
    assert result.exit_code == 0, result.stderr
    mode = "inference" if "--inference" in options else "training"
    kernels = "numpy" if "numpy" in options else "numba"
    assert result.stdout.startswith(f"Sequential 'small' ({mode}, {kernels}): 5 agree; worst direction[")


def test_gradcheck_of_a_compiled_file_takes_its_loss(run):
    tiny("mine.h5", loss="sparse_categorical_crossentropy")
    assert run("gradcheck", "mine.h5", "--directions", 3, "--kernels", "numpy").exit_code == 0


def test_gradcheck_fails_where_gradients_are_wrong(run, monkeypatch):
    backward = Flatten.backward
    monkeypatch.setattr(Flatten, "backward", lambda self, dy, *rest: backward(self, 1.001 * dy, *rest))
    small("small.h5")
    result = run("gradcheck", "small.h5", "--directions", 5, "--kernels", "numpy")
    assert_fails(result, 1, "Sequential ")
    assert re.search(r"\): 5 of 5 differ; worst direction", result.stderr)


def test_gradcheck_takes_classifiers(run):
    Sequential([Input((4, 4, 1)), Conv2D(2, 1)], name="map").save("map.h5")
    assert_fails(run("gradcheck", "map.h5"), 2, "map.h5: Sequential 'map' has outputs (None, 4, 4, 2); gradcheck takes")


def test_a_file_that_ends_in_logits_is_scored_as_such(run):
    """As with a softmax on top: what is no probability is taken for logits, as predict takes it."""
    for name, activation in (("logits.h5", None), ("whole.h5", "softmax")):
        Sequential([Input((28, 28, 1)), Flatten(), Dense(10, activation=activation)], seed=1).save(name)
    results = [run("evaluate", name, "--data", "digits") for name in ("logits.h5", "whole.h5")]
    assert [result.exit_code for result in results] == [0, 0]
    lines = [next(line for line in r.stdout.splitlines() if line.startswith("Test accuracy")) for r in results]
    assert lines[0] == lines[1]
