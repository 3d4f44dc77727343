"""Strassen's product: its matrices and formulas give the product, and the scales are powers of two that fit."""

import numpy as np
import pytest

from minicnn.kernels.strassen import scales_of, strassen_numpy
from minicnn.kernels.tiles import LEFT, RIGHT, SIDES, SUMS


def integers(rng, *shape):
    """Small enough that all sums of them are exact."""
    return rng.integers(-8, 9, shape).astype(float)


def test_seven_products_are_the_eight():
    left, right, sums = (np.array(SIDES[kind], float) for kind in (LEFT, RIGHT, SUMS))
    assert left.shape == right.shape == (7, 4)
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, k = integers(rng, 2, 2), integers(rng, 2, 2)
        products = (left @ x.ravel()) * (right @ k.ravel())
        np.testing.assert_array_equal((sums @ products).reshape(2, 2), x @ k)


def test_the_formulas_of_the_docstring():
    left, right, sums = (np.array(SIDES[kind], float) for kind in (LEFT, RIGHT, SUMS))
    (x00, x01, x10, x11), (k00, k01, k10, k11) = x, k = np.array([2.0, 3, 5, 7]), np.array([11.0, 13, 17, 19])
    m0, m1, m2, m3 = (x00 + x11) * (k00 + k11), (x10 + x11) * k00, x00 * (k01 - k11), x11 * (k10 - k00)
    m4, m5, m6 = (x00 + x01) * k11, (x10 - x00) * (k00 + k01), (x01 - x11) * (k10 + k11)
    np.testing.assert_array_equal((left @ x) * (right @ k), [m0, m1, m2, m3, m4, m5, m6])
    wanted = [m0 + m3 - m4 + m6, m2 + m4, m1 + m3, m0 - m1 + m2 + m5]
    np.testing.assert_array_equal(sums @ [m0, m1, m2, m3, m4, m5, m6], wanted)


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_any_number_of_levels(levels):
    rng, unit = np.random.default_rng(1), 2**levels
    x, kernel = integers(rng, 3 * unit, 2 * unit), integers(rng, 2 * unit, 5 * unit)
    np.testing.assert_array_equal(strassen_numpy(x, kernel, levels), x @ kernel)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scales(dtype):
    rows = [[0.5, -0.25], [3, -4], [0, 0], [1e-3, 1e-9], [-1e30, 1], [1, 1.9999]]
    x = np.array(rows, dtype)
    scales, back = scales_of(x)
    assert scales.dtype == back.dtype == dtype
    np.testing.assert_array_equal(np.frexp(scales)[0], 0.5)  # powers of two
    np.testing.assert_array_equal(scales * back, [1, 1, 0, 1, 1, 1])
    largest = np.abs(x * scales[:, None]).max(1)
    assert (largest[[0, 1, 3, 4, 5]] >= 0.5).all()
    assert (largest < 1).all()


def test_scales_of_extremes_are_float32_numbers():
    scales, back = scales_of(np.array([[1e-45], [3e38]], np.float32))
    np.testing.assert_array_equal(scales * back, 1)
    assert np.isfinite([scales, back]).all()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_no_scales_for_what_is_not_finite(number):
    x = np.ones((5, 8), np.float32)
    x[3, 2] = number
    assert scales_of(x) is None
