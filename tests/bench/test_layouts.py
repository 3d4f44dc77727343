"""Weights for PyTorch: the reordered arrays compute what Keras's do, and padding places the same windows."""

import numpy as np
import pytest
from layouts import ceil_mode_is_same, convolution_kernel, dense_kernel, same_padding, windows_of

from minicnn.geometry import place_windows


def test_a_convolution_kernel_changes_its_axes():
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    moved = convolution_kernel(kernel)
    assert moved.shape == (5, 4, 2, 3)
    assert all(moved[f, c, i, j] == kernel[i, j, c, f] for f in range(5) for c in range(4) for i, j in [(0, 2), (1, 0)])


def test_the_dense_layer_after_flatten_takes_its_inputs_channel_by_channel():
    rng = np.random.default_rng(0)
    x, kernel = rng.integers(-9, 9, (3, 2, 4, 5)), rng.integers(-9, 9, (40, 7))
    expected = x.reshape(3, -1) @ kernel
    channels_first = x.transpose(0, 3, 1, 2).reshape(3, -1)
    np.testing.assert_array_equal(channels_first @ dense_kernel(kernel, (2, 4, 5)).T, expected)


def test_any_other_dense_kernel_is_transposed():
    kernel = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(dense_kernel(kernel, None), kernel.T)


@pytest.mark.parametrize("size", range(1, 40))
@pytest.mark.parametrize(("window", "stride"), [(1, 1), (2, 2), (3, 1), (3, 2), (5, 1), (11, 4), (12, 4)])
def test_same_padding_is_the_engines(size, window, stride):
    windows = place_windows((size, size), (window, window), (stride, stride), "same", "test")
    before, after = same_padding(size, window, stride)
    assert (before, windows_of(size, window, stride, "same")) == (windows.top, windows.oh)
    assert (windows.oh - 1) * stride + window <= size + before + after


@pytest.mark.parametrize(
    ("size", "window", "stride", "expected"),
    [
        (28, 2, 2, True),  # no padding at all
        (8, 3, 2, True),  # one pixel, at the end
        (2, 3, 2, True),  # a window larger than the map
        (7, 3, 2, False),  # one pixel on each side
        (1, 3, 2, False),
    ],
)
def test_where_ceil_mode_pads_as_same_does(size, window, stride, expected):
    assert ceil_mode_is_same(size, window, stride) is expected
