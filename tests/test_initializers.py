"""Initializers: distributions and their limits, seeds, shapes, configs, and what they refuse."""

import json
import math

import numpy as np
import pytest

from minicnn import Input, Sequential, initializers
from minicnn.errors import ConfigError, ShapeError
from minicnn.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    Initializer,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
    fans,
)
from minicnn.layers import Dense

ALL = [
    Zeros,
    Ones,
    Constant,
    Identity,
    RandomUniform,
    RandomNormal,
    TruncatedNormal,
    VarianceScaling,
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    LecunUniform,
    LecunNormal,
    Orthogonal,
]
DRAWING = ALL[4:]


def draw(initializer, shape=(300, 400), dtype=np.float64, seed=0):
    return initializer(shape, dtype, np.random.default_rng(seed))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cls", ALL)
def test_shape_and_dtype(cls, dtype):
    for shape in ((3, 5), (5, 3), (0, 4)) + (() if cls is Identity else ((2, 3, 4, 5),)):
        values = draw(cls(), shape, dtype)
        assert values.shape == shape
        assert values.dtype == dtype
        assert values.flags.c_contiguous
        assert values.flags.writeable


def test_constants():
    np.testing.assert_array_equal(draw(Zeros(), (2, 2)), [[0, 0], [0, 0]])
    np.testing.assert_array_equal(draw(Ones(), (3,)), [1, 1, 1])
    np.testing.assert_array_equal(draw(Constant(0.25), (2,)), [0.25, 0.25])
    np.testing.assert_array_equal(draw(Identity(2.0), (2, 3)), [[2, 0, 0], [0, 2, 0]])


@pytest.mark.parametrize("cls", DRAWING)
def test_the_models_generator_is_drawn_from(cls):
    rng = np.random.default_rng(0)
    first, second = cls()((4, 4), np.float64, rng), cls()((4, 4), np.float64, rng)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, draw(cls(), (4, 4)))


@pytest.mark.parametrize("cls", DRAWING)
def test_a_seed_of_its_own_gives_the_same_values_at_each_call(cls):
    initializer = cls(seed=7)
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    first, second = initializer((4, 4), np.float64, rng), initializer((4, 4), np.float64, rng)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, draw(cls(), (4, 4), seed=7))
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("cls", DRAWING)
def test_float32_values_are_the_float64_values_rounded(cls):
    shape = (300, 400)  # more than one block
    np.testing.assert_array_equal(draw(cls(), shape, np.float32), draw(cls(), shape).astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), (1, 1)), ((5,), (5, 5)), ((3, 4), (3, 4)), ((3, 3, 16, 64), (144, 576)), ((5, 1, 2), (5, 10))],
)
def test_fans(shape, expected):
    assert fans(shape) == expected


# 120,000 values: mean and deviation of a sample are off by about 0.3 % and 0.2 % of the deviation
@pytest.mark.parametrize(
    ("initializer", "shape", "limit"),
    [
        (GlorotUniform(), (3, 3, 80, 160), math.sqrt(6 / (720 + 1440))),
        (GlorotUniform(), (300, 400), math.sqrt(6 / 700)),
        (HeUniform(), (300, 400), math.sqrt(6 / 300)),
        (LecunUniform(), (300, 400), math.sqrt(3 / 300)),
        (VarianceScaling(4.0, "fan_out", "uniform"), (300, 400), math.sqrt(12 / 400)),
        (RandomUniform(), (300, 400), 0.05),
    ],
)
def test_uniform(initializer, shape, limit):
    values = draw(initializer, shape)
    assert np.abs(values).max() <= limit
    assert np.abs(values).max() > 0.9999 * limit
    assert abs(values.mean()) < 0.01 * limit
    assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.01)


@pytest.mark.parametrize(
    ("initializer", "stddev"),
    [
        (GlorotNormal(), math.sqrt(2 / 700)),
        (HeNormal(), math.sqrt(2 / 300)),
        (LecunNormal(), math.sqrt(1 / 300)),
        (VarianceScaling(4.0, "fan_avg", "normal"), math.sqrt(4 / 350)),
        (VarianceScaling(), math.sqrt(1 / 300)),
        (TruncatedNormal(stddev=0.5), 0.5 * 0.87962566103423978),
    ],
)
def test_truncated_normal(initializer, stddev):
    values = draw(initializer)
    limit = 2 * stddev / 0.87962566103423978
    assert np.abs(values).max() <= limit
    assert np.abs(values).max() > 0.999 * limit
    assert abs(values.mean()) < 0.01 * stddev
    assert values.std() == pytest.approx(stddev, rel=0.01)


def test_normal():
    values = draw(RandomNormal(2.0, 0.5))
    assert values.mean() == pytest.approx(2.0, abs=0.01)
    assert values.std() == pytest.approx(0.5, rel=0.01)
    assert np.abs(values - 2).max() > 4 * 0.5
    values = draw(VarianceScaling(2.0, distribution="untruncated_normal"))
    assert values.std() == pytest.approx(math.sqrt(2 / 300), rel=0.01)
    assert np.abs(values).max() > 4 * math.sqrt(2 / 300)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (2, 2, 3, 5), (2, 1, 1, 7)])
