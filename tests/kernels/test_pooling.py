"""Pooling: the versions agree, ties go first, NaN wins, and means are of real cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.geometry import place_windows
from minicnn.kernels import pooling
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

VERSIONS = ("loops", "numpy", "blocked", "numba")
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def problems(draw):
    """x, dy and windows: any padding and strides, down to 1x1 maps and empty batches; many ties, some NaN."""
    size, strides, padding = draw(PAIRS), draw(PAIRS), draw(st.sampled_from(["valid", "same"]))
    h, w = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    if padding == "valid":
        h, w = max(h, size[0]), max(w, size[1])
    windows = place_windows((h, w), size, strides, padding, "test")
    n, channels = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    rng, dtype = np.random.default_rng(draw(SEEDS)), draw(DTYPES)
    x = rng.integers(-3, 3, (n, h, w, channels)).astype(dtype)
    if draw(st.booleans()):
        x[rng.random(x.shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    dy = rng.integers(-8, 9, (n, *windows.out, channels)).astype(dtype)  # integers: sums are exact in any order
    return x, dy, windows


@given(problems())
def test_max_pool_versions_agree_exactly(problem):
    x, dy, windows = problem
    y = plain(pooling.max_pool_loops, x, windows)
    dx = plain(pooling.max_pool_backward_loops, dy, x, y, windows)
    assert y.dtype == dx.dtype == x.dtype
    for version in ("numpy", "blocked", "numba"):
        other_y = plain(getattr(pooling, f"max_pool_{version}"), x, windows)
        np.testing.assert_array_equal(other_y, y, strict=True)
        other_dx = plain(getattr(pooling, f"max_pool_backward_{version}"), dy, x, y, windows)
        np.testing.assert_array_equal(other_dx, dx, strict=True)


@given(problems())
def test_average_pool_versions_agree(problem):
    x, dy, windows = problem
    y = plain(pooling.average_pool_loops, x, windows)
    dx = plain(pooling.average_pool_backward_loops, dy, x.shape, windows)
    for version in ("numpy", "blocked", "numba"):
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            other = getattr(pooling, f"average_pool_{version}")(x, windows)
        finite = np.isfinite(y)
        np.testing.assert_array_equal(other[~finite], y[~finite])
        assert_close(other[finite], y[finite], 3)
        assert_close(getattr(pooling, f"average_pool_backward_{version}")(dy, x.shape, windows), dx, 9 * 8)


@pytest.mark.parametrize("channels", [16, 40])
@pytest.mark.parametrize(("size", "strides"), [((3, 3), (2, 2)), ((2, 2), (2, 2)), ((2, 5), (1, 3))])
def test_vector_code_agrees_on_channels_that_fill_vectors(channels, size, strides):
    """Also with ties, which relu's zeros make, and with NaN."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((3, 7, 8, channels)), 0).astype(np.float32)
    x[rng.random(x.shape) < 0.02] = np.nan
    windows = place_windows((7, 8), size, strides, "same", "test")
    dy = rng.integers(-8, 9, (3, *windows.out, channels)).astype(np.float32)
    y = pooling.max_pool_numpy(x, windows)
    np.testing.assert_array_equal(pooling.max_pool_numba(x, windows), y, strict=True)
    dx = pooling.max_pool_backward_numpy(dy, x, y, windows)
    np.testing.assert_array_equal(pooling.max_pool_backward_numba(dy, x, y, windows), dx, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("values", "winner"), [([0, 0, 0, 0], 0), ([1, 5, 5, 5], 1), ([5, 1, 1, 5], 0), ([1, 2, 4, 3], 2)]
)
def test_the_first_largest_value_takes_the_whole_gradient(version, values, winner):
    x = np.array(values, np.float64).reshape(1, 2, 2, 1)
    windows = place_windows((2, 2), (2, 2), (2, 2), "valid", "test")
    y = getattr(pooling, f"max_pool_{version}")(x, windows)
    dx = getattr(pooling, f"max_pool_backward_{version}")(np.full((1, 1, 1, 1), 7.0), x, y, windows)
    assert y.item() == max(values)
    np.testing.assert_array_equal(dx.ravel(), 7.0 * (np.arange(4) == winner))


@pytest.mark.parametrize("version", VERSIONS)
def test_padding_is_never_the_largest(version):
    x = -np.arange(1.0, 10).reshape(1, 3, 3, 1)
    y = getattr(pooling, f"max_pool_{version}")(x, place_windows((3, 3), (2, 2), (2, 2), "same", "test"))
    np.testing.assert_array_equal(y.ravel(), [-1, -3, -7, -9])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("size", "stride", "expected"), [(2, 2, [3, 4.5, 7.5, 9]), (3, 1, [3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7])]
)
def test_a_mean_counts_real_cells_only(version, size, stride, expected):
    x = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    windows = place_windows((3, 3), (size, size), (stride, stride), "same", "test")
    y = getattr(pooling, f"average_pool_{version}")(x, windows)
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-15)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_window_of_nan_or_of_minus_infinity_has_a_winner(version):
    windows = place_windows((2, 2), (2, 2), (2, 2), "valid", "test")
    for value in (np.nan, -np.inf):
        x = np.full((1, 2, 2, 1), value)
        y = getattr(pooling, f"max_pool_{version}")(x, windows)
        np.testing.assert_array_equal(y.ravel(), [value])
        dx = getattr(pooling, f"max_pool_backward_{version}")(np.full((1, 1, 1, 1), 7.0), x, y, windows)
        np.testing.assert_array_equal(dx.ravel(), [7, 0, 0, 0])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_nan_of_a_window_wins(version):
    x = np.array([5, np.nan, np.nan, np.inf]).reshape(1, 2, 2, 1)
    windows = place_windows((2, 2), (2, 2), (2, 2), "valid", "test")
    y = getattr(pooling, f"max_pool_{version}")(x, windows)
    dx = getattr(pooling, f"max_pool_backward_{version}")(np.full((1, 1, 1, 1), 7.0), x, y, windows)
    assert np.isnan(y.item())
    np.testing.assert_array_equal(dx.ravel(), [0, 7, 0, 0])
