"""minicnn train: what it prints and writes, and that it trains as a script would."""

import csv
import json
import re
from pathlib import Path

import pytest
from sklearn.model_selection import train_test_split

from minicnn import applications, load_model
from minicnn.cli import running
from minicnn.datasets import digits
from minicnn.layers import Dense, Flatten, Input
from minicnn.models import Sequential
from minicnn.optimizers import SGD, Adam
from minicnn.optimizers.schedules import ExponentialDecay
from minicnn.utils import to_categorical
from tests.cli.conftest import assert_fails
from tests.small_models import assert_same_weights

FILES = ["backup", "history.csv", "history.json", "learning_curves.png", "model.h5", "training.json"]
STEPS = 11  # an epoch: 1,293 images of the digits in batches of 128


def tiny(path, loss="categorical_crossentropy", metrics=("accuracy",), classes=10, **options):
    """A small network in a file, which trains without compiling much. loss None: not compiled."""
    model = Sequential([Input((28, 28, 1)), Flatten(), Dense(classes, activation="softmax")], seed=1)
    if loss:
        model.compile(SGD(1e-6, momentum=0.5), loss, metrics=list(metrics))
    model.save(path, **options)
    return model


def test_what_it_prints(trained):
    _, result = trained
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == "digits: 1,293 training, 144 validation and 360 test images"
    assert "Total params: 61,706" in lines
    assert "4 epochs, batches of 128, Adam, seed 0" in lines
    epochs = [line for line in lines if re.match(r"Epoch \d/4 11/11 - .*loss: .*val_accuracy: ", line)]
    assert len(epochs) == 4
    assert re.fullmatch(r"Test accuracy: \d+\.\d\d % \(loss \d+\.\d{4}\)", lines[-3])
    assert re.fullmatch(r"4 epochs in \d+\.\d s", lines[-2])
    assert lines[-1].startswith("Wrote model.h5, history.json, history.csv, learning_curves.png into ")
    assert "\x1b" not in result.stdout


def test_what_it_writes(trained):
    folder, result = trained
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert (folder / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    history = json.loads((folder / "history.json").read_text())
    assert list(history) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss", "seconds"]
    assert history["epoch"] == [1, 2, 3, 4]
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == history["val_loss"]
    assert history["loss"][-1] < history["loss"][0]
    (_, _), (x, y) = digits.load_data()
    accuracy = (load_model(folder / "model.h5").predict(x[..., None], verbose=0).argmax(axis=1) == y).mean()
    assert f"Test accuracy: {100 * accuracy:.2f} % " in result.stdout


def test_it_trains_as_a_script_does(trained):
    """The bits of the sheet's way: a tenth held out by train_test_split, one-hot labels, Adam 1e-3, batch 128."""
    folder, _ = trained
    (x, y), _ = digits.load_data()
    x, x_dev, y, y_dev = train_test_split(x[..., None], y, test_size=0.1, random_state=0)
    model = applications.lenet5(seed=0)
    model.compile(Adam(1e-3), "categorical_crossentropy", metrics=["accuracy"])
    validation = x_dev, to_categorical(y_dev, 10)
    fit = model.fit(x, to_categorical(y, 10), 128, epochs=4, validation_data=validation, verbose=0)
    assert_same_weights(load_model(folder / "model.h5"), model)
    history = json.loads((folder / "history.json").read_text())
    assert {name: history[name] for name in fit.history} == fit.history


def test_options(run):
    result = run(
        *("train", "lenet5", "--data", "digits", "-e", 1, "--batch", 256, "--optimizer", "sgd", "--rate", 1e-5),
        *("--seed", 3, "--validation-split", 0, "-o", "out"),
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == "digits: 1,437 training and 360 test images"
    assert "1 epoch, batches of 256, SGD, seed 3" in result.stdout
    model = load_model("out/model.h5")
    assert isinstance(model.optimizer, SGD)
    assert model.optimizer.learning_rate == 1e-5
    assert (model.optimizer.iterations, model.seed) == (6, 3)
    assert list(json.loads(Path("out/history.json").read_text())) == ["epoch", "accuracy", "loss", "seconds"]


def test_the_folder_is_named_after_the_model(run):
    tiny("mine.h5")
    assert run("train", "mine.h5", "-e", 1, "--data", "digits").stdout.endswith(" into runs/mine\n")


def test_a_model_file_is_trained_further_with_its_optimizer(run, model_file):
    result = run("train", model_file, "--data", "digits", "--epochs", 1, "--output", "out")
    assert result.exit_code == 0, result.stderr
    model = load_model("out/model.h5")
    assert model.optimizer.iterations == 4 * STEPS + 41  # batches of 32
    assert model.optimizer.learning_rate == 1e-3


def test_a_model_file_takes_another_rate_or_optimizer(run):
    tiny("mine.h5")
    assert run("train", "mine.h5", "--data", "digits", "-e", 1, "--rate", 0.25e-6, "-o", "a").exit_code == 0
    assert run("train", "mine.h5", "--data", "digits", "-e", 1, "--optimizer", "adam", "-o", "b").exit_code == 0
    a, b = load_model("a/model.h5").optimizer, load_model("b/model.h5").optimizer
    assert (type(a), a.learning_rate, a.momentum) == (SGD, 0.25e-6, 0.5)
    assert (type(b), b.learning_rate) == (Adam, 1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "sparse_categorical_crossentropy"},
        {"loss": "mse", "metrics": ()},
        {"loss": None},
        {"include_optimizer": False},
    ],
)
def test_files_with_other_losses_or_none(run, options):
    tiny("mine.h5", **options)
    result = run("train", "mine.h5", "--data", "digits", "--epochs", 1, "--output", "out")
    assert result.exit_code == 0, result.stderr
    (_, _), (x, y) = digits.load_data()
    accuracy = (load_model("out/model.h5").predict(x[..., None], verbose=0).argmax(axis=1) == y).mean()
    assert f"Test accuracy: {100 * accuracy:.2f} % " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["lenet"], 2, "lenet: no such file, and no model of that name; choose one of cnn_relu, "),
        (["text.h5"], 2, "text.h5: is "),
        (["."], 2, ".: "),
        (
            ["three.h5", "--data", "digits"],
            2,
            "three.h5: Sequential 'sequential' has outputs (None, 3), but digits has 10",
        ),
        (["lenet5", "--data", "digits", "--resume", "--overwrite"], 2, "--resume and --overwrite exclude each other"),
        (["lenet5", "--data", "digits", "--output", "text.h5"], 2, "text.h5: cannot make the folder (File exists)"),
        (
            ["lenet5", "--data", "digits", "--output", "text.h5/out"],
            2,
            "text.h5/out: cannot make the folder (",
        ),
        (["lenet5"], 1, "mnist: not on this machine, and the download failed ("),
        (["cnn_cifar10", "--data", "digits"], 2, "cnn_cifar10: digits: Sequential "),
    ],
)
def test_failures(run, arguments, code, message):
    Path("text.h5").write_text("hello")
    tiny("three.h5", classes=3)
    assert_fails(run("train", *arguments), code, message)
    assert sorted(path.name for path in Path().iterdir() if path.name != "home") == ["text.h5", "three.h5"]


