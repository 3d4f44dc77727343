"""Winograd's algorithm: its matrices and formulas give the convolution and its derivatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.geometry import place_windows
from minicnn.kernels import convolution, winograd
from tests.kernels.versions import SEEDS, plain

SMALL = st.integers(1, 3)
BOUNDS = {"float32": 1e-6, "float64": 1e-14}
"""Largest error, as a part of the largest value that the sums could have had without cancelling."""


@st.composite
def problems(draw):
    """x, kernel, bias, dy, windows, the transform and its bound: maps down to one output, batches down to none."""
    padding = draw(st.sampled_from(["valid", "same"]))
    least = 3 if padding == "valid" else 1
    n, channels, filters = draw(st.integers(0, 3)), draw(SMALL), draw(SMALL)
    h, w = draw(st.integers(least, 10)), draw(st.integers(least, 10))
    windows = place_windows((h, w), (3, 3), (1, 1), padding, "test")
    rng = np.random.default_rng(draw(SEEDS))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    x = rng.standard_normal((n, h, w, channels))
    kernel, bias = rng.standard_normal((3, 3, channels, filters)), rng.standard_normal(filters)
    dy = rng.standard_normal((n, *windows.out, filters))
    arrays = (array.astype(dtype) for array in (x, kernel, bias, dy))
    return *arrays, windows, winograd.transform_for(dtype), BOUNDS[dtype]


def assert_within(actual, expected, sizes, bound):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max(initial=0) <= bound * sizes.max(initial=0)


def double(*arrays):
    return tuple(array.astype(np.float64) for array in arrays)


def test_in_one_dimension():
    """Two outputs of a kernel of three from four multiplications; small integers, so that it is exact."""
    rng = np.random.default_rng(0)
    transform = winograd.transform_for("float64")
    for _ in range(20):
        d, g = rng.integers(-8, 9, 4).astype(float), rng.integers(-8, 9, 3).astype(float)
        y = transform.at @ ((transform.g @ g) * (transform.bt @ d))
        np.testing.assert_array_equal(y, np.correlate(d, g))


def test_the_formulas_of_the_docstring():
    d0, d1, d2, d3 = d = np.array([3.0, 1, 4, 1])
    g0, g1, g2 = g = np.array([2.0, 7, 1])
    m0, m3 = (d0 - d2) * g0, (d1 - d3) * g2
    m1, m2 = (d1 + d2) * (g0 + g1 + g2) / 2, (d2 - d1) * (g0 - g1 + g2) / 2
    assert [m0 + m1 + m2, m1 - m2 - m3] == [d0 * g0 + d1 * g1 + d2 * g2, d1 * g0 + d2 * g1 + d3 * g2]
    transform = winograd.transform_for("float64")
    np.testing.assert_array_equal((transform.g @ g) * (transform.bt @ d), [m0, m1, m2, m3])


def test_both_directions_at_once():
    """The Kronecker products do to a tile taken flat what the matrices do to its two sides."""
    rng = np.random.default_rng(1)
    transform = winograd.transform_for("float64")
    g = transform.g
    for matrix, side, flat in (
        (transform.kernels, g, 3),
        (transform.kernel_gradients, g.T, 4),
    ):
        tile = rng.standard_normal((flat, flat))
        np.testing.assert_allclose(matrix @ tile.ravel(), (side @ tile @ side.T).ravel(), rtol=0, atol=1e-13)
        assert matrix.flags.c_contiguous
        assert matrix.flags.writeable  # a read-only array is another type to Numba, and compiles once more


def test_one_place_holds_the_sum_of_the_tile():
    """(1, 1): where the loops take dbias from."""
    side = winograd.transform_for("float64").at.T
    np.testing.assert_array_equal((side @ np.array([[1.0, 2], [4, 8]]) @ side.T)[1, 1], 15)


@given(problems())
def test_forward(problem):
    x, kernel, bias, _, windows, transform, bound = problem
    expected = plain(convolution.conv2d_loops, *double(x, kernel, bias), windows)
    sizes = plain(convolution.conv2d_loops, *double(abs(x), abs(kernel), abs(bias)), windows)
    y = winograd.winograd_numpy(x, kernel, bias, windows, transform)
    assert y.dtype == x.dtype
    assert_within(y, expected, sizes, bound)


@given(problems())
def test_derivatives(problem):
    x, kernel, _, dy, windows, transform, bound = problem

    def loops(dy, x, kernel):
        dkernel, dbias = np.empty(kernel.shape), np.empty(kernel.shape[3])
        dx = plain(convolution.conv2d_backward_loops, *double(dy, x, kernel), windows, dkernel, dbias, True)
        return dkernel, dbias, dx

    dkernel, dbias = winograd.winograd_gradient_numpy(x, dy, windows, transform)
    turned = winograd.turned_around(kernel), np.zeros(x.shape[3], x.dtype)
    dx = winograd.winograd_numpy(dy, *turned, winograd.turned_windows(windows, x.shape[1:3]), transform)
    for actual, expected, sizes in zip(
        (dkernel, dbias, dx), loops(dy, x, kernel), loops(abs(dy), abs(x), abs(kernel)), strict=True
    ):
        assert_within(actual, expected, sizes, bound)


def test_blocks_of_strips():
    budget, slots = winograd.BLOCK_BYTES, winograd.SLOTS
    assert winograd.blocks_of_strips(1000, 16, budget // 10) == 104  # of ten strips, about
    assert winograd.blocks_of_strips(1000, 16, 2 * budget) == 1000  # of one strip at least
    assert winograd.blocks_of_strips(1001, 16, 2 * budget) == 1001  # and none of no strip at all
    assert winograd.blocks_of_strips(16, 16, 1) == slots  # shared out
    assert winograd.blocks_of_strips(16, 3, 1) == 3  # but not below 16 tiles
    assert winograd.blocks_of_strips(0, 20, 1) == 0
    assert winograd.blocks_of_strips(160, 5, budget // 17) == 2 * slots  # every slot has as many


@pytest.mark.parametrize("across", [1, 2, 5, 16, 50])
@pytest.mark.parametrize("share", [0.4, 1, 2.5, 17, 400])
def test_no_block_of_strips_is_empty_or_too_small(across, share):
    size = int(winograd.BLOCK_BYTES / share)
    for strips in range(1, 300):
        blocks = winograd.blocks_of_strips(strips, across, size)
        counts = [(block + 1) * strips // blocks - block * strips // blocks for block in range(blocks)]
        assert sum(counts) == strips
        assert min(counts) >= 1
        assert min(counts) * across >= min(16, strips * across) / 2
        assert max(counts) * size <= winograd.BLOCK_BYTES or (max(counts) - 1) * across < 16
