"""The examples as their users run them: each in a process of its own, whose output and files are looked at."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn import applications, load_model
from minicnn.datasets import digits
from minicnn.utils import clear_session
from tests import sheet
from tests.shared import shared_folder

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
FILES = ["LeNet-5.h5", "confusion_matrix.png", "learning_curves.png"]


def run(folder, *options, script="lenet5_mnist", **environment):
    """An example in a folder of its own. A closed port stands in for every proxy, so no download can begin."""
    closed = dict.fromkeys(("http_proxy", "https_proxy", "ftp_proxy", "all_proxy"), "http://127.0.0.1:9")
    closed |= {name.upper(): address for name, address in closed.items()} | {"no_proxy": "", "NO_PROXY": ""}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{script}.py"), *options],
        cwd=folder,
        env=os.environ | closed | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,  # so that a hanging one ends; how long it takes is not judged
        check=False,
    )


@pytest.mark.parametrize("kernels", ["numba", "numpy"])
def test_it_trains_saves_and_draws(tmp_path, kernels):
    options = ["--data", "digits", "--epochs", "1", "--seed", "3", "--out", "runs/first", "--kernels", kernels]
    done = run(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "first"
    assert sorted(file.name for file in folder.iterdir()) == FILES
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in FILES[1:])
    lines = done.stdout.splitlines()
    (x_train, _), (x_test, y_test) = digits.load_data()
    assert f"{len(x_train)} training and {len(x_test)} test images, 10 classes" in lines
    assert "Total params: 61,706" in lines
    assert f"Saved {Path('runs/first/LeNet-5.h5')}; reloaded, it predicts the same." in lines
    accuracy = re.search(r"^Test accuracy: (\d+\.\d\d)%$", done.stdout, re.MULTILINE)
    predicted = load_model(folder / "LeNet-5.h5").predict(x_test[..., None], batch_size=256, verbose=0)
    assert accuracy is not None
    assert f"{np.mean(predicted.argmax(axis=1) == y_test):.2%}" == f"{accuracy[1]}%"


def test_without_data_and_network_it_says_so_in_one_line_and_trains_on_digits(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    done = run(tmp_path, "--epochs", "1", HOME=str(home), USERPROFILE=str(home), MINICNN_HOME=str(home / "minicnn"))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith("mnist: not on this machine, and the download failed (")
    assert first.endswith(" Training on scikit-learn's digits instead.")
    assert str(home / "minicnn" / "datasets") in first
    assert second.endswith(" test images, 10 classes")
    assert re.search(r"^Test accuracy: \d+\.\d\d%$", done.stdout, re.MULTILINE)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == FILES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "0"], "argument --epochs: must be an integer of at least 1, got '0'"),
        (["--epochs=-1"], "argument --epochs: must be an integer of at least 1, got '-1'"),
        (["--epochs", "1.5"], "argument --epochs: must be an integer of at least 1, got '1.5'"),
        (["--batch-size", "0"], "argument --batch-size: must be an integer of at least 1, got '0'"),
        (["--seed", "-1"], "argument --seed: must be an integer of at least 0, got '-1'"),
        (["--out", "file"], "argument --out: cannot make the folder file: File exists"),
    ],
)
def test_wrong_options_end_in_one_line(tmp_path, options, message):
    (tmp_path / "file").write_text("")
    done = run(tmp_path, *options)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"lenet5_mnist.py: error: {message}"
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_every_option_is_explained(tmp_path):
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for option in ("--data", "--epochs", "--batch-size", "--kernels", "--seed", "--out"):
        assert re.search(rf"^  {option} \S.*?(\n {{20,}}|  )[a-z]", done.stdout, re.MULTILINE), option


# ---------------------------------------------------------------- one script an exercise

EXERCISES = {
    "exercise_1_relu": "cnn_relu",
    "exercise_2_tanh": "cnn_tanh",
    "exercise_3_dropout": "cnn_dropout",
    "exercise_4_lenet5": "lenet5",
    "exercise_5_save": "lenet5",
    "exercise_6_alexnet_mnist": "alexnet_mnist",
    "exercise_7_1_cnn_cifar10": "cnn_cifar10",
    "exercise_7_2_lenet5_cifar10": "lenet5_cifar10",
    "exercise_7_3_alexnet_cifar10": "alexnet_cifar10",
    "keras_drop_in": "lenet5",
}
FIGURES = ["accuracy.png", "loss.png"]
LEARNT = dict.fromkeys([*list(EXERCISES)[:5], "keras_drop_in"], 50.0)
"""Test accuracy in % that 2 epochs on scikit-learn's digits exceed: 69 to 91 were seen over seeds, and chance is 10.

