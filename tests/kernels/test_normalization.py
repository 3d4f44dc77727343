"""Batch normalization: the versions agree, and statistics are the batch's own, biased variance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import normalization
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

ROWS = [1, 2, 3, normalization.SLOTS - 1, normalization.SLOTS, normalization.SLOTS + 1, 50]


def run(version, function, *args):
    return plain(getattr(normalization, f"batch_norm_{function}_{version}"), *args)


@given(
    rows=st.sampled_from(ROWS), channels=st.integers(1, 4), offset=st.sampled_from([0, 10]), dtype=DTYPES, seed=SEEDS
)
def test_versions_agree(rows, channels, offset, dtype, seed):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((rows, channels)) + offset).astype(dtype)
    dy = rng.standard_normal((rows, channels)).astype(dtype)
    gamma, beta = rng.standard_normal((2, channels)).astype(dtype)
    mean, variance = run("loops", "statistics", x)
    inverse = (1 / np.sqrt(variance + dtype(1e-3))).astype(dtype)
    y = run("loops", "apply", x, mean, inverse, gamma, beta)
    sums = run("loops", "sums", dy, x, mean, inverse)
    dx = run("loops", "backward", dy, x, mean, inverse, gamma, *sums)
    size = np.abs(gamma * inverse).max() * max(1, np.abs(x - mean).max())
    for version in ("numpy", "numba"):
        for actual, expected in zip(run(version, "statistics", x), (mean, variance), strict=True):
            assert_close(actual, expected, max(1, np.abs(expected).max()))
        assert_close(run(version, "apply", x, mean, inverse, gamma, beta), y, max(size, np.abs(y).max()))
        for actual, expected in zip(run(version, "sums", dy, x, mean, inverse), sums, strict=True):
            assert_close(actual, expected, rows * max(1, np.abs((x - mean) * inverse).max()))
        other = run(version, "backward", dy, x, mean, inverse, gamma, *sums)
        assert_close(other, dx, np.abs(gamma * inverse).max() * np.abs(dy).max() * max(1, rows), units=32)


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
def test_values(version):
    x = np.array([[1.0], [2], [3], [6]])
    mean, variance = run(version, "statistics", x)
    assert (mean.item(), variance.item()) == (3.0, 3.5)
    inverse = 1 / np.sqrt(variance + 1e-3)
    y = run(version, "apply", x, mean, inverse, np.ones(1), np.zeros(1))
    np.testing.assert_allclose(y.ravel(), [-1.0688924, -0.5344462, 0, 1.6033385], atol=5e-8)  # Keras


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
def test_a_far_mean_does_not_swallow_the_variance(version):
    """In one pass over float32, E[x²] − E[x]² of these would be lost in rounding: two passes, summed in float64."""
    x = (np.array([[0.0], [1], [2], [3]]) + 4096).astype(np.float32)
    mean, variance = run(version, "statistics", x)
    assert (mean.item(), variance.item()) == (4097.5, 1.25)


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
def test_no_rows_have_no_gradient(version):
    nothing, one = np.zeros((0, 2)), np.ones(2)
    for total in run(version, "sums", nothing, nothing, one, one):
        np.testing.assert_array_equal(total, [0, 0])
    assert run(version, "apply", nothing, one, one, one, one).shape == (0, 2)
    assert run(version, "backward", nothing, nothing, one, one, one, one, one).shape == (0, 2)
