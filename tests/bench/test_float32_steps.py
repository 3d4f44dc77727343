"""bench/float32_steps.py: dropout is off, the losses are those of training, the figure has a panel for each model."""

import numpy as np
from float32_steps import config_without_dropout, draw, first_large, losses

import minicnn
from minicnn import applications


def test_dropout_is_off_and_the_rest_as_it_was():
    config, as_it_was = config_without_dropout("cnn_dropout"), applications.build("cnn_dropout", seed=0).get_config()
    rates = [layer["config"]["rate"] for layer in config["layers"] if layer["class_name"] == "Dropout"]
    assert rates == [0.0]
    kinds = [[layer["class_name"] for layer in c["layers"]] for c in (config, as_it_was)]
    assert kinds[0] == kinds[1]


def test_losses_are_those_of_train_on_batch():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (256, 28, 28, 1), np.uint8), np.eye(10)[rng.integers(0, 10, 256)]
    model = applications.build("lenet5", seed=0)
    model.compile(minicnn.optimizers.Adam(1e-3), "categorical_crossentropy")
    expected = [model.train_on_batch(x[part], y[part]) for part in (slice(0, 128), slice(128, 256))]
    assert losses(minicnn, "lenet5", x, y, 2) == expected


def test_first_step_that_is_far_apart():
    assert first_large({"minicnn": [1.0, 2.0, 3.0], "keras": [1.0, 2.0, 3.0]}) is None
    assert first_large({"minicnn": [1.0, 2.01, 3.1], "keras": [1.0, 2.0, 3.0]}) == 3


def test_a_figure_of_some_models(tmp_path):
    record = {"minicnn": [2.0, 1.0], "keras": [2.0, 1.5]}
    draw({"lenet5": record, "cnn_relu": record}, tmp_path / "some.png")
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")