Of exercises 6 and 7 nothing is asked: their steps at a rate of 1e-4 are too few.
"""


def nothing_here(folder):
    """Variables for a user who has no data set and has never run anything."""
    home = folder / "home"
    home.mkdir()
    return {"HOME": str(home), "USERPROFILE": str(home), "MINICNN_HOME": str(home / "minicnn"), "MPLBACKEND": "agg"}


def summary_of(name):
    """The table of that model, as a process prints it that makes no other."""
    clear_session()
    lines = []
    applications.build(name, seed=0).summary(print_fn=lines.append)
    return "\n".join(lines)


@pytest.mark.parametrize("script", EXERCISES)
def test_an_exercise_on_a_few_images(tmp_path, script):
    done = run(tmp_path, "--quick", script=script, **nothing_here(tmp_path))
    assert done.returncode == 0, done.stderr
    application = applications.APPLICATIONS[EXERCISES[script]]
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"{application.dataset}: not on this machine, and the download failed (")
    assert " Training on scikit-learn's " in first
    assert summary_of(EXERCISES[script]) in done.stdout
    said = r"Accuracy test = (\d+\.\d+)" if script == "keras_drop_in" else r"Test accuracy: (\d+\.\d\d)%"
    (accuracy,) = re.findall(rf"^{said}$", done.stdout, re.MULTILINE)
    assert LEARNT.get(script, 0.0) <= float(accuracy) <= 100
    written = sorted(file.name for file in (tmp_path / "out" / script).iterdir())
    assert written == [*(["LeNET-5.h5"] if script in ("exercise_5_save", "keras_drop_in") else []), *FIGURES]
    assert all((tmp_path / "out" / script / name).read_bytes().startswith(b"\x89PNG") for name in FIGURES)


@pytest.mark.parametrize("script", EXERCISES)
def test_an_exercise_trains_as_its_application_does(tmp_path, monkeypatch, script):
    """Every argument of every layer and of the optimizer, batches and, without options, epochs.

    That the application is as the sheet has it is for test_applications.py.
    """
    found = sheet.trainings(EXAMPLES / f"{script}.py", tmp_path, monkeypatch)
    assert found == [sheet.application(EXERCISES[script])]


def test_the_sheets_network_and_the_file_of_exercise_5(tmp_path):
    options = ["--quick", "--epochs", "1", "--seed", "7", "--out", "mine"]
    done = run(tmp_path, *options, script="exercise_5_save", **nothing_here(tmp_path))
    assert done.returncode == 0, done.stderr
    (_, (x_test, y_test)) = digits.load_data()
    model = load_model(tmp_path / "mine" / "LeNET-5.h5")
    accuracy = np.mean(model.predict(x_test[..., None], batch_size=256, verbose=0).argmax(axis=1) == y_test)
    assert f"Test accuracy: {accuracy:.2%}" in done.stdout.splitlines()
    assert "Loaded again, it predicts the same, bit for bit." in done.stdout.splitlines()
    assert "1293 images to train on, 144 to validate, 360 to test; epochs: 1" in done.stdout.splitlines()


@pytest.mark.parametrize(("script", "least"), [("exercise_1_relu", 75), ("exercise_4_lenet5", 65)])
def test_an_exercise_on_mnist_itself(tmp_path, script, least):
    shared = shared_folder()
    if shared is None or not (shared / "data" / "mnist").is_dir():
        pytest.skip("no shared/data/mnist; set MINICNN_SHARED to the folder that has data/mnist")
    environment = nothing_here(tmp_path)
    (tmp_path / "home" / "minicnn" / "datasets").mkdir(parents=True)
    (tmp_path / "home" / "minicnn" / "datasets" / "mnist").symlink_to(shared / "data" / "mnist")
    done = run(tmp_path, "--quick", script=script, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "4500 images to train on, 500 to validate, 5000 to test; epochs: 2"
    accuracy = re.search(r"^Test accuracy: (\d+\.\d\d)%$", done.stdout, re.MULTILINE)
    assert accuracy is not None
    assert float(accuracy[1]) > least  # it learns: chance is 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "0"], "argument --epochs: must be an integer of at least 1, got '0'"),
        (["--seed", "x"], "argument --seed: must be an integer of at least 0, got 'x'"),
        (["--out", "file"], "argument --out: cannot make the folder file: File exists"),
    ],
)
def test_wrong_options_of_an_exercise(tmp_path, options, message):
    (tmp_path / "file").write_text("")
    done = run(tmp_path, *options, script="exercise_1_relu")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"exercise_1_relu.py: error: {message}"
    assert not done.stdout


def test_a_layer_by_hand_is_the_engines(tmp_path):
    done = run(tmp_path, script="inside_a_layer", **nothing_here(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "By hand and by the engine: the same numbers."
    assert len(re.findall(r"off by \de[+-]\d\d of the largest entry", done.stdout)) == 20


def test_the_drop_in_is_the_sheets_code():
    """Every line of it that is not the sheet's, formatting aside, says so."""
    text = sheet.sheet_text()
    if text is None:
        pytest.skip("no shared/seed; set MINICNN_SHARED to the folder that has the exercise sheet in seed/")
    original = tokens(sheet.script(text))
    code = (EXAMPLES / "keras_drop_in.py").read_text().partition("\ntry:\n    (X_train")[2]
    code = code.replace("epochs=epochs", "epochs=30")
    blocks = [block for block in code.split("\n\n") if "these" not in block]
    assert len(blocks) > 12
    for block in blocks:
        assert tokens(re.sub(r".*# .*the sheet.*", "", block)) in original, block


def tokens(code):
    """What formatting leaves of code: no blanks, comments or last commas, one kind of quotes."""
    bare = re.sub(r"#.*", "", code.replace('"', "'"))
    return re.sub(r",(?=[)\]])", "", re.sub(r"\s", "", bare))


@pytest.mark.parametrize(("option", "code"), [("--help", 0), ("--quik", 2)])
def test_the_drop_in_trains_only_when_asked_to(tmp_path, option, code):
    done = run(tmp_path, option, script="keras_drop_in", **nothing_here(tmp_path))
    assert done.returncode == code
    assert "[--quick]" in done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_the_drop_in_makes_its_folder_before_it_trains(tmp_path):
    (tmp_path / "out").write_text("")
    done = run(tmp_path, "--quick", script="keras_drop_in", **nothing_here(tmp_path))
    assert done.returncode == 2
    assert done.stderr.endswith("error: cannot make the folder out/keras_drop_in: Not a directory\n")
    assert done.stdout == ""


def test_every_example_says_how_to_run_it():
    for file in EXAMPLES.glob("*.py"):
        if file.name != "exercise.py":
            assert f"    python examples/{file.name}" in file.read_text().splitlines()[2], file.name
