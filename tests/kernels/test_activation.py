"""Activations: loops, NumPy and Numba agree, also for huge numbers, and kinks have TensorFlow's derivative."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import activation
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

# operation: the numbers after the arrays
OPERATIONS = {
    "relu": (),
    "leaky_relu": (0.2,),
    "elu": (1.5,),
    "sigmoid": (),
    "silu": (),
    "softplus": (),
    "tanh": (),
    "gelu": (),
}
EXTREMES = [0.0, 1e-30, 1e-3, 1.0, 20.0, 90.0, 710.0, 1e4, 1e30]


def numbers(name, dtype):
    return tuple(np.dtype(dtype).type(value) for value in OPERATIONS[name])


def versions(name, x, dy):
    """(y, dx) of each version, all from the loops' y."""
    after = numbers(name, x.dtype)
    expected = plain(getattr(activation, f"{name}_loops"), x, *after)
    for version in ("loops", "numpy", "numba"):
        forward, backward = (getattr(activation, f"{name}{part}_{version}") for part in ("", "_backward"))
        yield version, plain(forward, x, *after), plain(backward, dy, x, expected, *after)


@pytest.mark.parametrize("name", OPERATIONS)
@given(size=st.integers(0, 40), scale=st.sampled_from([0.01, 1, 10]), dtype=DTYPES, seed=SEEDS)
def test_versions_agree(name, size, scale, dtype, seed):
    rng = np.random.default_rng(seed)
    x, dy = (scale * rng.standard_normal((2, size))).astype(dtype)
    x[: size // 8] = 0  # kinks included
    (_, y, dx), *others = versions(name, x, dy)
    for _, other_y, other_dx in others:
        assert_close(other_y, y)
        assert_close(other_dx, dx, np.abs(dy).max(initial=0), units=64)  # silu and gelu: a difference of larger numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPERATIONS)
def test_large_numbers_neither_overflow_nor_become_nan(name, dtype):
    x = np.array([-v for v in EXTREMES] + EXTREMES, dtype)
    dy = np.ones_like(x)
    after = numbers(name, dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = getattr(activation, f"{name}_numpy")(x, *after)
        dx = getattr(activation, f"{name}_backward_numpy")(dy, x, y, *after)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    for version, other_y, other_dx in versions(name, x, dy):
        np.testing.assert_allclose(other_y, y, rtol=32 * np.finfo(dtype).eps, atol=1e-37, err_msg=version)
        np.testing.assert_allclose(other_dx, dx, rtol=32 * np.finfo(dtype).eps, atol=1e-37, err_msg=version)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPERATIONS)
def test_nan_passes_through_and_touches_nothing_else(name, dtype):
    x = np.array([1.0, np.nan, -1.0], dtype)
    for version, y, _ in versions(name, x, np.ones_like(x)):
        np.testing.assert_array_equal(np.isnan(y), [False, True, False], err_msg=version)


@pytest.mark.parametrize(
    ("name", "at_zero"),
    [("relu", 0), ("leaky_relu", 0.2), ("elu", 1.5), ("sigmoid", 0.25), ("silu", 0.5), ("softplus", 0.5), ("tanh", 1)],
)
def test_derivative_at_zero_is_that_of_tensorflow(name, at_zero):
    for version, _, dx in versions(name, np.zeros(1), np.ones(1)):
        assert dx.item() == at_zero, version


@pytest.mark.parametrize(
    ("name", "expected"),  # at −1, 0.5 and 2, from the formulas with 30 digits
    [
        ("relu", [0, 0.5, 2]),
        ("leaky_relu", [-0.2, 0.5, 2]),
        ("elu", [1.5 * (np.exp(-1) - 1), 0.5, 2]),
        ("sigmoid", [0.26894142136999512, 0.62245933120185456, 0.88079707797788244]),
        ("silu", [-0.26894142136999512, 0.31122966560092728, 1.7615941559557649]),
        ("softplus", [0.31326168751822284, 0.97407698418010669, 2.1269280110429725]),
        ("tanh", [-0.76159415595576489, 0.46211715726000976, 0.96402758007581688]),
        ("gelu", [-0.15865525393145705, 0.34573123063700656, 1.9544997361036416]),
    ],
)
def test_values(name, expected):
    x = np.array([-1, 0.5, 2])
    for version, y, _ in versions(name, x, x):
        np.testing.assert_allclose(y, expected, rtol=4e-16, err_msg=version)
