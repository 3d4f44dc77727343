"""Batch normalization: the versions agree, and statistics are the batch's own, biased variance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import normalization
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

VERSIONS = ("loops", "numpy", "blocked", "numba")
ROWS = [1, 2, 3, normalization.SLOTS - 1, normalization.SLOTS, normalization.SLOTS + 1, 50, 300]


def run(version, function, *args):
    return plain(getattr(normalization, f"batch_norm_{function}_{version}"), *args)


def assert_versions_agree(versions, x, dy, gamma, beta):
    rows, dtype = len(x), x.dtype.type
    mean, variance = run("loops", "statistics", x)
    inverse = (1 / np.sqrt(variance + dtype(1e-3))).astype(dtype)
    y = run("loops", "apply", x, mean, inverse, gamma, beta)
    sums = run("loops", "sums", dy, x, mean, inverse)
    dx = run("loops", "backward", dy, x, mean, inverse, gamma, *sums)
    size = np.abs(gamma * inverse).max() * max(1, np.abs(x - mean).max())
    for version in versions:
        for actual, expected in zip(run(version, "statistics", x), (mean, variance), strict=True):
            assert_close(actual, expected, max(1, np.abs(expected).max()))
        assert_close(run(version, "apply", x, mean, inverse, gamma, beta), y, max(size, np.abs(y).max()))
        for actual, expected in zip(run(version, "sums", dy, x, mean, inverse), sums, strict=True):
            assert_close(actual, expected, rows * max(1, np.abs((x - mean) * inverse).max()))
        other = run(version, "backward", dy, x, mean, inverse, gamma, *sums)
        assert_close(other, dx, np.abs(gamma * inverse).max() * np.abs(dy).max() * max(1, rows), units=32)


def problem(rows, channels, offset, dtype, seed):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((rows, channels)) + offset).astype(dtype)
    dy = rng.standard_normal((rows, channels)).astype(dtype)
    return x, dy, *rng.standard_normal((2, channels)).astype(dtype)


@given(
    rows=st.sampled_from(ROWS), channels=st.integers(1, 4), offset=st.sampled_from([0, 10]), dtype=DTYPES, seed=SEEDS
)
def test_versions_agree(rows, channels, offset, dtype, seed):
    assert_versions_agree(VERSIONS[1:], *problem(rows, channels, offset, dtype, seed))


@given(rows=st.integers(1, 200), channels=st.integers(1, 11), dtype=DTYPES, seed=SEEDS)
def test_the_plain_loops_agree_with_many_short_runs_and_blocks(rows, channels, dtype, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalization, "RUN", 8)
        patch.setattr(normalization, "BLOCK", 2)
        assert_versions_agree(["blocked"], *problem(rows, channels, 3, dtype, seed))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "channels"), [(20011, 3), (3001, 16), (2500, 64), (2200, 300)])
def test_versions_agree_on_many_blocks(rows, channels, dtype):
    x, dy, gamma, beta = problem(rows, channels, 10, dtype, 0)
    exact = x.astype(np.longdouble)
    for actual, expected in zip(run("numba", "statistics", x), (exact.mean(0), exact.var(0)), strict=True):
        assert_close(actual, expected.astype(dtype), units=8)
    mean, variance = run("numpy", "statistics", x)
    inverse = (1 / np.sqrt(variance + dtype(1e-3))).astype(dtype)
    sums = run("numpy", "sums", dy, x, mean, inverse)
    for name, *args in (
        ("apply", x, mean, inverse, gamma, beta),
        ("backward", dy, x, mean, inverse, gamma, *sums),
    ):
        assert_close(run("numba", name, *args), run("numpy", name, *args), units=4)
    terms = dy * ((exact - mean) * inverse), dy.astype(np.longdouble)
    for actual, term in zip(run("numba", "sums", dy, x, mean, inverse), terms, strict=True):
        assert_close(actual, term.sum(0).astype(dtype), np.abs(term).sum(0).max(), units=1)


@pytest.mark.parametrize("version", VERSIONS)
def test_values(version):
    x = np.array([[1.0], [2], [3], [6]])
    mean, variance = run(version, "statistics", x)
    assert (mean.item(), variance.item()) == (3.0, 3.5)
    inverse = 1 / np.sqrt(variance + 1e-3)
    y = run(version, "apply", x, mean, inverse, np.ones(1), np.zeros(1))
    np.testing.assert_allclose(y.ravel(), [-1.0688924, -0.5344462, 0, 1.6033385], atol=5e-8)  # Keras


@pytest.mark.parametrize("version", VERSIONS)
def test_a_far_mean_does_not_swallow_the_variance(version):
    """In float32, E[x²] − E[x]² of these would be lost in rounding: sums are of differences, and in float64."""
    x = (np.array([[0.0], [1], [2], [3]]) + 4096).astype(np.float32)
    mean, variance = run(version, "statistics", x)
    assert (mean.item(), variance.item()) == (4097.5, 1.25)


FAR = {
    "a mean of 10,000 deviations": lambda rng, x: x + 1e4,
    "a mean of 100,000 deviations": lambda rng, x: x + 1e5,
    "an outlier in the first row": lambda rng, x: np.concatenate([np.full((1, x.shape[1]), 1e5), x]),
    "rows in order": lambda rng, x: np.sort(1000 * x, axis=0),
    "a jump half way": lambda rng, x: x + 1e5 * (np.arange(len(x)) > len(x) // 2)[:, None],
    "zeros but for a few": lambda rng, x: np.where(rng.random(x.shape) < 1e-3, 1e4 + x, 0),
}


@pytest.mark.parametrize("name", FAR)
@pytest.mark.parametrize("channels", [3, 64, 300])
def test_statistics_are_accurate_for_any_mean_and_order(name, channels):
    """Of float32 numbers as they stand: the variance within 1e-6 of float64's, the mean within 1e-7 of the deviation.

    Or, if that is more, within the mean's own rounding to float32.
    """
    rng = np.random.default_rng(0)
    x = FAR[name](rng, rng.standard_normal((30_000 if channels < 100 else 6_000, channels))).astype(np.float32)
    exact = x.astype(np.float64)
    for version in ("numba", "numpy"):
        mean, variance = run(version, "statistics", x)
        np.testing.assert_allclose(mean, exact.mean(0), rtol=1.2e-7, atol=1e-7 * exact.std(0).max())
        np.testing.assert_allclose(variance, exact.var(0), rtol=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_rows_have_no_gradient(version):
    nothing, one = np.zeros((0, 2)), np.ones(2)
    for total in run(version, "sums", nothing, nothing, one, one):
        np.testing.assert_array_equal(total, [0, 0])
    assert run(version, "apply", nothing, one, one, one, one).shape == (0, 2)
    assert run(version, "backward", nothing, nothing, one, one, one, one, one).shape == (0, 2)
