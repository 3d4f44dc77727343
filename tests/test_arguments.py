"""Checks of arguments: the helpers, and the arguments that constructors do not know."""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from minicnn import activations, callbacks, initializers, losses, metrics, optimizers, regularizers
from minicnn.arguments import dtype_or_none, finite_number, refuse, refuse_unknown, seed_or_none
from minicnn.errors import ConfigError
from minicnn.optimizers import schedules
from minicnn.utils import to_categorical


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1), Fraction(1)])
def test_numbers_become_floats(value):
    assert finite_number(value, "rate", "SGD") == 1.0
    assert type(finite_number(value, "rate", "SGD")) is float


@pytest.mark.parametrize("value", [None, "1", b"1", True, np.True_, math.nan, -math.inf, 10**400, [1], np.ones(1), 1j])
def test_others_are_refused(value):
    with pytest.raises(ConfigError, match=r"^SGD: rate must be a finite number, got "):
        finite_number(value, "rate", "SGD")


@pytest.mark.parametrize(
    ("limits", "good", "bad", "message"),
    [
        ({"least": 0}, 0, -0.5, "SGD: rate must be a finite number of at least 0, got -0.5."),
        ({"most": 1}, 1, 1.5, "SGD: rate must be a finite number of at most 1, got 1.5."),
        ({"least": 0, "below": 1}, 0.5, 1, "SGD: rate must be a finite number of at least 0 and below 1, got 1."),
    ],
)
def test_limits(limits, good, bad, message):
    assert finite_number(good, "rate", "SGD", **limits) == good
    with pytest.raises(ConfigError) as caught:
        finite_number(bad, "rate", "SGD", **limits)
    assert str(caught.value) == message


def test_seeds():
    assert seed_or_none(None, "Dropout") is None
    assert seed_or_none(np.int64(3), "Dropout") == 3
    assert type(seed_or_none(np.int64(3), "Dropout")) is int
    for wrong in (-1, 1.0, True, "1", [1]):
        with pytest.raises(ConfigError) as caught:
            seed_or_none(wrong, "Dropout")
        assert str(caught.value) == f"Dropout: seed must be a non-negative integer or None, got {wrong!r}."


def test_dtypes():
    assert [dtype_or_none(d, "Mean") for d in (None, "float32", "float64")] == [None, "float32", "float64"]
    for wrong in ("float16", np.float32, 32, np.ones(2)):
        with pytest.raises(ConfigError) as caught:
            dtype_or_none(wrong, "Mean")
        assert str(caught.value) == f'Mean: dtype must be None, "float32" or "float64", got {wrong!r}.'


def test_unknown_and_unsupported_arguments_are_named():
    refuse_unknown({}, "SGD")
    refuse("SGD", use_ema=(False, False), nesterov=(None, None))
    for owner in ("Fraction", Fraction(1)):
        with pytest.raises(ConfigError) as caught:
            refuse_unknown({"rat": 1}, owner)
        assert str(caught.value) == "Fraction: unknown argument 'rat'; see help(Fraction)."
    with pytest.raises(ConfigError) as caught:
        refuse("Fraction", name=("a", "a"), axis=(3, None))
    assert str(caught.value) == "Fraction: axis=3 is not supported by minicnn; leave it at None."


CONSTRUCTORS = [
    losses.CategoricalCrossentropy,
    losses.SparseCategoricalCrossentropy,
    losses.BinaryCrossentropy,
    losses.MeanSquaredError,
    losses.Loss,
    *dict.fromkeys(metrics.METRICS.values()),
    metrics.Metric,
    *dict.fromkeys(optimizers.TABLE.values()),
    *dict.fromkeys(initializers.TABLE.values()),
    *dict.fromkeys(regularizers.TABLE.values()),
    partial(schedules.ExponentialDecay, 0.1, 1, 0.5),
    partial(schedules.InverseTimeDecay, 0.1, 1, 0.5),
    partial(schedules.PiecewiseConstantDecay, [1], [0.1, 0.2]),
    partial(schedules.PolynomialDecay, 0.1, 1),
    partial(schedules.CosineDecay, 0.1, 1),
    callbacks.EarlyStopping,
    callbacks.ReduceLROnPlateau,
    callbacks.TerminateOnNaN,
    partial(callbacks.ModelCheckpoint, "m.h5"),
    partial(callbacks.CSVLogger, "log.csv"),
    partial(callbacks.LearningRateScheduler, lambda epoch: 0.1),
]


@pytest.mark.parametrize("make", CONSTRUCTORS, ids=lambda make: getattr(make, "func", make).__name__)
def test_every_constructor_names_an_argument_that_it_does_not_know(make):
    name = getattr(make, "func", make).__name__
    with pytest.raises(ConfigError) as caught:
        make(nonsense=1)
    assert str(caught.value) == f"{name}: unknown argument 'nonsense'; see help({name})."


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: regularizers.L1(l2=0.5), "l2"),  # of a relative: known there, not here
        (lambda: regularizers.L2(l1=0.5), "l1"),
        (lambda: initializers.HeNormal(scale=2.0), "scale"),
        (lambda: callbacks.ModelCheckpoint("m.h5", min_delta=1), "min_delta"),
        (lambda: activations.relu([1.0], alpha=0.1), "alpha"),
        (lambda: to_categorical([1], classes=3), "classes"),
    ],
)
def test_arguments_of_relatives_are_unknown(make, argument):
    with pytest.raises(ConfigError, match=f": unknown argument '{argument}'; see help"):
        make()


def test_names_of_keras_2():
    assert regularizers.l2(l=0.5).get_config() == {"l2": 0.5}
    assert regularizers.l1(l=0.5).get_config() == {"l1": 0.5}
    assert callbacks.ReduceLROnPlateau(epsilon=0.5).min_delta == 0.5
    assert callbacks.ModelCheckpoint("m.h5", period=2).period == 2
    with pytest.raises(ConfigError) as caught:
        callbacks.ModelCheckpoint("m.h5", save_freq=10, period=2)
    assert str(caught.value) == "ModelCheckpoint: period=2 counts epochs, save_freq=10 batches; give one."
