"""`minicnn inspect`: what it tells of files that minicnn loads and of those that it does not, unharmed by either."""

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from minicnn import Sequential, layers
from minicnn.layers import Layer
from minicnn.utils import clear_session
from tests.cli.conftest import assert_fails
from tests.saving.models import data, small
from tests.shared import shared_folder

needs_shared = pytest.mark.skipif(shared_folder() is None, reason="needs the folder of shared files")

COUNTS = {"conv2d": 30, "batch_normalization": 12, "flatten": 0, "dropout": 0, "dense": 147}


class Doubling(Layer):
    """A layer of the caller's own."""

    def forward(self, x, run):
        return 2 * x, None


@pytest.fixture
def trained_small(tmp_path):
    """small(), after two steps of Adam."""
    clear_session()  # layers' names count from the start
    model = small(name="small")
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    x, y = data(count=20)
    model.fit(x, y, batch_size=10, epochs=1, verbose=0)
    return model


def as_json(run, path):
    result = run("inspect", path, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def told(run, path):
    result = run("inspect", path)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def change_config(path, change):
    """Change the model_config of an .h5 file."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"]["layers"])
        file.attrs["model_config"] = json.dumps(config)


@pytest.mark.parametrize(
    ("name", "format", "version"),
    [
        ("m.h5", "a whole model, as HDF5 (.h5)", "2.4.0"),
        ("m.keras", "a whole model, as a .keras archive", "2.15.0"),
    ],
)
def test_a_whole_model(run, trained_small, tmp_path, name, format, version):
    trained_small.save(tmp_path / name)
    report = as_json(run, name)
    assert (report["format"], report["keras_version"], report["by_minicnn"]) == (format, version, True)
    assert report["bytes"] == (tmp_path / name).stat().st_size
    assert report["model"] == "Sequential 'small'"
    assert report["input_shape"] == [6, 6, 1]
    assert {row["name"]: row["parameters"] for row in report["layers"]} == COUNTS
    assert report["layers"][0]["arrays"] == [[3, 3, 1, 3], [3]]
    assert report["layers"][0]["output_shape"] == [4, 4, 3]
    assert (report["parameters"], report["trainable"]) == (189, 183)
    assert (report["loss"], report["metrics"]) == ("categorical_crossentropy", ["accuracy"])
    assert report["optimizer"].startswith("Adam(learning_rate=0.001, beta_1=0.9")
    assert report["optimizer_state"].startswith("after 2 steps, ")
    assert report["training_state"] == "seed 2, 2 steps and 1 epoch"
    assert report["loads"]
    assert (report["why_not"], report["problems"], report["warnings"], report["changes"]) == (None, [], [], [])


def test_what_is_lost(run, trained_small, tmp_path):
    trained_small.save(tmp_path / "m.keras")
    lost = as_json(run, "m.keras")["lost"]
    assert list(lost) == [".h5", ".keras", ".weights.h5", ".onnx"]
    assert lost[".keras"] == []
    assert len(lost[".h5"]) == 1
    assert lost[".h5"][0].startswith("for Keras: the optimizer's state")
    assert [text.split(",")[0] for text in lost[".weights.h5"]] == [
        "the layers",
        "loss",
        "the seed and the count of steps",
    ]
    assert lost[".onnx"] == ["all that training needs: an ONNX file predicts, and neither minicnn nor Keras reads it"]


def test_an_uncompiled_model_loses_nothing_but_its_layers(run, tmp_path):
    small().save(tmp_path / "m.h5")
    report = as_json(run, "m.h5")
    assert (report["compiled"], report["optimizer"], report["optimizer_state"]) == (False, None, None)
    assert {format: len(lost) for format, lost in report["lost"].items()} == {
        ".h5": 0,
        ".keras": 0,
        ".weights.h5": 1,
        ".onnx": 1,
    }


def test_as_text(run, trained_small, tmp_path):
    trained_small.save(tmp_path / "m.keras")
    lines = told(run, "m.keras").splitlines()
    assert lines[0] == f"File          m.keras, {(tmp_path / 'm.keras').stat().st_size:,} bytes"
    assert "Keras         written by minicnn as Keras 2.15.0 does" in lines
    assert "0  conv2d               Conv2D              (None, 4, 4, 3)          30  3x3x1x3, 3" in lines
    assert "189 parameters, 183 of them trainable" in lines
    assert "minicnn       loads it" in lines
    assert "  .keras      nothing" in lines
    assert any(line.startswith("  .onnx       all that training needs") for line in lines)


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5"])
def test_weights_alone(run, trained_small, tmp_path, name):
    trained_small.save_weights(tmp_path / name)
    report = as_json(run, name)
    assert report["format"].startswith("weights alone")
    assert {row["name"]: row["parameters"] for row in report["layers"]} == COUNTS
    assert report["parameters"] == 189
    assert not report["loads"]
    assert report["why_not"] == "holds weights alone, no model; build the model and call load_weights."
    assert report["lost"] == {}
    text = told(run, name)
    assert "  .keras      not possible: weights alone: name the model that they are for with --model" in text
    assert ("is in this format already" in text) == (name == "w.weights.h5")


def test_the_optimizer_in_a_file_of_weights(run, trained_small, tmp_path):
    trained_small.save_weights(tmp_path / "w.weights.h5")
    # kernel and bias of conv2d and dense, gamma and beta: 183 numbers, each with momentum and velocity
    assert as_json(run, "w.weights.h5")["optimizer_state"] == "after 2 steps, 12 arrays of 366 numbers"


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_layers_of_the_callers_own_are_named_and_the_rest_is_told(run, tmp_path, name):
    Sequential([layers.Dense(3, input_shape=(4,)), Doubling(), layers.Dense(2)]).save(tmp_path / name)
    report = as_json(run, name)
    assert not report["loads"]
    assert "layer 2, Doubling: minicnn has no such layer" in report["why_not"]
    rows = [(row["number"], row["class_name"], row["output_shape"], row["parameters"]) for row in report["layers"]]
    assert rows == [
        ("0", "InputLayer", [4], 0),
        ("1", "Dense", [3], 15),
        ("2", "Doubling", None, 0),
        ("3", "Dense", None, 8),
    ]
    assert report["parameters"] == 23
    assert "  .h5         not possible: cannot be loaded" in told(run, name)


def test_a_branching_model_is_listed(run, tmp_path):
    small().save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["class_name"] = "Functional"
        config["config"] |= {"input_layers": [["a", 0, 0], ["b", 0, 0]], "output_layers": [["dense", 0, 0]]}
        file.attrs["model_config"] = json.dumps(config)
    report = as_json(run, "m.h5")
    assert report["why_not"].startswith("the model has 2 inputs and 1 outputs")
    assert [row["parameters"] for row in report["layers"]] == [0, *COUNTS.values()]
    assert {str(row["output_shape"]) for row in report["layers"]} == {"None"}


def test_a_damaged_array_does_not_hide_the_others(run, tmp_path):
    small().save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        group = file["model_weights/dense/dense"]
        del group["kernel:0"]
        group["kernel:0"] = h5py.ExternalLink("other.h5", "/x")
    report = as_json(run, "m.h5")
    assert report["problems"] == [
        "'dense/kernel:0' is a link to elsewhere (ExternalLink), which is never followed; save the model in one file."
    ]
    assert [row["parameters"] for row in report["layers"]] == [0, 30, 12, 0, 0, 0]
    assert [row["output_shape"] for row in report["layers"]][-1] == [3]


def test_reading_stops_where_too_much_is_damaged(run, tmp_path):
    Sequential([layers.Dense(2, input_shape=(2,)), *(layers.Dense(2) for _ in range(19))]).save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        for group in file["model_weights"].values():
            if "weight_names" in group.attrs:
                del group.attrs["weight_names"]
    problems = as_json(run, "m.h5")["problems"]
    assert len(problems) == 11
    assert problems[-1] == "has too many damaged parts; the layers after them are not read; get it anew."


def test_nan_weights_are_told(run, tmp_path):
    model = small()
    model.layers[0].params["kernel"][0, 0, 0, 0] = np.nan
    model.save(tmp_path / "m.h5")
    report = as_json(run, "m.h5")
    assert report["loads"]
    assert report["not_finite"] == ["conv2d: conv2d/kernel:0"]
    assert "Problem       NaN or infinite numbers in conv2d: conv2d/kernel:0" in told(run, "m.h5")


def test_a_compile_section_that_is_not_understood(run, trained_small, tmp_path):
    trained_small.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        training = json.loads(file.attrs["training_config"]) | {"loss": "my_loss"}
        file.attrs["training_config"] = json.dumps(training)
    report = as_json(run, "m.h5")
    assert (report["loads"], report["compiled"], report["loss"]) == (True, True, "my_loss")
    assert "my_loss" in report["warnings"][0]
    assert report["lost"][".keras"] == ["loss, metrics and optimizer", "the optimizer's state"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.5])
@pytest.mark.parametrize("name", ["m.h5", "w.weights.h5"])
def test_a_counter_that_is_no_number_of_steps(run, trained_small, tmp_path, name, value):
    if name == "m.h5":
        trained_small.save(tmp_path / name, optimizer_for="keras2")
    else:
        trained_small.save_weights(tmp_path / name)
    counter = {"m.h5": "optimizer_weights/Adam/iter:0", "w.weights.h5": "optimizer/vars/0"}[name]
    with h5py.File(tmp_path / name, "r+") as file:
        file.pop("minicnn_optimizer", None)
        del file[counter]
        file[counter] = value
    report = as_json(run, name)
    assert report["optimizer_state"] is None
    assert f"is {value}, no number of steps; load_model and load_weights leave it out." in report["problems"][0]


def test_further_members_are_named(run, tmp_path):
    small().save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive:
        archive.writestr("assets/words.txt", "cat dog")
    assert as_json(run, "m.keras")["lost"][".h5"] == ["what minicnn does not read: assets/words.txt"]


def test_names_cannot_steer_the_terminal(run, tmp_path):
    small().save(tmp_path / "m.h5")

    def rename(entries):
        entries[1]["config"]["name"] = "\x1b[31mred\n" + 100 * "x"

    change_config(tmp_path / "m.h5", rename)
    text = told(run, "m.h5")
    assert "\x1b" not in text
    assert "\\x1b[31mred\\n" + 20 * "x" in text
    assert max(map(len, text.splitlines())) < 180


def test_a_group_within_itself_comes_to_an_end(run, tmp_path):
    small().save_weights(tmp_path / "w.weights.h5")
    with h5py.File(tmp_path / "w.weights.h5", "r+") as file:
        for k in range(3):
            file[f"layers/flatten/layers/flatten_{k}"] = file["layers/flatten"]
    report = as_json(run, "w.weights.h5")
    assert any("has more than 20000 groups" in problem for problem in report["problems"])


def test_a_heap_larger_than_the_file_is_refused_before_memory_is_taken(run, tmp_path):
    small().save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"]  # as a string of any length, which lies in a heap
    content = bytearray((tmp_path / "m.h5").read_bytes())
    place = content.index(b"GCOL") + 8
    content[place : place + 8] = (1 << 32).to_bytes(8, "little")
    (tmp_path / "m.h5").write_bytes(content)
    assert_fails(run("inspect", "m.h5"), 2, "m.h5: is damaged (a heap of strings of 4294967296 bytes)")


def test_what_is_no_model_file(run, tmp_path):
    assert_fails(run("inspect", "none.h5"), 2, "none.h5: no such file; check the name and the folder ")
    (tmp_path / "text.h5").write_text("a text")
    assert_fails(run("inspect", "text.h5"), 2, "text.h5: is text, not an HDF5 file")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = [1, 2]
    assert_fails(run("inspect", "data.h5"), 2, "data.h5: is HDF5, but neither a Keras model")
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("a", "b")
    assert_fails(run("inspect", "some.zip"), 2, "some.zip: is an archive without config.json")
    assert_fails(run("inspect", "."), 2, ".: is a folder")


# -- files of Keras


def shared_files(folder):
    place = shared_folder()
    return [] if place is None else sorted(f for f in (place / folder).iterdir() if f.suffix in (".h5", ".keras"))


@needs_shared
def test_files_of_keras(run):
    files = shared_files("keras_files")
    assert len(files) > 30
    for path in files:
        report = as_json(run, path)
        weights = "_w" in path.name
        assert report["loads"] != weights, path.name
        assert report["parameters"] == (16 if "k212" in path.name else 107 if "rich" in path.name else 251), path.name
        assert report["problems"] == report["warnings"] == [], path.name
        version = {"k24": "2.4.0", "tfk": "2.21.0", "k31": "3.15.1", "k21": "2.12.0"}[path.name[:3]]
        assert report["keras_version"] == (None if "Keras 3" in report["format"] else version), path.name


@needs_shared
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("NeuromorphicProcessorProject__snn_toolbox__98.96.h5", ["images and maps", "Theano's kernels"]),
        ("Shivam-Bhardwaj__TrafficSignDetector-TensorFlow__lenet.keras", ["the functional model"]),
        ("lucaskjaero__MNIST__LeNet.h5", []),
    ],
)
def test_files_from_the_wild(run, name, changes):
    report = as_json(run, shared_folder() / "wild_models" / name)
    assert report["loads"]
    assert [text[: len(start)] for text, start in zip(report["changes"], changes, strict=True)] == changes


@needs_shared
def test_hostile_files(run):
    """Told of or refused in one line; the two refused say nothing that can be relied on."""
    refused = []
    for path in shared_files("hostile_files"):
        result = run("inspect", path)
        if result.exit_code:
            refused.append(path.name)
            assert_fails(result, 2, str(path))
        else:
            assert "does not load it" in result.stdout or path.name == "nan_weights.h5"
    assert refused == ["other.h5", "slip.keras"]
    assert not Path("evil.txt").exists()
