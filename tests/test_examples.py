"""The example as its users run it: a process of its own, whose output and files are looked at."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn import load_model
from minicnn.datasets import digits

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "lenet5_mnist.py"
FILES = ["LeNet-5.h5", "confusion_matrix.png", "learning_curves.png"]


def run(folder, *options, **environment):
    """The example in a folder of its own. A closed port stands in for every proxy, so no download can begin."""
    closed = dict.fromkeys(("http_proxy", "https_proxy", "ftp_proxy", "all_proxy"), "http://127.0.0.1:9")
    closed |= {name.upper(): address for name, address in closed.items()} | {"no_proxy": "", "NO_PROXY": ""}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *options],
        cwd=folder,
        env=os.environ | closed | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
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
