"""minicnn predict: the class and the probabilities of image files."""

import json
import os
import re
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from minicnn import load_model
from minicnn.cli import predict as command
from minicnn.datasets import DATASETS, cifar10, digits
from minicnn.layers import Activation, Conv2D, Dense, Dropout, Flatten, Input, Softmax
from minicnn.models import Sequential
from tests.cli.conftest import assert_fails
from tests.shared import shared_folder


def classifier(path, shape, classes, activation="softmax", middle=()):
    model = Sequential([Input(shape), *middle, Flatten(), Dense(classes, activation=activation)], seed=0)
    model.save(path)
    return model


def written(images, **names):
    for name, k in names.items():
        Image.fromarray(images[k]).save(f"{name}.png")


def answers(result):
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def sure(model_file):
    """Test images of the digits of which the trained model is sure, with their classes."""
    (_, _), (x, y) = digits.load_data()
    outputs = load_model(model_file).predict(x[..., None], verbose=0)
    good = (outputs.argmax(axis=1) == y) & (outputs.max(axis=1) > 0.97)
    assert good.sum() > 50
    return x[good], y[good], outputs[good]


def test_the_models_own_outputs(run, model_file, sure):
    x, y, outputs = sure
    written(x, a=0, b=1)
    one, other = answers(run("predict", model_file, "a.png", "b.png", "--json", "--no-centre"))
    for answer, k in ((one, 0), (other, 1)):
        assert (answer["class"], answer["name"]) == (y[k], str(y[k]))
        assert list(answer["probabilities"]) == list("0123456789")
        np.testing.assert_allclose(list(answer["probabilities"].values()), outputs[k], rtol=0, atol=1e-6)
        assert answer["changes"] == []
    assert (one["image"], other["image"]) == ("a.png", "b.png")


def test_as_text(run, model_file, sure):
    x, y, outputs = sure
    written(x, a=0)
    lines = run("predict", model_file, "a.png").stdout.splitlines()
    best = 100 * outputs[0].max()
    assert lines[0].startswith(f"a.png: {y[0]}, {best:.2f} %")
    assert len(lines) == 3
    shown = re.findall(r"(\d): (\d+\.\d\d) %", "\n".join(lines[1:]))
    assert [int(name) for name, _ in shown] == list(range(10))
    assert sum(float(value) for _, value in shown) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("name", ["large.png", "large.jpg"])
def test_drawn_large_in_ink_on_paper(run, model_file, sure, name):
    x, y, _ = sure
    for k in range(10):
        large = 255 - np.kron(x[k], np.ones((8, 8), np.uint8))
        Image.fromarray(large).convert("RGB").save(name, quality=95) if name.endswith("jpg") else Image.fromarray(
            np.dstack([large] * 3)
        ).save(name)
        (answer,) = answers(run("predict", model_file, name, "--json"))
        assert answer["class"] == y[k]
        assert "inverted" in answer["changes"]
        assert answer["changes"][-1] == "resized from 224x224"


def test_a_figure_in_a_corner_is_brought_to_its_place(run, model_file, sure):
    x, y, _ = sure
    hits = {"--centre": 0, "--no-centre": 0}
    for k in range(10):
        field = np.zeros((120, 200), np.uint8)
        field[10:66, 20:76] = np.kron(x[k], np.ones((2, 2), np.uint8))
        Image.fromarray(field).save("corner.png")
        for option in hits:
            (answer,) = answers(run("predict", model_file, "corner.png", "--json", option))
            hits[option] += answer["class"] == y[k]
    assert hits["--centre"] == 10
    assert hits["--no-centre"] < 6


def test_class_names(run, monkeypatch):
    classifier("model.h5", (32, 32, 3), 10)
    Image.new("RGB", (64, 48), "red").save("photo.jpg")
    (answer,) = answers(run("predict", "model.h5", "photo.jpg", "--json", "--data", "cifar10"))
    assert list(answer["probabilities"]) == list(cifar10.CLASS_NAMES)
    assert answer["changes"] == ["padded", "resized from 64x48"]


def guess(run, shape, classes, *options):
    """The answer on a bright bar in a corner, and what is said beside it."""
    classifier("mine.h5", shape, classes)
    field = np.zeros((120, 200), np.uint8)
    field[10:66, 20:30] = 255
    Image.fromarray(field).save("bar.png")
    result = run("predict", "mine.h5", "bar.png", "--json", *options)
    (answer,) = answers(result)
    return answer, result.stderr


@pytest.mark.parametrize(("shape", "data"), [((28, 28, 1), "mnist"), ((32, 32, 3), "cifar10")])
def test_the_data_set_of_a_file_is_guessed_by_its_shape(run, shape, data):
    """As `evaluate` guesses it; with its class names and, of digits, its frame."""
    answer, said = guess(run, shape, 10)
    assert said == (
        f"minicnn: note: mine.h5 does not say what it was trained on; by its shape, {data}. "
        "If not, name it with --data.\n"
    )
    assert (answer, "") == guess(run, shape, 10, "--data", data)
    assert list(answer["probabilities"]) == list(DATASETS[data].CLASS_NAMES)
    assert ("centred" in answer["changes"]) == (data == "mnist")


@pytest.mark.parametrize(("shape", "classes"), [((28, 28, 1), 26), ((16, 16, 1), 10)])
def test_a_model_of_no_known_data_set(run, shape, classes):
    answer, said = guess(run, shape, classes)
    assert said == ""
    assert list(answer["probabilities"]) == [str(k) for k in range(classes)]
    assert "centred" not in answer["changes"]


