"""Squared norms and penalties: loops, NumPy and Numba agree, in float64, whatever the number of threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.kernels import norms

VERSIONS = pytest.mark.parametrize("version", ["loops", "numpy", "in_lanes", "numba"])
SIZES = st.sampled_from([0, 1, norms.LANES - 1, norms.LANES, norms.LANES + 1, norms.BLOCK, 2 * norms.BLOCK + 3])
FACTORS = st.sampled_from([(0.0, 0.0), (0.01, 0.0), (0.0, 0.01), (0.5, 0.25)])


def function(operation, version):
    return getattr(norms, f"{operation}_{version}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@VERSIONS
@settings(deadline=None, max_examples=12)  # the first example compiles
@given(size=SIZES, factors=FACTORS, seed=st.integers(0, 2**32 - 1))
def test_versions_agree(version, dtype, size, factors, seed):
    weights, before = np.random.default_rng(seed).standard_normal((2, size)).astype(dtype)
    weights[: size // 4] = 0  # where the sign is 0
    expected, slopes = before.copy(), before.copy()
    value = norms.penalty_loops(weights, expected, *factors)
    assert function("penalty", version)(weights, slopes, *factors) == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(slopes, expected, rtol=0, atol=8 * np.finfo(dtype).eps)
    assert function("penalty", version)(weights, weights[:0], *factors) == pytest.approx(value, rel=1e-13)
    norm = np.sum(np.square(weights, dtype=np.float64))
    assert function("squared_norm", version)(weights) == pytest.approx(norm, rel=1e-13)


@VERSIONS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_penalty_by_hand(version, dtype):
    weights, gradients = np.array([1, -2, 0, 0.5], dtype), np.full(4, 2, dtype)
    assert function("penalty", version)(weights, gradients, 0.25, 0.5) == 0.25 * 3.5 + 0.5 * 5.25
    np.testing.assert_array_equal(gradients, [3.25, -0.25, 2, 2.75])
    np.testing.assert_array_equal(weights, [1, -2, 0, 0.5])


@VERSIONS
def test_sums_neither_overflow_nor_forget(version):
    squared_norm, penalty = function("squared_norm", version), function("penalty", version)
    large, none = np.full(3, 2.0**100, np.float32), np.empty(0, np.float32)
    assert squared_norm(large) == penalty(large, none, 0.0, 1.0) == 3 * 2.0**200
    many = np.full(3 * norms.BLOCK, 2.0**-13, np.float32)
    many[0] = 1.0  # in float32 each of the others would be lost beside it
    assert squared_norm(many) == penalty(many, none, 0.0, 1.0) == 1 + (many.size - 1) * 2.0**-26
    many[0] = 4096.0
    assert penalty(many, none, 1.0, 0.0) == 4096 + (many.size - 1) * 2.0**-13
    assert squared_norm(none) == penalty(none, none, 1.0, 1.0) == 0.0


@VERSIONS
def test_nan_is_handed_on(version):
    weights, gradients = np.array([1.0, np.nan]), np.zeros(2)
    assert np.isnan(function("squared_norm", version)(weights))
    assert np.isnan(function("penalty", version)(weights, gradients, 0.5, 0.5))
    assert gradients[0] == 1.5
    assert np.isnan(gradients[1])


def test_bits_do_not_depend_on_the_threads(threads):
    weights, before = np.random.default_rng(0).standard_normal((2, 5 * norms.BLOCK + 7)).astype(np.float32)
    results = []
    for count in (1, 2):
        threads(count)
        gradients = before.copy()
        value = norms.penalty_numba(weights, gradients, 0.3, 0.7)
        results.append((value, norms.squared_norm_numba(weights), gradients.tobytes()))
    assert all(result == results[0] for result in results)


def test_one_compiled_signature_a_dtype():
    for dtype in (np.float32, np.float64):
        weights = np.ones(5, dtype)
        norms.squared_norm_numba(weights)
        norms.penalty_numba(weights, weights.copy(), 0.0, 0.5)
    assert len(norms.squared_norm_numba.signatures) == len(norms.penalty_numba.signatures) == 2
