"""Convolution as a product of Toeplitz matrices: its matrices and formulas give the convolution and its derivatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.geometry import place_windows
from minicnn.kernels import convolution, toeplitz
from minicnn.kernels.transforms import SIDES
from tests.kernels.versions import SEEDS, plain

SMALL = st.integers(1, 3)
BOUNDS = {"float32": 2e-6, "float64": 4e-15}
"""Largest error, as a part of the largest value that the sums could have had without cancelling."""


@st.composite
def problems(draw):
    """x, kernel, bias, dy, windows and their bound: kernels of any size, batches down to none."""
    size = draw(st.sampled_from(sorted(toeplitz.SIZES)))
    n, channels, filters = draw(st.integers(0, 3)), draw(SMALL), draw(SMALL)
    window = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    windows = place_windows((size, size), window, (1, 1), "same", "test", dilation)
    rng = np.random.default_rng(draw(SEEDS))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    x = rng.standard_normal((n, size, size, channels))
    kernel, bias = rng.standard_normal((*window, channels, filters)), rng.standard_normal(filters)
    dy = rng.standard_normal((n, size, size, filters))
    return *(array.astype(dtype) for array in (x, kernel, bias, dy)), windows, BOUNDS[dtype]


def assert_within(actual, expected, sizes, bound):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max(initial=0) <= bound * sizes.max(initial=0)


def double(*arrays):
    return tuple(array.astype(np.float64) for array in arrays)


def sides(size):
    kinds = toeplitz.SIZES[size]
    return [np.array(SIDES[kind], float) for kind in (kinds.inputs, kinds.outputs, kinds.gradients)]


@pytest.mark.parametrize("size", sorted(toeplitz.SIZES))
def test_in_one_dimension(size):
    """A row of pixels times the matrix with g(q − p) in row p and column q; small integers, so that it is exact."""
    rng = np.random.default_rng(0)
    b, a, gradients = sides(size)
    for _ in range(20):
        x, g = rng.integers(-8, 9, size).astype(float), rng.integers(-8, 9, 2 * size - 1).astype(float)
        matrix = np.array([[g[q - p + size - 1] for q in range(size)] for p in range(size)])
        np.testing.assert_array_equal(a @ ((toeplitz.kernel_side(size) @ g) * (b @ x)), matrix @ x)
    np.testing.assert_array_equal(gradients, a.T)
    assert toeplitz.SIZES[size].rank == len(b)


def test_the_formulas_of_the_docstring():
    x0, x1 = x = np.array([3.0, 5])
    left, middle, right = g = np.array([2.0, 7, 11])
    m0, m1, m2 = middle * (x0 + x1), (right - middle) * x1, (left - middle) * x0
    b, a, _ = sides(2)
    np.testing.assert_array_equal((toeplitz.kernel_side(2) @ g) * (b @ x), [m0, m1, m2])
    np.testing.assert_array_equal(a @ [m0, m1, m2], [m0 + m1, m0 + m2])
    assert [m0 + m1, m0 + m2] == [middle * x0 + right * x1, left * x0 + middle * x1]


@pytest.mark.parametrize("size", sorted(toeplitz.SIZES))
def test_the_first_place_holds_the_sum_of_the_map(size):
    """Where the loops take dbias from."""
    side, dz = sides(size)[2], np.arange(size * size, dtype=float).reshape(size, size) ** 2
    assert (side @ dz @ side.T)[0, 0] == dz.sum()


def test_matrices_suit_the_kernels():
    windows = place_windows((4, 4), (5, 5), (1, 1), "same", "test")
    matrix = toeplitz.kernel_matrix(windows, 4, "float32")
    assert matrix.shape == (81, 25)
    assert matrix.dtype == np.float32
    assert matrix.flags.carray  # a read-only array is another type to Numba, and compiles once more


@given(problems())
def test_forward(problem):
    x, kernel, bias, _, windows, bound = problem
    expected = plain(convolution.conv2d_loops, *double(x, kernel, bias), windows)
    sizes = plain(convolution.conv2d_loops, *double(abs(x), abs(kernel), abs(bias)), windows)
    y = toeplitz.toeplitz_numpy(x, kernel, bias, windows)
    assert y.dtype == x.dtype
    assert_within(y, expected, sizes, bound)


@given(problems())
def test_derivatives(problem):
    x, kernel, _, dy, windows, bound = problem

    def loops(dy, x, kernel):
        dkernel, dbias = np.empty(kernel.shape), np.empty(kernel.shape[3])
        dx = plain(convolution.conv2d_backward_loops, *double(dy, x, kernel), windows, dkernel, dbias, True)
        return dkernel, dbias, dx

    dkernel, dbias = toeplitz.toeplitz_gradient_numpy(x, dy, windows)
    dx = toeplitz.toeplitz_input_gradient_numpy(dy, kernel, windows)
    for actual, expected, sizes in zip(
        (dkernel, dbias, dx), loops(dy, x, kernel), loops(abs(dy), abs(x), abs(kernel)), strict=True
    ):
        assert_within(actual, expected, sizes, bound)