def test_orthogonal(shape):
    values = draw(Orthogonal(gain=2.0), shape)
    matrix = values.reshape(-1, shape[-1])
    product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-14)


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"Orthogonal: needs a shape of at least two dimensions, got \(3,\)"):
        draw(Orthogonal(), (3,))
    with pytest.raises(ShapeError, match=r"Identity: needs a shape of two dimensions, got \(3, 3, 1, 1\)"):
        draw(Identity(), (3, 3, 1, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant("0"), "Constant: value must be a finite number, got '0'"),
        (lambda: Constant(math.nan), "Constant: value must be a finite number, got nan"),
        (lambda: RandomUniform(1.0, 0.0), r"RandomUniform: minval 1\.0 is above maxval 0\.0"),
        (lambda: RandomNormal(stddev=-1), "RandomNormal: stddev must be a finite number of at least 0, got -1"),
        (lambda: TruncatedNormal(stddev=math.inf), "TruncatedNormal: stddev must be a finite number"),
        (lambda: Orthogonal(gain=None), "Orthogonal: gain must be a finite number, got None"),
        (lambda: VarianceScaling(0), "VarianceScaling: scale must be positive, got 0"),
        (lambda: VarianceScaling(mode="fan"), 'VarianceScaling: mode must be "fan_in", "fan_out" or "fan_avg", got'),
        (lambda: VarianceScaling(distribution="cauchy"), "VarianceScaling: distribution must be one of"),
        (lambda: VarianceScaling(distribution=None), "VarianceScaling: distribution must be one of"),
        (lambda: HeNormal(input_axes=[0]), r"HeNormal: input_axes=\[0\] is not supported by minicnn; leave it at None"),
        (lambda: HeNormal(seed=-1), "HeNormal: seed must be a non-negative integer or None, got -1"),
        (lambda: RandomNormal(seed=1.5), r"RandomNormal: seed must be a non-negative integer or None, got 1\.5"),
        (lambda: initializers.get("glorot"), "initializer: unknown name 'glorot'"),
        (lambda: initializers.get(None), "initializer: expected a name"),
        (lambda: initializers.get(np.zeros), "initializer: got the function .*; subclass minicnn.initializers"),
    ],
)
def test_arguments_that_are_refused(make, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        make()


@pytest.mark.parametrize(
    ("initializer", "config"),
    [
        (Zeros(), {}),
        (Ones(), {}),
        (Constant(0.5), {"value": 0.5}),
        (Identity(0.5), {"gain": 0.5}),
        (RandomUniform(), {"seed": None, "minval": -0.05, "maxval": 0.05}),
        (RandomNormal(), {"seed": None, "mean": 0.0, "stddev": 0.05}),
        (TruncatedNormal(seed=3), {"seed": 3, "mean": 0.0, "stddev": 0.05}),
        (
            VarianceScaling(2.0, "fan_avg", "normal"),
            {"seed": None, "scale": 2.0, "mode": "fan_avg", "distribution": "truncated_normal"},
        ),
        (GlorotUniform(), {"seed": None}),
        (HeNormal(np.int64(4)), {"seed": 4}),
        (Orthogonal(0.5), {"seed": None, "gain": 0.5}),
    ],
)
def test_config_round_trip(initializer, config):
    assert initializer.get_config() == config
    stored = json.loads(json.dumps(initializers.serialize(initializer)))
    assert stored == {"class_name": type(initializer).__name__, "config": config}
    again = initializers.deserialize(stored)
    assert type(again) is type(initializers.get(stored)) is type(initializer)
    np.testing.assert_array_equal(draw(again, (3, 4)), draw(initializer, (3, 4)))


def test_configs_of_other_keras_are_read():
    keras_3 = {
        "module": "keras.initializers",
        "class_name": "GlorotUniform",
        "config": {"seed": None, "input_axes": None, "output_axes": None},
        "registered_name": None,
    }
    assert type(initializers.get(keras_3)) is GlorotUniform
    keras_2 = {"class_name": "GlorotUniform", "config": {"seed": None, "dtype": "float32"}}
    assert type(initializers.get(keras_2)) is GlorotUniform
    keras_2_3 = {
        "class_name": "VarianceScaling",
        "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None},
    }
    np.testing.assert_array_equal(draw(initializers.get(keras_2_3)), draw(GlorotUniform()))


@pytest.mark.parametrize(
    ("identifier", "cls"),
    [
        ("zeros", Zeros),
        ("zero", Zeros),
        ("one", Ones),
        ("uniform", RandomUniform),
        ("normal", RandomNormal),
        ("glorot_uniform", GlorotUniform),
        ("GlorotNormal", GlorotNormal),
        ("he_normal", HeNormal),
        ("lecun_uniform", LecunUniform),
        ("orthogonal", Orthogonal),
        (HeUniform, HeUniform),
        (initializers.he_uniform(), HeUniform),
    ],
)
def test_get(identifier, cls):
    assert type(initializers.get(identifier)) is cls


class Ramp(Initializer):
    def __init__(self, start=0.0):
        self.start = start

    def __call__(self, shape, dtype, rng):
        return (self.start + np.arange(math.prod(shape))).reshape(shape).astype(dtype)

    def get_config(self):
        return {"start": self.start}


def test_an_initializer_of_ones_own():
    stored = initializers.serialize(Ramp(1.0))
    np.testing.assert_array_equal(draw(initializers.get(stored, {"Ramp": Ramp}), (3,)), [1, 2, 3])


@pytest.mark.parametrize("initializer", [Zeros(), Constant(2.0), HeNormal(), RandomUniform(seed=3), Orthogonal()])
def test_called_with_a_shape_alone(initializer):
    first, second = initializer((3, 4)), initializer(shape=(3, 4))
    assert (first.shape, first.dtype) == ((3, 4), np.float32)
    repeats = getattr(initializer, "seed", 0) is not None
    assert np.array_equal(first, second) == repeats


def test_an_initializer_of_ones_own_without_a_generator():
    class Halves(Initializer):
        def __call__(self, shape, dtype=None):
            return np.full(shape, 0.5, dtype)

    layer = Dense(2, kernel_initializer=Halves())
    Sequential([Input((3,)), layer])
    np.testing.assert_array_equal(layer.params["kernel"], np.full((3, 2), 0.5))
