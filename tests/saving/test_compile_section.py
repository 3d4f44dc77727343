"""Metrics of functions with a name and arguments, and where files say that Keras finds the caller's own classes."""

import functools
import json
import zipfile

import numpy as np
import pytest

from minicnn import load_model, losses, metrics, optimizers
from minicnn.optimizers import schedules
from tests.saving.models import data, small
from tests.saving.test_round_trip import Largest


def scaled_error(y_true, y_pred, scale=1.0):
    return scale * np.abs(y_true - y_pred).mean(axis=-1)


class Loud:
    """A function that is an object."""

    def __call__(self, y_true, y_pred):
        return np.abs(y_true - y_pred).max(axis=-1)


class Heaviest(Largest):
    """Another class, for weighted metrics."""


class HalvingRate:
    """The methods of a schedule, for minicnn and for Keras."""

    def __init__(self, first):
        self.first = first

    def __call__(self, step):
        return self.first * 0.5**step

    def get_config(self):
        return {"first": self.first}


class Halving(HalvingRate, schedules.LearningRateSchedule):
    pass


FUNCTIONS = {
    "another name": (metrics.categorical_accuracy, "hits", {}),
    "a class's argument": (metrics.top_k_categorical_accuracy, "top2", {"k": 2}),
    "the argument alone": (metrics.top_k_categorical_accuracy, None, {"k": np.int64(2)}),
    "a threshold": (metrics.binary_accuracy, "above", {"threshold": 0.25}),
    "a loss": (metrics.mean_squared_error, "squares", {}),
    "own": (scaled_error, "percent", {"scale": 100.0}),
    "own, arguments alone": (scaled_error, None, {"scale": 100.0}),
    "own, name alone": (scaled_error, "percent", {}),
    "own, nothing said": (scaled_error, None, {}),
    "own object": (Loud(), "loud", {}),
}
OWN = {"scaled_error": scaled_error, "Loud": Loud()}


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
@pytest.mark.parametrize("case", FUNCTIONS)
def test_a_function_keeps_its_name_and_arguments(tmp_path, case, name):
    function, key, arguments = FUNCTIONS[case]
    x, y = data()
    model = small()
    wrapped = [metrics.MeanMetricWrapper(function, name=key, **arguments)]
    model.compile("sgd", "categorical_crossentropy", metrics=wrapped, weighted_metrics=wrapped)
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    model.save(tmp_path / name)
    loaded = load_model(tmp_path / name, custom_objects=OWN)
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == expected


OBJECTS = {
    "loss": lambda: losses.BinaryCrossentropy(name="bce", label_smoothing=0.25),
    "another loss": lambda: losses.MeanSquaredError(),
    "function of a loss": lambda: losses.categorical_crossentropy,
    "by name": lambda: "categorical_crossentropy",
    "metric": lambda: metrics.CategoricalCrossentropy(name="ce2", label_smoothing=0.25),
}


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
@pytest.mark.parametrize("case", OBJECTS)
def test_cross_entropies_and_losses_as_metrics(tmp_path, case, name):
    x, y = data()
    model = small()
    model.compile("sgd", "categorical_crossentropy", metrics=[OBJECTS[case](), "accuracy"])
    expected = model.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=True)
    model.save(tmp_path / name)
    loaded = load_model(tmp_path / name)
    assert loaded.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_functions_without_a_name_can_be_saved(tmp_path, name):
    x, y = data()
    for metric, custom in ((functools.partial(scaled_error, scale=2.0), "partial"), (Loud(), "Loud")):
        model = small()
        model.compile("sgd", "categorical_crossentropy", metrics=[metric])
        expected = model.evaluate(x, y, verbose=0)
        model.save(tmp_path / name)
        loaded = load_model(tmp_path / name, custom_objects={custom: metric})
        assert loaded.evaluate(x, y, verbose=0) == expected


def compile_config(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))["compile_config"]


def place(entry):
    return entry["module"], entry["registered_name"]


@pytest.mark.parametrize("form", [metrics.Accuracy, metrics.Accuracy()])
def test_the_metric_of_equal_numbers_stays_what_it_is(tmp_path, form):
    """Its name, "accuracy", stands for another one, chosen by the labels."""
    model, (x, y) = small(), data()
    model.compile("sgd", "categorical_crossentropy", metrics=[form])
    before = model.evaluate(x, y, verbose=0)
    model.save(tmp_path / "model.h5")
    loaded = load_model(tmp_path / "model.h5")
    assert loaded.evaluate(x, y, verbose=0) == before
    assert type(loaded.metrics[0]) is metrics.Accuracy


def test_the_callers_own_classes_are_registered_by_name(tmp_path):
    model = small()
    optimizer = optimizers.Adam(Halving(0.5))
    model.compile(optimizer, "categorical_crossentropy", metrics=[Largest], weighted_metrics=[Heaviest()])
    model.save(tmp_path / "m.keras")
    config = compile_config(tmp_path / "m.keras")
    assert place(config["metrics"][0]) == (None, "Largest")
    assert place(config["weighted_metrics"][0]) == (None, "Heaviest")
    assert place(config["optimizer"]) == ("keras.optimizers", None)
    assert place(config["optimizer"]["config"]["learning_rate"]) == (None, "Halving")


def test_keras_schedules_are_found_where_keras_has_them(tmp_path):
    model = small()
    model.compile(optimizers.Adam(schedules.ExponentialDecay(0.5, 10, 0.5)), "categorical_crossentropy")
    model.save(tmp_path / "m.keras")
    rate = compile_config(tmp_path / "m.keras")["optimizer"]["config"]["learning_rate"]
    assert place(rate) == ("keras.optimizers.schedules", None)
