"""`minicnn convert`: every format into every other, with what it keeps, and that it harms no file."""

import json
import os

import h5py
import numpy as np
import pytest

import minicnn.saving
from minicnn import Sequential, layers, load_model
from tests.cli.conftest import assert_fails
from tests.saving.models import data, small
from tests.shared import shared_folder

needs_shared = pytest.mark.skipif(shared_folder() is None, reason="needs the folder of shared files")


@pytest.fixture
def model(tmp_path):
    """small(), after two steps of Adam, saved as m.h5 and m.keras; m.weights.h5 and old.h5 hold its weights."""
    model = small(name="small")
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    model.fit(*data(count=20), batch_size=10, epochs=1, verbose=0)
    for name in ("m.h5", "m.keras"):
        model.save(tmp_path / name)
    for name in ("m.weights.h5", "old.h5"):
        model.save_weights(tmp_path / name)
    return model


def assert_same_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def converted(run, *arguments):
    """What convert says on stderr, line by line."""
    result = run("convert", *arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"Wrote {arguments[1]}: 189 parameters in 5 layers\n"
    return result.stderr.splitlines()


@pytest.mark.parametrize("source", ["m.h5", "m.keras"])
@pytest.mark.parametrize("target", ["out.h5", "out.hdf5", "out.keras", "OUT.KERAS"])
def test_whole_models(run, model, tmp_path, source, target):
    said = converted(run, source, target)
    assert said == (
        []
        if "keras" in target.lower()
        else [
            "minicnn: not kept: for Keras: the optimizer's state, which minicnn alone finds in .h5 files, "
            "and Keras 2 if written for it."
        ]
    )
    other = load_model(tmp_path / target)
    assert_same_weights(other, model)
    x, y = data(count=20)
    for each in (model, other):
        each.fit(x, y, batch_size=10, epochs=1, verbose=0)
    assert_same_weights(other, model)  # the optimizer's state, the seed and the count of steps came along


def test_the_bytes_are_those_of_save(run, model, tmp_path):
    converted(run, "m.keras", "out.h5")
    converted(run, "m.h5", "out.keras")
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "m.h5").read_bytes()
    assert (tmp_path / "out.keras").read_bytes() == (tmp_path / "m.keras").read_bytes()


def test_for_keras_2(run, model, tmp_path):
    assert converted(run, "m.keras", "out.h5", "--optimizer-for", "keras2") == []
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["optimizer_weights/Adam/iter:0"][()] == 2


def test_weights_alone_come_out(run, model, tmp_path):
    said = converted(run, "m.h5", "out.weights.h5")
    assert [line.split(",")[0] for line in said] == [
        "minicnn: not kept: the layers",
        "minicnn: not kept: loss",
        "minicnn: not kept: the seed and the count of steps",
    ]
    assert (tmp_path / "out.weights.h5").read_bytes() == (tmp_path / "m.weights.h5").read_bytes()


def test_without_the_optimizer(run, model, tmp_path):
    said = converted(run, "m.h5", "out.keras", "--no-optimizer")
    assert said == [
        "minicnn: not kept: loss, metrics and optimizer.",
        "minicnn: not kept: the optimizer's state.",
    ]
    assert not load_model(tmp_path / "out.keras").compiled
    converted(run, "m.h5", "out.weights.h5", "--no-optimizer")
    with h5py.File(tmp_path / "out.weights.h5") as file:
        assert "optimizer" not in file


@pytest.mark.parametrize("weights", ["m.weights.h5", "old.h5"])
def test_weights_with_the_model_that_they_are_for(run, model, tmp_path, weights):
    small(seed=7).save(tmp_path / "empty.keras")
    converted(run, weights, "out.keras", "--model", "empty.keras")
    assert_same_weights(load_model(tmp_path / "out.keras"), model)


def test_weights_with_the_model_in_json(run, model, tmp_path):
    with h5py.File(tmp_path / "m.h5") as file:
        (tmp_path / "m.json").write_text(file.attrs["model_config"])
    converted(run, "old.h5", "out.h5", "--model", "m.json")
    assert_same_weights(load_model(tmp_path / "out.h5"), model)


def test_weights_with_a_model_by_name(run, tmp_path):
    from minicnn.applications import build

    lenet5 = build("lenet5", seed=3)
    lenet5.save_weights(tmp_path / "w.weights.h5")
    assert run("convert", "w.weights.h5", "out.keras", "--model", "lenet5").exit_code == 0
    assert_same_weights(load_model(tmp_path / "out.keras"), lenet5)


def test_theano_kernels_are_turned(run, tmp_path):
    model = Sequential([layers.Conv2D(2, 3, input_shape=(5, 5, 1))], seed=1)
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        for node in (file, file["model_weights"]):
            del node.attrs["backend"]
    assert run("convert", "m.h5", "out.h5", "--backend", "theano").exit_code == 0
    kernel = load_model(tmp_path / "out.h5").layers[0].params["kernel"]
    np.testing.assert_array_equal(kernel, model.layers[0].params["kernel"][::-1, ::-1])


def test_weights_of_a_channels_first_model(run, tmp_path):
    """The rows of the Dense layer follow the channels first, which the file of weights does not say."""
    network = Sequential([layers.Flatten(input_shape=(2, 3, 4)), layers.Dense(2)], seed=1)
    network.save(tmp_path / "here.h5")
    kernel, bias = network.get_weights()
    there = kernel.reshape(2, 3, 4, 2).transpose(2, 0, 1, 3).reshape(24, 2)
    network.set_weights([there, bias])
    network.save_weights(tmp_path / "w.h5")
    result = run("convert", "w.h5", "out.h5", "--model", "here.h5", "--data-format", "channels_first")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(load_model(tmp_path / "out.h5").get_weights()[0], kernel)


