"""Pooling: the versions agree, ties go first, NaN wins, and means are of real cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.geometry import place_windows
from minicnn.kernels import pooling
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

VERSIONS = ("loops", "numpy", "numba")
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
    y, where = plain(pooling.max_pool_loops, x, windows)
    dx = plain(pooling.max_pool_backward_loops, dy, where, x.shape)
    assert where.dtype == np.int32
    assert y.dtype == dx.dtype == x.dtype
    for version in ("numpy", "numba"):
        other_y, other_where = getattr(pooling, f"max_pool_{version}")(x, windows)
        np.testing.assert_array_equal(other_y, y, strict=True)
        np.testing.assert_array_equal(other_where, where, strict=True)
        other_dx = getattr(pooling, f"max_pool_backward_{version}")(dy, where, x.shape)
        np.testing.assert_array_equal(other_dx, dx, strict=True)


@given(problems())
def test_average_pool_versions_agree(problem):
    x, dy, windows = problem
    x = np.nan_to_num(x, nan=0, posinf=1, neginf=-1)
    y = plain(pooling.average_pool_loops, x, windows)
    dx = plain(pooling.average_pool_backward_loops, dy, x.shape, windows)
    for version in ("numpy", "numba"):
        assert_close(getattr(pooling, f"average_pool_{version}")(x, windows), y, 3)
        assert_close(getattr(pooling, f"average_pool_backward_{version}")(dy, x.shape, windows), dx, 9 * 8)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("values", "winner"), [([0, 0, 0, 0], 0), ([1, 5, 5, 5], 1), ([5, 1, 1, 5], 0), ([1, 2, 4, 3], 2)]
)
def test_the_first_largest_value_takes_the_whole_gradient(version, values, winner):
    x = np.array(values, np.float64).reshape(1, 2, 2, 1)
    windows = place_windows((2, 2), (2, 2), (2, 2), "valid", "test")
    y, where = getattr(pooling, f"max_pool_{version}")(x, windows)
    dx = getattr(pooling, f"max_pool_backward_{version}")(np.full((1, 1, 1, 1), 7.0), where, x.shape)
    assert y.item() == max(values)
    np.testing.assert_array_equal(dx.ravel(), 7.0 * (np.arange(4) == winner))


@pytest.mark.parametrize("version", VERSIONS)
def test_padding_is_never_the_largest(version):
    x = -np.arange(1.0, 10).reshape(1, 3, 3, 1)
    y, _ = getattr(pooling, f"max_pool_{version}")(x, place_windows((3, 3), (2, 2), (2, 2), "same", "test"))
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
        y, where = getattr(pooling, f"max_pool_{version}")(np.full((1, 2, 2, 1), value), windows)
        np.testing.assert_array_equal(y.ravel(), [value])
        assert where.item() == 0
