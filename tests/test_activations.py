"""Activations as objects: names, configs, values through both kernel sets, and a caller's own."""

import pickle

import numpy as np
import pytest

from minicnn import activations
from minicnn.errors import ConfigError
from minicnn.kernels import NUMBA, NUMPY
from minicnn.layers import Dense

NAMES = ["linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "tanh", "softplus", "softmax"]


def test_the_names_are_keras_names():
    assert {activations.get(name).name for name in activations.ACTIVATIONS} == set(NAMES)
    assert activations.get("swish") == activations.silu
    assert activations.get(None) == activations.linear


@pytest.mark.parametrize("name", NAMES)
def test_get_and_serialize(name):
    activation = activations.get(name)
    assert activation == getattr(activations, name)
    assert activations.serialize(activation) == name
    assert activations.get(type(activation)) == activation
    assert activations.get(activation) is activation
    assert pickle.loads(pickle.dumps(activation)) == activation
    assert hash(activation) == hash(activations.get(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_dtypes_and_kernel_sets(name, dtype):
    activation = activations.get(name)
    rng = np.random.default_rng(0)
    for shape in ((3, 4), (2, 3, 2, 5), (0, 4)):
        x, dy = rng.standard_normal((2, *shape)).astype(dtype)
        before = x.copy(), dy.copy()
        y, dx = activation.value(x), activation.gradient(dy, x, activation.value(x))
        for kernels in (NUMPY, NUMBA):
            for actual, expected in (
                (activation.forward(x, kernels), y),
                (activation.backward(dy, x, y, kernels), dx),
            ):
                assert actual.shape == shape
                assert actual.dtype == dtype
                np.testing.assert_allclose(actual, expected, rtol=0, atol=32 * np.finfo(dtype).eps)
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(dy, before[1])
        np.testing.assert_array_equal(activation(x), y)


@pytest.mark.parametrize(
    ("activation", "expected"),  # at −2, 0 and 3
    [
        (activations.linear, [-2, 0, 3]),
        (activations.relu, [0, 0, 3]),
        (activations.leaky_relu, [-0.4, 0, 3]),
        (activations.LeakyRelu(0.5), [-1, 0, 3]),
        (activations.elu, [np.expm1(-2), 0, 3]),
        (activations.Elu(2.0), [2 * np.expm1(-2), 0, 3]),
        (activations.selu, [1.0507009873554805 * 1.6732632423543772 * np.expm1(-2), 0, 3 * 1.0507009873554805]),
        (activations.gelu, [-2 * 0.022750131948179212, 0, 3 * 0.99865010196836989]),
        (activations.silu, [-2 / (1 + np.exp(2)), 0, 3 / (1 + np.exp(-3))]),
        (activations.sigmoid, [1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-3))]),
        (activations.tanh, [np.tanh(-2), 0, np.tanh(3)]),
        (activations.softplus, [np.log1p(np.exp(-2)), np.log(2), np.log1p(np.exp(3))]),
    ],
    ids=str,
)
def test_values(activation, expected):
    np.testing.assert_allclose(activation(np.array([-2.0, 0, 3])), expected, rtol=1e-14)


def test_softmax_is_along_the_last_axis():
    x = np.log([[1.0, 3], [2, 2]])
    np.testing.assert_allclose(activations.softmax(x), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-15)
    np.testing.assert_allclose(activations.softmax(x[None] + 1000), [[[0.25, 0.75], [0.5, 0.5]]], rtol=1e-12)


def test_calls_cast_integers_and_lists_as_keras_does():
    y = activations.relu([-1, 2])
    np.testing.assert_array_equal(y, np.array([0, 2], np.float32), strict=True)


@pytest.mark.parametrize(
    ("activation", "config"),
    [
        (activations.LeakyRelu(0.4), {"class_name": "leaky_relu", "config": {"negative_slope": 0.4}}),
        (activations.Elu(0.7), {"class_name": "elu", "config": {"alpha": 0.7}}),
        (activations.LeakyRelu(), "leaky_relu"),
    ],
)
def test_arguments_that_differ_from_the_defaults_are_kept(activation, config):
    assert activations.serialize(activation) == config
    assert activations.get(config) == activations.deserialize(config) == activation
    assert activation != activations.relu


class Cube(activations.Activation):
    def __init__(self, factor=1.0):
        self.factor = factor

    def value(self, x):
        return self.factor * x**3

    def gradient(self, dy, x, y):
        return 3 * self.factor * dy * x**2

    def get_config(self):
        return {"factor": self.factor}


class Scaled(activations.Activation):
    def __init__(self, factor):
        self.factor = factor

    def value(self, x):
        return self.factor * x

    def get_config(self):
        return {"factor": self.factor}


def test_a_callers_own_with_a_required_argument():
    config = activations.serialize(Scaled(2.0))
    assert config == {"class_name": "Scaled", "config": {"factor": 2.0}}
    assert activations.get(config, {"Scaled": Scaled}).factor == 2.0
    assert Dense(3, activation=Scaled(2.0)).get_config()["activation"] == config


def test_a_callers_own():
    cube = activations.get(Cube(2.0))
    assert cube.name == "cube"
    np.testing.assert_array_equal(cube(np.array([1.0, -2])), [2, -16])
    config = activations.serialize(cube)
    assert config == {"class_name": "Cube", "config": {"factor": 2.0}}
    assert activations.get(config, {"Cube": Cube}) == cube
    with pytest.raises(ConfigError, match="unknown name 'Cube'"):
        activations.get(config)
    x = np.array([1.0, 2], np.float32)
    assert cube.forward(x, NUMBA).dtype == cube.backward(x, x, x, NUMBA).dtype == np.float32


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        (np.tanh, "A plain function has no derivative here: subclass minicnn's Activation"),
        (lambda x: x, "A plain function has no derivative here"),
        ("rlu", "did you mean 'relu'"),
        (3, "expected a name"),
        ({"class_name": "exec", "config": {}}, "unknown name 'exec'"),
        ({"config": {}}, "expected a name"),
    ],
)
def test_what_is_refused(identifier, message):
    with pytest.raises(ConfigError) as error:
        activations.get(identifier)
    assert message in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "a", None])