def test_an_existing_file_is_replaced_by_force_alone(run, model, tmp_path):
    (tmp_path / "out.h5").write_text("precious")
    assert_fails(run("convert", "m.h5", "out.h5"), 2, "out.h5: exists; give --force to replace it, or another name.")
    assert (tmp_path / "out.h5").read_text() == "precious"
    converted(run, "m.h5", "out.h5", "--force")
    assert_same_weights(load_model(tmp_path / "out.h5"), model)
    converted(run, "out.h5", "out.h5", "--force", "--no-optimizer")  # onto itself
    assert_same_weights(load_model(tmp_path / "out.h5"), model)


def test_what_fails_leaves_the_old_file(run, model, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    (tmp_path / "out.h5").write_text("precious")
    before = sorted(os.listdir(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    result = run("convert", "m.h5", "out.h5", "--force", "--no-optimizer")
    assert_fails(result, 1, "out.h5: cannot be written: No space left on device; what was there before is unchanged.")
    assert (tmp_path / "out.h5").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.h5", "out.h5"], "none.h5: no such file; check the name and the folder "),
        (["m.h5", "out.txt"], "out.txt: ends in '.txt'; it must end in .h5, .keras, .weights.h5 or .onnx."),
        (["m.h5", "out"], "out: has no ending; it must end in"),
        (["m.h5", "nowhere/out.h5"], "nowhere/out.h5: cannot be written, since the folder nowhere does not exist"),
        (["text.h5", "out.h5"], "text.h5: is text, not an HDF5 file"),
        (["m.weights.h5", "out.h5"], "m.weights.h5: holds weights alone; name the model that they are for"),
        (["m.h5", "out.h5", "--model", "lenet5"], "--model lenet5: m.h5 holds a whole model; leave out --model."),
        (["old.h5", "out.h5", "--model", "lenet5"], "old.h5: holds weights of 3 layers"),
        (["old.h5", "out.h5", "--model", "lenet6"], "lenet6: no such file, and no model of that name"),
        (
            ["old.h5", "out.h5", "--model", "none.json"],
            "none.json: cannot be read: No such file or directory; check the name.",
        ),
        (["old.h5", "out.h5", "--model", "text.json"], "text.json: is not valid JSON"),
        (["m.h5", "out.h5", "--backend", "theano"], "--backend theano: m.h5 says that it is of tensorflow; leave out"),
        (["m.h5", "o.h5", "--data-format", "channels_first"], "--data-format channels_first: m.h5 holds a whole model"),
        (["m.h5", "o.weights.h5", "--optimizer-for", "keras2"], "--optimizer-for keras2: o.weights.h5 does not keep"),
        (["m.h5", "o.onnx", "--optimizer-for", "keras3"], "--optimizer-for keras3: o.onnx does not keep"),
        (
            ["m.h5", "o.h5", "--optimizer-for", "keras3", "--no-optimizer"],
            "--optimizer-for keras3: --no-optimizer leaves the optimizer out",
        ),
        (["m.keras", "out.h5", "--backend", "theano"], "--backend theano: m.keras is in a format that came after"),
    ],
)
def test_arguments_that_cannot_be_used(run, model, tmp_path, arguments, message):
    (tmp_path / "text.h5").write_text("a text")
    (tmp_path / "text.json").write_text("a text")
    before = sorted(os.listdir(tmp_path))
    assert_fails(run("convert", *arguments), 2, message)
    assert sorted(os.listdir(tmp_path)) == before


def test_layers_that_minicnn_does_not_have(run, model, tmp_path):
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][1]["class_name"] = "Lambda"
        file.attrs["model_config"] = json.dumps(config)
    assert_fails(run("convert", "m.h5", "out.keras"), 2, "m.h5: layer 1, Lambda: this layer holds code")


def test_onnx_is_written_by_export_onnx(run, model, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(minicnn.saving, "export_onnx", lambda *given: calls.append(given), raising=False)
    assert [line.split(":")[0] for line in converted(run, "m.keras", "out.onnx")] == ["minicnn"]
    ((network, path),) = calls
    assert str(path) == "out.onnx"
    assert_same_weights(network, model)


@needs_shared
def test_weights_and_json_from_the_wild(run, tmp_path):
    wild = shared_folder() / "wild_models"
    name = "peikexin9__deepxplore__Model1.h5"
    assert run("convert", wild / name, "out.keras", "--model", wild / f"{name}.arch.json").exit_code == 0
    model = load_model(tmp_path / "out.keras")
    x = np.random.default_rng(20261124).random((8, *model.input_shape[1:]), dtype="float32")
    reference = np.load(wild / "reference.npz")[name]
    np.testing.assert_allclose(model.predict(x, verbose=0), reference, rtol=0, atol=1e-5)


@needs_shared
def test_files_of_keras_keep_their_predictions(run, tmp_path):
    folder = shared_folder() / "keras_files"
    x = np.random.default_rng(0).random((4, 8, 8, 1), dtype="float32")
    for number, source in enumerate(sorted(folder.glob("*_rich.*"))):
        if source.suffix not in (".h5", ".keras"):
            continue
        for target in (f"{number}.h5", f"{number}.keras"):
            assert run("convert", source, target).exit_code == 0
            expected = load_model(source).predict(x, verbose=0)
            np.testing.assert_array_equal(load_model(tmp_path / target).predict(x, verbose=0), expected)