def test_a_folder_that_cannot_be_written_into(run, monkeypatch):
    """Found out before the training, not after it. Permissions do not stop every user, so a stand-in refuses."""

    def refusing(dir):
        raise PermissionError(13, "Permission denied", str(dir / "tmp"))

    monkeypatch.setattr(running, "TemporaryFile", refusing)
    message = "out: cannot write into the folder (Permission denied); choose another --output."
    assert_fails(run("train", "lenet5", "--data", "digits", "--output", "out"), 2, message)
    assert list(Path("out").iterdir()) == []


def test_a_name_that_looks_like_a_formula(run):
    tiny("my$^$.h5")
    result = run("train", "my$^$.h5", "--data", "digits", "-e", 1)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in Path("runs/my$^$").iterdir()) == FILES


def test_the_result_is_there_before_the_figure(run, monkeypatch):
    def failing(*arguments):
        raise OSError(28, "No space left on device")

    tiny("mine.h5")
    monkeypatch.setattr(running.plotting, "learning_curves", failing)
    result = run("train", "mine.h5", "--data", "digits", "-e", 1, "-o", "out")
    assert (result.exit_code, result.stderr) == (1, "minicnn: No space left on device.\n")
    assert json.loads(Path("out/training.json").read_text())["result"]["epochs"] == 1


def test_a_loss_that_is_not_a_number_ends_the_training(run):
    tiny("mine.h5")
    result = run("train", "mine.h5", "--data", "digits", "--optimizer", "sgd", "--rate", 1e38, "-e", 3, "-o", "out")
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert re.fullmatch(r"minicnn: the loss became (nan|inf) in epoch \d; use a smaller --learning-rate.", last)
    assert "Traceback" not in result.stderr


def test_an_unwritable_file_in_the_folder(run):
    Path("out/training.json").mkdir(parents=True)
    result = run("train", "lenet5", "--data", "digits", "-e", 1, "-o", "out")
    assert_fails(result, 1, "out/training.json: cannot be read (")


def test_a_trained_file_is_trained_further_on_its_own_data(run, trained):
    folder, _ = trained
    further = run("train", folder / "model.h5", "--epochs", "1", "--output", "further")
    assert further.exit_code == 0, further.stderr
    assert further.stdout.startswith("digits: 1,293 training, 144 validation and 360 test images")


def test_a_rate_for_an_optimizer_with_a_schedule_is_refused(run):
    model = tiny("scheduled.h5")
    model.compile(SGD(ExponentialDecay(0.1, 10, 0.5)), "categorical_crossentropy")
    model.save("scheduled.h5")
    failed = run("train", "scheduled.h5", "--data", "digits", "--rate", "0.1")
    assert_fails(failed, 2, "--rate: scheduled.h5 brings an optimizer whose rate follows a schedule; give --optimizer")