def test_numbers_must_be_finite(value):
    with pytest.raises(ConfigError, match="negative_slope must be a finite number"):
        activations.LeakyRelu(value)
    with pytest.raises(ConfigError, match="alpha must be a finite number"):
        activations.Elu(value)


def test_the_base_class_alone_computes_nothing():
    with pytest.raises(NotImplementedError):
        activations.Activation()(np.ones(2))


def test_calls_take_kerass_arguments():
    x = np.array([-1.0, 2.0])
    np.testing.assert_array_equal(activations.leaky_relu(x, 0.5), [-0.5, 2])
    np.testing.assert_array_equal(activations.leaky_relu(x, negative_slope=0.25), [-0.25, 2])
    np.testing.assert_array_equal(activations.LeakyRelu(0.5)(x), [-0.5, 2])
    np.testing.assert_array_equal(activations.elu(x, alpha=2.0), 2 * activations.elu(x) * (x < 0) + x * (x > 0))
    np.testing.assert_array_equal(activations.relu(x, 0.0, None, 0.0), [0, 2])
    np.testing.assert_array_equal(activations.softmax(x, axis=-1), activations.softmax(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: activations.relu(x, 0.5), "relu: negative_slope=0.5 is not supported by minicnn; leave it at 0.0."),
        (
            lambda x: activations.relu(x, max_value=6),
            "relu: max_value=6 is not supported by minicnn; leave it at None.",
        ),
        (lambda x: activations.gelu(x, True), "gelu: approximate=True is not supported by minicnn; leave it at False."),
        (lambda x: activations.softmax(x, 0), "softmax: axis=0 is not supported by minicnn; leave it at -1."),
        (lambda x: activations.tanh(x, axis=0), "tanh: unknown argument 'axis'; see help(tanh)."),
    ],
)
def test_other_arguments_of_calls_are_refused(call, message):
    with pytest.raises(ConfigError) as error:
        call(np.ones((2, 2)))
    assert str(error.value) == message


def test_an_activation_written_for_keras_is_told_what_to_write():
    class Own(activations.Activation):
        def call(self, x):
            return x

    class Half(activations.Activation):
        def value(self, x):
            return x

    x = np.ones((1, 2))
    with pytest.raises(NotImplementedError) as error:
        Own()(x)
    assert str(error.value) == ("Own: minicnn has no automatic differentiation: write value(x) and gradient(dy, x, y).")
    with pytest.raises(NotImplementedError) as error:
        Half().backward(x, x, x, NUMPY)
    assert str(error.value) == "Half: minicnn has no automatic differentiation: write gradient(dy, x, y)."
