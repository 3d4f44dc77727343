"""Transposed convolution: its versions agree, and it is the transpose of conv2d."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.geometry import place_windows, transposed_size
from minicnn.kernels import convolution, transposed_convolution
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

SMALL = st.integers(1, 3)
PAIRS = st.tuples(SMALL, SMALL)
VERSIONS = ("numpy", "numba")


@st.composite
def problems(draw):
    """x, kernel, bias, dy, windows, map size: any convolution's geometry, the other way round."""
    size, strides, dilation = draw(PAIRS), draw(PAIRS), draw(PAIRS)
    padding = draw(st.sampled_from(["valid", "same"]))
    n, channels, filters = draw(st.integers(0, 3)), draw(SMALL), draw(SMALL)
    h, w = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    if padding == "valid":
        h, w = max(h, (size[0] - 1) * dilation[0] + 1), max(w, (size[1] - 1) * dilation[1] + 1)
    windows = place_windows((h, w), size, strides, padding, "test", dilation)
    rng, dtype = np.random.default_rng(draw(SEEDS)), draw(DTYPES)
    shapes = (n, *windows.out, channels), (*size, filters, channels), (filters,), (n, h, w, filters)
    x, kernel, bias, dy = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return x, kernel, bias, dy, windows, (h, w)


@given(problems())
def test_forward_versions_agree(problem):
    x, kernel, bias, _, windows, size = problem
    loops = transposed_convolution.conv2d_transpose_loops
    expected = plain(loops, x, kernel, bias, windows, size)
    sizes = plain(loops, abs(x), abs(kernel), abs(bias), windows, size).max(initial=0)
    for version in VERSIONS:
        function = getattr(transposed_convolution, f"conv2d_transpose_{version}")
        assert_close(function(x, kernel, bias, windows, size), expected, sizes)


@given(problems(), st.booleans())
def test_backward_versions_agree(problem, need_dx):
    x, kernel, _, dy, windows, _ = problem

    def run(version, dy, x, kernel, need_dx):
        dkernel, dbias = np.full_like(kernel, np.nan), np.full(kernel.shape[2], np.nan, kernel.dtype)
        return plain(version, dy, x, kernel, windows, dkernel, dbias, need_dx), dkernel, dbias

    loops = transposed_convolution.conv2d_transpose_backward_loops
    expected, sizes = run(loops, dy, x, kernel, need_dx), run(loops, abs(dy), abs(x), abs(kernel), True)
    for version in VERSIONS:
        function = getattr(transposed_convolution, f"conv2d_transpose_backward_{version}")
        dx, *rest = run(function, dy, x, kernel, need_dx)
        for actual, value, size in zip(rest, expected[1:], sizes[1:], strict=True):
            assert_close(actual, value, size.max(initial=0))
        if need_dx:
            assert_close(dx, expected[0], sizes[0].max(initial=0))
        else:
            assert dx.size == 0


@given(problems())
def test_it_is_the_transpose_of_the_convolution_with_the_same_kernel(problem):
    """<A y, x> = <y, Aᵀ x>, exactly: small integers."""
    x, kernel, bias, dy, windows, size = (
        np.rint(4 * part) if isinstance(part, np.ndarray) else part for part in problem
    )
    whole = transposed_convolution.conv2d_transpose_numba(x, kernel, 0 * bias, windows, size)
    there = convolution.conv2d_numba(dy, kernel, np.zeros(kernel.shape[3], x.dtype), windows)
    assert np.sum(there * x) == np.sum(dy * whole)


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
def test_kernels_side_by_side_and_overlapping(version):
    function = getattr(transposed_convolution, f"conv2d_transpose_{version}")
    x, kernel = np.array([1.0, 10]).reshape(1, 1, 2, 1), np.array([1.0, 2, 3]).reshape(1, 3, 1, 1)
    for stride, expected in ((3, [1, 2, 3, 10, 20, 30]), (2, [1, 2, 3 + 10, 20, 30]), (1, [1, 2 + 10, 3 + 20, 30])):
        windows = place_windows((1, len(expected)), (1, 3), (1, stride), "valid", "test")
        y = function(x, kernel, np.zeros(1), windows, (1, len(expected)))
        np.testing.assert_array_equal(y.ravel(), expected)


@pytest.mark.parametrize(
    ("window", "stride", "padding", "output_padding", "expected"),
    [
        (3, 2, "valid", None, 11),
        (1, 3, "valid", None, 15),
        (3, 2, "valid", 1, 12),
        (3, 2, "same", None, 10),
        (3, 2, "same", 0, 9),
        (4, 2, "same", 1, 9),
        (5, 3, "same", 2, 15),
    ],
)
def test_sizes(window, stride, padding, output_padding, expected):
    """Of a map of 5, as observed in Keras."""
    assert transposed_size(5, window, stride, 1, padding, output_padding) == expected
