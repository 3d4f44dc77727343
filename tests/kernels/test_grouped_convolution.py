"""Convolution in groups: its versions agree, and with conv2d where there is one group or each stands alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.geometry import place_windows
from minicnn.kernels import convolution, grouped_convolution
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

SMALL = st.integers(1, 3)
PAIRS = st.tuples(SMALL, SMALL)
VERSIONS = ("numpy", "numba")


@st.composite
def problems(draw):
    """x, kernel, bias, dy, windows for 1 to 3 groups of 1 to 2 channels and 1 to 3 filters."""
    size, strides, dilation = draw(PAIRS), draw(PAIRS), draw(PAIRS)
    padding = draw(st.sampled_from(["valid", "same"]))
    groups, depth, share = draw(SMALL), draw(st.integers(1, 2)), draw(SMALL)
    n, h, w = draw(st.integers(0, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 7))
    if padding == "valid":
        h, w = max(h, (size[0] - 1) * dilation[0] + 1), max(w, (size[1] - 1) * dilation[1] + 1)
    windows = place_windows((h, w), size, strides, padding, "test", dilation)
    rng, dtype = np.random.default_rng(draw(SEEDS)), draw(DTYPES)
    shapes = (n, h, w, groups * depth), (*size, depth, groups * share), (groups * share,)
    x, kernel, bias = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    dy = rng.standard_normal((n, *windows.out, groups * share)).astype(dtype)
    return x, kernel, bias, dy, windows


def backward(version, dy, x, kernel, windows, need_dx=True):
    dkernel, dbias = np.full_like(kernel, np.nan), np.full(kernel.shape[3], np.nan, kernel.dtype)
    return plain(version, dy, x, kernel, windows, dkernel, dbias, need_dx), dkernel, dbias


@pytest.mark.parametrize("version", ["loops", *VERSIONS])
def test_gradients_of_large_maps(version):
    """Many equal terms: a sum of them in float32 would be wrong by 0.2 %."""
    side = 16 if version == "loops" else 224
    windows = place_windows((side, side), (1, 1), (1, 1), "valid", "test", (1, 1))
    x, dy = np.full((4, side, side, 1), 0.3, np.float32), np.full((4, side, side, 2), 0.1, np.float32)
    kernel = np.ones((1, 1, 1, 2), np.float32)
    function = getattr(grouped_convolution, f"grouped_conv2d_backward_{version}")
    _, dkernel, dbias = backward(function, dy, x, kernel, windows)
    np.testing.assert_allclose(dbias, 0.1 * dy[..., 0].size, rtol=1e-6)
    np.testing.assert_allclose(dkernel[0, 0, 0], 0.03 * dy[..., 0].size, rtol=1e-6)


@given(problems())
def test_forward_versions_agree(problem):
    x, kernel, bias, _, windows = problem
    expected = plain(grouped_convolution.grouped_conv2d_loops, x, kernel, bias, windows)
    sizes = plain(grouped_convolution.grouped_conv2d_loops, abs(x), abs(kernel), abs(bias), windows).max(initial=0)
    for version in VERSIONS:
        assert_close(
            getattr(grouped_convolution, f"grouped_conv2d_{version}")(x, kernel, bias, windows), expected, sizes
        )


@given(problems(), st.booleans())
def test_backward_versions_agree(problem, need_dx):
    x, kernel, _, dy, windows = problem
    loops = grouped_convolution.grouped_conv2d_backward_loops
    expected = backward(loops, dy, x, kernel, windows, need_dx)
    sizes = backward(loops, abs(dy), abs(x), abs(kernel), windows)
    for version in VERSIONS:
        function = getattr(grouped_convolution, f"grouped_conv2d_backward_{version}")
        dx, *rest = backward(function, dy, x, kernel, windows, need_dx)
        for actual, value, size in zip(rest, expected[1:], sizes[1:], strict=True):
            assert_close(actual, value, size.max(initial=0))
        if need_dx:
            assert_close(dx, expected[0], sizes[0].max(initial=0))
        else:
            assert dx.size == 0


@given(problems())
def test_the_groups_are_convolutions_side_by_side(problem):
    x, kernel, bias, dy, windows = problem
    depth, filters = kernel.shape[2:]
    groups = x.shape[3] // depth
    share = filters // groups
    y = grouped_convolution.grouped_conv2d_numba(x, kernel, bias, windows)
    dx, dkernel, dbias = backward(grouped_convolution.grouped_conv2d_backward_numba, dy, x, kernel, windows)
    for g in range(groups):
        channels, own = slice(g * depth, (g + 1) * depth), slice(g * share, (g + 1) * share)
        part = x[..., channels], kernel[..., own]
        assert_close(y[..., own], convolution.conv2d_numpy(*part, bias[own], windows), 1e2)
        alone = backward(convolution.conv2d_backward_numpy, dy[..., own], *part, windows)
        for actual, expected in zip((dx[..., channels], dkernel[..., own], dbias[own]), alone, strict=True):
            assert_close(actual, expected, 1e3)
