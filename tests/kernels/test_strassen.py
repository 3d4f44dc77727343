"""Strassen's product: its matrices, formulas and loops give the product, and its scales are powers of two that fit."""

import numpy as np
import pytest

from minicnn.kernels import fetching, strassen
from minicnn.kernels.fused import LINEAR
from minicnn.kernels.strassen import (
    PLACES,
    Apart,
    columns_of_a_task,
    next_width,
    powers_of_two,
    strassen_numpy,
    weights_plane,
)
from minicnn.kernels.tiles import Tiling
from minicnn.kernels.transforms import LEFT, RIGHT, SIDES, SUMS


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
def test_powers_of_two(dtype):
    largest = np.array([0.5, 4, 0, 1e-3, 1e30, 1.9999], dtype)
    down, up = powers_of_two(largest)
    assert down.dtype == up.dtype == dtype
    np.testing.assert_array_equal(np.frexp(down)[0], 0.5)
    np.testing.assert_array_equal(down * up, [1, 1, 0, 1, 1, 1])
    below_one = np.delete(largest * down, 2)
    assert (below_one >= 0.5).all()
    assert (below_one < 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_powers_of_two_at_the_ends(dtype):
    info = np.finfo(dtype)
    ends = np.array([info.smallest_subnormal, info.tiny, info.max], dtype)
    down, up = powers_of_two(ends)
    np.testing.assert_array_equal(down * up, 1)
    assert (np.minimum(down, up) >= info.tiny).all()
    assert (ends * down < 4).all()


@pytest.mark.parametrize("versions", ["loops", "compiled"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 300), (40, 512)])
def test_largest(rows, columns, versions):
    of_columns, of_rows = (
        getattr(strassen, f"{name}{'_loops' * (versions == 'loops')}")
        for name in ("largest_of_columns", "largest_of_rows")
    )
    rng = np.random.default_rng(rows)
    matrix, factors = rng.standard_normal((rows, columns)), 2.0 ** rng.integers(-3, 4, columns)
    np.testing.assert_array_equal(of_columns(matrix), np.abs(matrix).max(0))
    np.testing.assert_array_equal(of_rows(matrix, factors), np.abs(matrix * factors).max(1))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 299])
def test_largest_of_rows_tells_what_is_not_finite(number, column):
    matrix = np.ones((5, 300), np.float32)
    matrix[3, column] = number
    finite = np.isfinite(strassen.largest_of_rows(matrix, np.ones(300, np.float32)))
    assert finite.tolist() == [True, True, True, False, True]


def test_panels():
    """They cover the columns of a task, and but for few columns none has fewer vectors than tiles that fetch."""
    for lanes, vectors in ((16, 4), (8, 2)):
        tiling = Tiling(lanes, *[6] * vectors, *[0] * (4 - vectors), vectors * lanes)
        for columns in range(lanes, 16 * lanes + 1, lanes):
            widths, rest = [], columns
            while rest > 0:
                widths.append(min(rest, next_width(rest, tiling)))
                assert widths[-1] <= tiling.widest
                rest -= widths[-1]
            if columns not in (lanes, 2 * lanes, 5 * lanes) and vectors == 4:
                assert min(widths) >= 3 * lanes
            if columns == 16 * lanes and vectors == 4:
                assert widths == [48, 48, 48, 64, 48]
        assert columns_of_a_task(1024, tiling) == 4 * tiling.widest


@pytest.mark.parametrize("depth", [1, 3, 128])
def test_the_loops_are_the_formulas(depth, monkeypatch):
    """Exactly, since the numbers are small integers: loops and formulas add and multiply the same."""
    monkeypatch.setattr(fetching, "DEPTH", depth)
    rng = np.random.default_rng(2)
    x, kernel, bias = integers(rng, 12, 16), integers(rng, 16, 24), integers(rng, 24)
    tiling, ones = Tiling(2, 3, 2, 0, 0, 4), np.ones(24)
    weights = np.empty(PLACES * weights_plane(4, 6, 8))
    strassen.strassen_weights_loops(kernel, ones[:16], ones, tiling, weights)
    y = np.empty((12, 24))
    apart = Apart(weights, ones[:16], ones)
    strassen.strassen_forward_loops(x, ones[:12], ones[:12], apart, bias, LINEAR, tiling, y)
    np.testing.assert_array_equal(y, strassen_numpy(x, kernel) + bias)
