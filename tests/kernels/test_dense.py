"""Dense products: loops, NumPy, the blocks on BLAS and the tile products of small and of large layers agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import dense, dense_tiles
from minicnn.kernels.fused import LINEAR, RELU, TANH
from minicnn.kernels.tiles import Tiling
from tests.kernels.versions import DERIVATIVES, DTYPES, FUNCTIONS, SEEDS, assert_close, plain


def random_problem(n, inputs, outputs, dtype, seed):
    rng = np.random.default_rng(seed)
    shapes = (n, inputs), (inputs, outputs), (outputs,), (n, outputs)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def backward(version, dy, x, kernel, need_dx):
    dkernel, dbias = np.full_like(kernel, np.nan), np.full_like(kernel[0], np.nan)
    dx = plain(version, dy, x, kernel, dkernel, dbias, need_dx)
    return dkernel, dbias, dx.reshape(x.shape) if need_dx else dx.reshape(-1)


def assert_versions_agree(n, inputs, outputs, dtype, seed, need_dx):
    x, kernel, bias, dy = random_problem(n, inputs, outputs, dtype, seed)
    expected = plain(dense.dense_loops, x, kernel, bias)
    size = plain(dense.dense_loops, abs(x), abs(kernel), abs(bias)).max(initial=0)
    for version in (dense.dense_numpy, dense.dense_numba):
        assert_close(version(x, kernel, bias), expected, size)

    values = backward(dense.dense_backward_loops, dy, x, kernel, need_dx)
    sizes = backward(dense.dense_backward_loops, abs(dy), abs(x), abs(kernel), need_dx)
    for version in (dense.dense_backward_numpy, dense.dense_backward_numba):
        for actual, value, size in zip(backward(version, dy, x, kernel, need_dx), values, sizes, strict=True):
            assert_close(actual, value, size.max(initial=0))


@given(
    n=st.sampled_from([0, 1, 2, 5, dense.ROWS, 2 * dense.ROWS - 1, 2 * dense.ROWS, 3 * dense.ROWS + 1, 67]),
    inputs=st.sampled_from([1, 2, 5, 31, 33]),
    outputs=st.integers(1, 5),
    dtype=DTYPES,
    seed=SEEDS,
    need_dx=st.booleans(),
)
def test_versions_agree(n, inputs, outputs, dtype, seed, need_dx):
    assert_versions_agree(n, inputs, outputs, dtype, seed, need_dx)


@pytest.fixture(params=["tiles", "updates"])
def everything_is_large(request, monkeypatch):
    """Tile products for layers of any size, or updates where outputs are whole vectors; one or two samples streamed."""
    monkeypatch.setattr(dense, "is_large", lambda inputs, outputs: True)
    monkeypatch.setattr(dense, "streaming_pays", lambda inputs, outputs: True)
    if request.param == "updates":
        monkeypatch.setattr(dense, "updates_pay", lambda n, inputs, outputs, lanes: outputs % lanes == 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, dense.FEW, dense.FEW + 1, 17, 70])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (5, 3), (33, 16), (130, 65), (25, 131)])
def test_large_versions_agree(everything_is_large, n, inputs, outputs, dtype):
    for need_dx in (True, False):
        assert_versions_agree(n, inputs, outputs, dtype, n + inputs, need_dx)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [dense.FEW + 1, 17, dense_tiles.SAMPLES + 1, dense_tiles.PARTS * dense_tiles.ROWS + 5])
@pytest.mark.parametrize(
    ("inputs", "outputs"),
    # fewer than a vector, one, panels that overlap by little and by much, more terms than one product sums
    [(1, 1), (5, 7), (200, 10), (400, 1), (33, 16), (70, 17), (40, 41), (130, 65), (7, 131), (300, 84), (9, 300)],
)
def test_small_layers_agree(inputs, outputs, n, dtype):
    for need_dx in (True, False):
        assert_versions_agree(n, inputs, outputs, dtype, n + inputs, need_dx)


@pytest.mark.parametrize("columns", [*range(1, 300), 1000])
@pytest.mark.parametrize("tiling", [Tiling(16, 24, 12, 8, 6, 64), Tiling(4, 8, 4, 0, 0, 8), Tiling(8, 12, 6, 4, 0, 24)])
def test_panels_cover_all_columns_and_no_more(tiling, columns):
    width = dense_tiles.overlapping_width(columns, tiling)
    assert width % tiling.lanes == 0
    assert tiling.lanes <= width <= tiling.widest
    begins = range(0, columns, width)
    covered = set()
    for begin in begins:
        first = max(0, min(begin, columns - width))
        covered |= set(range(first, first + width))
    assert covered == set(range(max(columns, tiling.lanes)))
    assert len(begins) * width // tiling.lanes <= -(-columns // tiling.lanes) + len(begins) - 1  # computed twice: few


@pytest.mark.parametrize("tiling", [Tiling(8, 3, 2, 2, 0, 24), Tiling(16, 24, 12, 8, 6, 64)])
@pytest.mark.parametrize("outputs", [1, 2, 5, 7, 8, 9, 15, 16, 17])
def test_small_layers_read_nothing_else(monkeypatch, outputs, tiling):
    """Uncompiled, where Python checks every place, and with NaN in all memory that has not been written to."""
    full = np.full
    monkeypatch.setattr(dense_tiles, "lines_of_cache", lambda count, like: full(count, np.nan, like.dtype))
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: full(shape, np.nan, dtype))
    for inputs in (1, 3, 7, 17):
        for n in (1, 3, 25):
            x, kernel, bias, dy = random_problem(n, inputs, outputs, np.float64, n)
            dkernel, dbias = full(kernel.shape, np.nan), full(bias.shape, np.nan)
            y = dense_tiles.dense_tiled_loops(x, kernel, bias, LINEAR, tiling)
            dx = dense_tiles.dense_tiled_backward_loops(dy, y, x, kernel, LINEAR, tiling, dkernel, dbias, True)
            expected = x @ kernel + bias, dy @ kernel.T, x.T @ dy, dy.sum(axis=0)
            for actual, value in zip((y, dx, dkernel, dbias), expected, strict=True):
                assert_close(actual, value, units=64)


@pytest.mark.parametrize(("n", "outputs"), [(1, 3), (4, 3), (4, 64), (80, 3), (80, 64)])
def test_very_long_sums_are_made_in_parts(n, outputs):
    """A chain of so many additions in float32 is wrong by 3e-5."""
    x, kernel, bias, _ = random_problem(n, 30 * dense_tiles.LONGEST + 1, outputs, np.float32, 0)
    x, kernel = abs(x), abs(kernel)
    expected = x.astype(np.float64) @ kernel.astype(np.float64) + bias
    np.testing.assert_allclose(dense.dense_numba(x, kernel, bias), expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize("code", [RELU, TANH])
def test_bias_and_activation_come_after_all_parts(code):
    x, kernel, bias, _ = random_problem(5, 2 * dense_tiles.LONGEST + 3, 4, np.float64, 1)
    kernel /= 100
    z = x @ kernel + bias
    assert (z < 0).any()
    expected = {RELU: np.maximum(z, 0), TANH: np.tanh(z)}[code]
    np.testing.assert_allclose(dense.dense_activated(x, kernel, bias, code), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "inputs", "outputs"), [(40, 1, 15 * dense_tiles.LONGEST), (30 * dense_tiles.LONGEST, 3, 2)]
)
def test_very_long_sums_of_gradients(n, inputs, outputs):
    """Over the outputs for dx, over the samples for dkernel and dbias; in a small layer."""
    assert not dense.is_large(inputs, outputs)
    x, kernel, _, dy = map(abs, random_problem(n, inputs, outputs, np.float32, 0))
    actual = backward(dense.dense_backward_numba, dy, x, kernel, True)
    wide = [array.astype(np.float64) for array in (dy, x, kernel)]
    dkernel, dbias = np.empty_like(wide[2]), np.empty(outputs)
    dx = dense.dense_backward_numpy(*wide, dkernel, dbias, True)
    for got, expected in zip(actual, (dkernel, dbias, dx), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_what_lies_behind_a_short_row_does_not_show():
    """NaN in one output's weights, read along with the row before, is in that output alone."""
    x, kernel, bias, dy = random_problem(40, 50, 3, np.float32, 0)
    kernel[:, 0] = np.nan
    y = dense.dense_numba(x, kernel, bias)
    assert np.isnan(y).all(axis=0).tolist() == [True, False, False]
    dy[:, 0] = np.nan
    dkernel, dbias, _ = backward(dense.dense_backward_numba, dy, x, kernel, True)
    assert np.isnan(dkernel).all(axis=0).tolist() == np.isnan(dbias).tolist() == [True, False, False]
    assert np.isfinite(dkernel[:, 1:]).all()
    x, kernel, _, dy = random_problem(40, 5, 30, np.float32, 0)
    kernel[0] = np.nan
    dx = backward(dense.dense_backward_numba, dy, x, kernel, True)[2]
    assert np.isnan(dx).all(axis=0).tolist() == [True, *[False] * 4]
    assert np.isfinite(dx[:, 1:]).all()


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("code", [LINEAR, RELU, TANH])
@pytest.mark.parametrize("n", [1, 9, 2 * dense.ROWS + 1])
def test_activated(monkeypatch, large, code, n):
    """The activation on top, and its gradient, against the function and the unfused derivatives."""
    monkeypatch.setattr(dense, "is_large", lambda inputs, outputs: large)
    x, kernel, bias, dy = random_problem(n, 7, 6, np.float64, code)
    y = FUNCTIONS[code](dense.dense_numpy(x, kernel, bias))
    assert_close(dense.dense_activated(x, kernel, bias, code), y)
    dz = dy * DERIVATIVES[code](y)
    expected = backward(dense.dense_backward_numpy, dz, x, kernel, True)

    def fused(dy, x, kernel, dkernel, dbias, need_dx):
        return dense.dense_activated_backward(dy, y, x, kernel, code, dkernel, dbias, need_dx)

    for actual, value in zip(backward(fused, dy, x, kernel, True), expected, strict=True):
        assert_close(actual, value, units=64)


