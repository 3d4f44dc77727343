"""Regularizers: values, gradients, configs, and what they refuse."""

import json
import math

import numpy as np
import pytest

from minicnn import regularizers
from minicnn.errors import ConfigError
from minicnn.regularizers import L1, L1L2, L2, Regularizer

W = np.array([[1.0, -2.0], [0.0, 0.5]])


@pytest.mark.parametrize(
    ("regularizer", "value", "gradient"),
    [
        (L1(0.5), 0.5 * 3.5, [[0.5, -0.5], [0.0, 0.5]]),
        (L2(0.5), 0.5 * 5.25, [[1.0, -2.0], [0.0, 0.5]]),
        (L1L2(0.25, 0.5), 0.25 * 3.5 + 0.5 * 5.25, [[1.25, -2.25], [0.0, 0.75]]),
        (L1L2(), 0.0, [[0.0, 0.0], [0.0, 0.0]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_by_hand(regularizer, value, gradient, dtype):
    weights = W.astype(dtype)
    assert regularizer.value(weights) == value
    assert type(regularizer.value(weights)) is float
    assert regularizer(weights.tolist()) == value
    got = regularizer.gradient(weights)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, gradient)
    gradients = np.full_like(weights, 2)
    regularizer.add_gradient(weights, gradients)
    assert gradients.dtype == dtype
    np.testing.assert_array_equal(gradients, 2 + np.array(gradient))
    np.testing.assert_array_equal(weights, W)


@pytest.mark.parametrize("regularizer", [L1(0.3), L2(0.3), L1L2(0.1, 0.7)])
def test_the_gradient_is_the_derivative(regularizer):
    weights = np.random.default_rng(0).uniform(0.1, 1, 6) * [1, -1, 1, -1, 1, -1]  # away from the kink at 0
    numeric = []
    for i in range(weights.size):
        ends = []
        for h in (1e-5, -1e-5):
            shifted = weights.copy()
            shifted[i] += h
            ends.append(regularizer.value(shifted))
        numeric.append((ends[0] - ends[1]) / 2e-5)
    np.testing.assert_allclose(regularizer.gradient(weights), numeric, rtol=1e-8)


def test_values_are_added_up_in_float64():
    weights = np.full(200_000, 2.0**-13, np.float32)
    weights[0] = 1.0  # in float32 each of the others would be lost beside it
    assert L2(1.0).value(weights) == 1 + 199_999 * 2.0**-26
    weights[0] = 4096.0
    assert L1(1.0).value(weights) == 4096 + 199_999 * 2.0**-13


def test_empty_weights_and_weights_that_are_not_contiguous():
    assert L1L2(1.0, 1.0).value(np.zeros((0, 3))) == 0.0
    assert L2(1.0).value(W.T) == 5.25
    assert L2(1.0).value(W[:, 1]) == 4.25


@pytest.mark.parametrize(
    ("identifier", "cls", "config"),
    [
        ("l1", L1, {"l1": 0.01}),
        ("l2", L2, {"l2": 0.01}),
        ("L2", L2, {"l2": 0.01}),
        ("l1_l2", L1L2, {"l1": 0.01, "l2": 0.01}),
        (L2, L2, {"l2": 0.01}),
        (L1L2, L1L2, {"l1": 0.0, "l2": 0.0}),
        (regularizers.l1(), L1, {"l1": 0.01}),
        (regularizers.l2(0.5), L2, {"l2": 0.5}),
        (regularizers.l1_l2(l2=0.5), L1L2, {"l1": 0.0, "l2": 0.5}),
        (L1(None), L1, {"l1": 0.01}),
        (L1L2(None, 1), L1L2, {"l1": 0.0, "l2": 1.0}),
        ({"class_name": "L2", "config": {"l2": 0.0010000000474974513}}, L2, {"l2": 0.0010000000474974513}),
        ({"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}}, L1L2, {"l1": 0.0, "l2": 0.5}),
    ],
)
def test_get_and_config(identifier, cls, config):
    regularizer = regularizers.get(identifier)
    assert type(regularizer) is cls
    assert regularizer.get_config() == config
    stored = json.loads(json.dumps(regularizers.serialize(regularizer)))
    assert stored == {"class_name": cls.__name__, "config": config}
    assert regularizers.get(stored).get_config() == regularizers.deserialize(stored).get_config() == config


def test_none_is_none():
    assert regularizers.get(None) is None
    assert regularizers.serialize(None) is None


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, "0.1", True, 10**400, [0.1]])
def test_factors_that_are_refused(bad):
    for make in (L1, L2, L1L2, lambda l2: L1L2(l2=l2)):
        with pytest.raises(ConfigError, match=r"^L\w+: l[12] must be a finite number of at least 0, got "):
            make(bad)


@pytest.mark.parametrize("bad", ["l3", 0.01, lambda w: 0.0, {"class_name": "Orthogonal", "config": {}}])
def test_get_refuses(bad):
    with pytest.raises(ConfigError, match=r"^regularizer: "):
        regularizers.get(bad)


class Quartic(Regularizer):
    """The sum of w⁴."""

    def value(self, weights):
        return float(np.sum(weights**4))

    def gradient(self, weights):
        return 4 * weights**3


def test_a_regularizer_of_ones_own():
    regularizer = regularizers.get({"class_name": "Quartic", "config": {}}, custom_objects={"Quartic": Quartic})
    gradients = np.ones_like(W)
    regularizer.add_gradient(W, gradients)
    np.testing.assert_array_equal(gradients, [[5.0, -31.0], [1.0, 1.5]])
    assert regularizer(W) == 1 + 16 + 0.0625