@pytest.mark.parametrize(
    ("classes", "activation", "expected"),
    [
        (3, "softmax", lambda y: y),
        (3, "linear", lambda y: np.exp(y - y.max()) / np.exp(y - y.max()).sum()),
        (1, "sigmoid", lambda y: np.array([1 - y[0], y[0]])),
        (1, "linear", lambda y: np.array([1, np.exp(y[0])]) / (1 + np.exp(y[0]))),
        (3, "sigmoid", lambda y: y),
    ],
)
def test_outputs_become_probabilities(run, classes, activation, expected):
    model = classifier("model.h5", (4, 4, 1), classes, activation)
    pixels = np.random.default_rng(0).integers(0, 100, (4, 4), np.uint8)
    Image.fromarray(pixels).save("a.png")
    (answer,) = answers(run("predict", "model.h5", "a.png", "--json", "--divide-by", 255))
    y = model.predict(pixels[None, ..., None] / np.float32(255), verbose=0)[0].astype(np.float64)
    np.testing.assert_allclose(list(answer["probabilities"].values()), expected(y), atol=1e-6)


@pytest.mark.parametrize("last", [[], [Softmax()], [Activation("softmax"), Dropout(0.5)]])
def test_the_last_activation_tells_what_outputs_are(run, last):
    """Not the numbers: logits may have sum 1 by chance, for all images given or for some."""
    model = Sequential([Input((4, 4, 1)), Flatten(), Dense(3), *last], seed=0)
    scores = np.array([0.2, 0.3, 0.5])
    model.set_weights([np.zeros((16, 3)), scores])
    model.save("model.h5")
    Image.new("L", (4, 4)).save("a.png")
    (answer,) = answers(run("predict", "model.h5", "a.png", "--json"))
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(list(answer["probabilities"].values()), expected, atol=1e-6)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_outputs_that_are_no_numbers(run, options):
    model = classifier("model.h5", (4, 4, 1), 2)
    model.set_weights([np.full_like(array, np.nan) for array in model.get_weights()])
    model.name = "broken"
    model.save("model.h5")
    Image.new("L", (4, 4)).save("a.png")
    result = run("predict", "model.h5", "a.png", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    warning, error = result.stderr.splitlines()
    assert warning.startswith("minicnn: warning: model.h5: holds weights that are NaN or infinite")
    assert error == (
        "minicnn: model.h5: Sequential 'broken' has outputs that are NaN or infinite; train it anew, or give another."
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_a_name_that_is_not_utf_8(start, tmp_path):
    name = os.fsdecode(b"a\xff.png")
    classifier(tmp_path / "model.h5", (4, 4, 1), 2)
    Image.new("L", (4, 4)).save(tmp_path / name)
    process = start("predict", "model.h5", name)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.startswith("a\\udcff.png: ")


def test_a_keras_style_name_beside_it_is_no_training(run):
    """model.h5 is a common name, and training.json may be anybody's."""
    classifier("model.h5", (4, 4, 1), 2)
    Image.new("L", (4, 4)).save("a.png")
    for content in ("[1]", "{}", "{", '{"settings": {"data": "cifar10"}}'):
        Path("training.json").write_text(content)
        assert run("predict", "model.h5", "a.png").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.h5", "a.png"], "absent.h5: no such file; check the name"),
        (["a.png", "a.png"], "a.png: is "),
        (["lenet5", "a.png"], "lenet5: no such file; check the name"),
        (["vector.h5", "a.png"], "vector.h5: Sequential 'vector' takes samples (None, 9), not images (None, height,"),
        (
            ["map.h5", "a.png"],
            "map.h5: Sequential 'map' has outputs (None, 4, 4, 2); predict takes (None, classes); give a classifier.",
        ),
        (["good.h5", "absent.png"], "absent.png: no such file; check the name"),
        (["good.h5", "a.png", "good.h5"], "good.h5: is no PNG or JPEG image, it begins with b'\\x89HDF"),
        (
            ["good.h5", "a.png", "--data", "mnist"],
            "--data mnist: has 10 classes, but good.h5 tells 2 apart; name the data set",
        ),
    ],
)
def test_failures(run, arguments, message):
    Image.new("L", (4, 4)).save("a.png")
    classifier("good.h5", (4, 4, 1), 2)
    Sequential([Input((9,)), Dense(2)], name="vector").save("vector.h5")
    Sequential([Input((4, 4, 1)), Conv2D(2, 1)], name="map").save("map.h5")
    assert_fails(run("predict", *arguments), 2, message)


def test_many_images_go_through_the_model_at_once(run, monkeypatch):
    monkeypatch.setattr(command, "BATCH", 2)
    classifier("model.h5", (4, 4, 1), 2)
    Image.new("L", (4, 4)).save("a.png")
    assert len(answers(run("predict", "model.h5", *["a.png"] * 5, "--json"))) == 5


def test_digits_drawn_by_a_program(run, monkeypatch, tmp_path):
    """By a network that has learnt from MNIST: set in a font, at any size and place."""
    shared = shared_folder()
    if shared is None or not (shared / "data" / "mnist").is_dir():
        pytest.skip("no shared/data/mnist; set MINICNN_SHARED to the folder that has data/mnist")
    home = tmp_path / "home" / "minicnn" / "datasets"
    home.mkdir(parents=True)
    (home / "mnist").symlink_to(shared / "data" / "mnist")
    assert run("train", "lenet5", "--epochs", 2, "-o", "out").exit_code == 0
    font = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    names = []
    for digit in range(10):
        image = Image.new("RGB", (300, 200), "white")
        place, size = (90 + 10 * digit, 120 - 5 * digit), 60 + 8 * digit
        ImageDraw.Draw(image).text(place, str(digit), "navy", ImageFont.truetype(font, size), anchor="mm")
        names.append(f"{digit}.png")
        image.save(names[-1])
    assert [answer["class"] for answer in answers(run("predict", "out/model.h5", *names, "--json"))] == list(range(10))