def test_the_blocks_are_plain_python_too():
    x, kernel, bias, dy = random_problem(2 * dense.ROWS + 5, 4, 3, np.float64, 0)
    y = dense.dense_blocked(x, kernel, bias, RELU)
    assert_close(y, dense.dense_blocked_numba(x, kernel, bias, RELU))
    assert_close(dense.dense_few(x, kernel, bias, RELU), y)
    results = []
    for version in (dense.dense_backward_blocked, dense.dense_backward_blocked_numba):
        dkernel, dbias = np.empty_like(kernel), np.empty_like(bias)
        results.append((version(dy, y, x, kernel, RELU, dkernel, dbias, True), dkernel, dbias))
    for one, other in zip(*results, strict=True):
        assert_close(one, other)


def test_values_by_hand():
    x, kernel, bias = np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0, 2], [0, 1, 3]]), np.array([10.0, 20, 30])
    dkernel, dbias = np.empty((2, 3)), np.empty(3)
    dy = np.array([[1.0, 0, 0], [0, 1, 1]])
    for version in ("loops", "numpy", "numba"):
        np.testing.assert_array_equal(getattr(dense, f"dense_{version}")(x, kernel, bias), [[11, 22, 38], [13, 24, 48]])
        dx = getattr(dense, f"dense_backward_{version}")(dy, x, kernel, dkernel, dbias, True)
        np.testing.assert_array_equal(dx, [[1, 0], [2, 4]])
        np.testing.assert_array_equal(dkernel, [[1, 3, 3], [2, 4, 4]])
        np.testing.assert_array_equal(dbias, [1, 1, 1])


def test_very_long_sums_of_gradients_in_a_large_layer():
    """Of more samples than LONGEST: the places of maps, for one."""
    n, inputs, outputs = 4 * dense_tiles.LONGEST, 512, 256
    assert dense.is_large(inputs, outputs)
    x, dy = np.full((n, inputs), 0.3, np.float32), np.full((n, outputs), 0.1, np.float32)
    kernel = np.full((inputs, outputs), 0.5, np.float32)
    dkernel, dbias, dx = backward(dense.dense_backward_numba, dy, x, kernel, True)
    tenth, third = float(np.float32(0.1)), float(np.float32(0.3))
    np.testing.assert_allclose(dkernel, n * tenth * third, rtol=1e-4)
    np.testing.assert_allclose(dbias, n * tenth, rtol=1e-4)
    np.testing.assert_allclose(dx, outputs * tenth * 0.5, rtol=1e-5)
    assert dx.shape == x.shape
