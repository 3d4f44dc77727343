"""Convolution of one image or two is the convolution of the definition, with an activation on top."""

import numpy as np
import pytest
from hypothesis import assume, given, settings

from minicnn.geometry import place_windows
from minicnn.kernels import few_images
from minicnn.kernels.convolution import conv2d_numpy
from minicnn.kernels.dense import FEW
from minicnn.kernels.fused import LINEAR, RELU, TANH
from minicnn.kernels.tiles import tiling_for
from tests.kernels.test_valid_taps import (
    SMALL_TILES,
    assert_is_the_convolution,
    problems,
    random_problem,
    with_tiling,
)

pytestmark = pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: plans never run these kernels here")


def test_plain_loops(monkeypatch):
    """Uncompiled, on the tiles of another CPU, with channels in several products."""
    for name, value in (("DEPTH", 2), ("TASKS", 3)):
        monkeypatch.setattr(few_images, name, value)

    @settings(max_examples=40)
    @given(problems(6))
    def check(problem):
        x, kernel, bias, _, windows, code = problem
        assume(kernel.shape[3] % SMALL_TILES.lanes == 0)
        if x.dtype == np.float32 and code == TANH:
            code = RELU  # the rational tanh of float32 is held to account elsewhere
        assert_is_the_convolution(with_tiling(few_images.few_images_loops, SMALL_TILES), x, kernel, bias, windows, code)

    check()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, FEW])
@pytest.mark.parametrize(
    ("shape", "filters", "size", "strides", "dilation", "padding"),
    [
        ((2, 2, 130), 144, (3, 3), (1, 1), (1, 1), "same"),
        ((1, 1, 5), 16, (1, 1), (1, 1), (1, 1), "valid"),
        ((4, 4, 7), 80, (5, 5), (1, 1), (1, 1), "same"),
        ((5, 4, 33), 64, (5, 5), (1, 1), (1, 1), "same"),
        ((13, 17, 19), 208, (3, 2), (2, 3), (1, 1), "same"),
        ((14, 11, 9), 48, (3, 2), (1, 1), (2, 4), "valid"),
    ],
)
@pytest.mark.parametrize("code", [LINEAR, RELU, TANH])
def test_compiled(n, shape, filters, size, strides, dilation, padding, dtype, code):
    windows = place_windows(shape[:2], size, strides, padding, "test", dilation)
    x, kernel, bias, _ = random_problem(n, shape, filters, size, windows, dtype, 0)
    assert_is_the_convolution(with_tiling(few_images.few_images), x, kernel, bias, windows, code, conv2d_numpy)


def test_nan_and_infinity_stay_in_their_windows():
    """And in their image."""
    windows = place_windows((5, 6), (3, 3), (1, 1), "same", "test")
    x, kernel, bias, _ = random_problem(2, (5, 6, 9), 16, (3, 3), windows, np.float32, 2)
    x[0, 1, 1, 3], x[1, 4, 5, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        wanted = conv2d_numpy(x, kernel, bias, windows)
    got = few_images.few_images(x, kernel, bias, windows, LINEAR, tiling_for(4))
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    assert not np.isfinite(wanted).all()


def test_bits_do_not_depend_on_the_number_of_threads(threads):
    windows = place_windows((4, 5), (3, 3), (1, 1), "same", "test")
    x, kernel, bias, _ = random_problem(2, (4, 5, 40), 160, (3, 3), windows, np.float32, 1)
    results = []
    for count in (1, 2):
        threads(count)
        results.append(few_images.few_images(x, kernel, bias, windows, TANH, tiling_for(4)))
    np.testing.assert_array_equal(*results)
