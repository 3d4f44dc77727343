"""Convolution: the definition, im2col with one product, and the blocked version are one function."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.geometry import place_windows
from minicnn.kernels import convolution
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

SMALL = st.integers(1, 3)
PAIRS = st.tuples(SMALL, SMALL)


@st.composite
def problems(draw):
    """x, kernel, bias, windows, with any padding, strides or dilation, maps down to 1x1, batches down to none."""
    size, strides = draw(PAIRS), draw(PAIRS)
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    padding = draw(st.sampled_from(["valid", "same"]))
    n, channels, filters = draw(st.integers(0, 3)), draw(SMALL), draw(SMALL)
    h, w = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    if padding == "valid":
        h, w = max(h, (size[0] - 1) * dilation[0] + 1), max(w, (size[1] - 1) * dilation[1] + 1)
    windows = place_windows((h, w), size, strides, padding, "test", dilation)
    rng, dtype = np.random.default_rng(draw(SEEDS)), draw(DTYPES)
    x = rng.standard_normal((n, h, w, channels)).astype(dtype)
    kernel = rng.standard_normal((*size, channels, filters)).astype(dtype)
    bias = rng.standard_normal(filters).astype(dtype)
    dy = rng.standard_normal((n, *windows.out, filters)).astype(dtype)
    return x, kernel, bias, dy, windows


@given(problems())
def test_forward_versions_agree(problem):
    x, kernel, bias, _, windows = problem
    expected = plain(convolution.conv2d_loops, x, kernel, bias, windows)
    sum_of_sizes = plain(convolution.conv2d_loops, abs(x), abs(kernel), abs(bias), windows).max(initial=0)
    for version in (convolution.conv2d_numpy, convolution.conv2d_numba):
        assert_close(version(x, kernel, bias, windows), expected, sum_of_sizes)


@given(problems(), st.booleans())
def test_backward_versions_agree(problem, need_dx):
    x, kernel, _, dy, windows = problem

    def run(version, x, kernel, dy):
        dkernel, dbias = np.full_like(kernel, np.nan), np.full(kernel.shape[3], np.nan, kernel.dtype)
        dx = plain(version, dy, x, kernel, windows, dkernel, dbias, need_dx)
        return dx, dkernel, dbias

    expected = run(convolution.conv2d_backward_loops, x, kernel, dy)
    sizes = run(convolution.conv2d_backward_loops, abs(x), abs(kernel), abs(dy))
    for version in (convolution.conv2d_backward_numpy, convolution.conv2d_backward_numba):
        for actual, value, size in zip(run(version, x, kernel, dy), expected, sizes, strict=True):
            if value is expected[0] and not need_dx:
                assert actual.size == 0
            else:
                assert_close(actual, value, size.max(initial=0))


@given(problems())
def test_im2col_and_col2im_versions_agree_exactly_and_are_adjoint(problem):
    x, kernel, _, _, windows = problem
    columns = plain(convolution.im2col_loops, x, windows)
    assert columns.shape == (len(x) * windows.oh * windows.ow, kernel[..., 0].size)
    for version in (convolution.im2col_numpy, convolution.im2col_numba):
        np.testing.assert_array_equal(version(x, windows), columns)
    rng = np.random.default_rng(0)
    other = rng.integers(-8, 9, columns.shape).astype(x.dtype)  # small integers: sums are exact in any order
    image = plain(convolution.col2im_loops, other, x.shape, windows)
    for version in (convolution.col2im_numpy, convolution.col2im_numba):
        np.testing.assert_array_equal(version(other, x.shape, windows), image)
    whole = rng.integers(-8, 9, x.shape).astype(x.dtype)
    assert np.sum(convolution.im2col_numpy(whole, windows) * other) == np.sum(whole * image)  # <A x, c> = <x, Aᵀ c>


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
def test_the_kernel_is_not_flipped(version):
    windows = place_windows((1, 3), (1, 3), (1, 1), "valid", "test")
    x, kernel = np.array([1.0, 2, 3]).reshape(1, 1, 3, 1), np.array([1.0, 10, 100]).reshape(1, 3, 1, 1)
    assert getattr(convolution, f"conv2d_{version}")(x, kernel, np.zeros(1), windows).item() == 321


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
@pytest.mark.parametrize(
    ("n", "k", "stride", "expected"),
    [
        (4, 3, 1, [11, 111, 1110, 1100]),
        (4, 2, 1, [11, 110, 1100, 1000]),
        (4, 4, 1, [111, 1111, 1110, 1100]),
        (4, 3, 2, [111, 1100]),
        (5, 3, 2, [11, 1110, 11000]),
        (6, 5, 3, [1111, 111100]),
        (7, 2, 3, [11, 11000, 1000000]),
        (5, 1, 2, [1, 100, 10000]),
    ],
)
def test_same_padding_puts_the_odd_pixel_after_the_map(version, n, k, stride, expected):
    """A kernel of ones over powers of ten: the digits of an output say which pixels it covers. Observed in Keras."""
    x = (10.0 ** np.arange(n)).reshape(1, 1, n, 1)
    windows = place_windows((1, n), (1, k), (1, stride), "same", "test")
    y = getattr(convolution, f"conv2d_{version}")(x, np.ones((1, k, 1, 1)), np.zeros(1), windows)
    np.testing.assert_array_equal(y.ravel(), expected)


def test_many_blocks_of_images_agree_with_one_product():
    """More images than one block, and more blocks than partial sums: what small examples do not reach."""
    rng = np.random.default_rng(0)
    windows = place_windows((26, 26), (5, 5), (1, 1), "same", "test")
    x = rng.standard_normal((41, 26, 26, 3))
    kernel, bias = rng.standard_normal((5, 5, 3, 4)), rng.standard_normal(4)
    dy = rng.standard_normal((41, 26, 26, 4))
    assert_close(
        convolution.conv2d_numba(x, kernel, bias, windows), convolution.conv2d_numpy(x, kernel, bias, windows), 1e2
    )
    results = []
    for version in (convolution.conv2d_backward_numpy, convolution.conv2d_backward_numba):
        dkernel, dbias = np.empty_like(kernel), np.empty_like(bias)
        results.append((version(dy, x, kernel, windows, dkernel, dbias, True), dkernel, dbias))
    for actual, expected in zip(results[1], results[0], strict=True):
        assert_close(actual, expected, 41 * 26 * 26)


def test_nan_stays_in_its_own_image():
    windows = place_windows((4, 4), (3, 3), (1, 1), "same", "test")
    x = np.zeros((3, 4, 4, 2), np.float32)
    x[1, 2, 2, 0] = np.nan
    for version in (convolution.conv2d_numpy, convolution.conv2d_numba):
        y = version(x, np.ones((3, 3, 2, 2), np.float32), np.zeros(2, np.float32), windows)
        np.testing.assert_array_equal(np.isnan(y).any(axis=(1, 2, 3)), [False, True, False])
