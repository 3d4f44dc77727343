"""A dense layer by rank updates is the layer of the definition, in blocks of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import dense, dense_updates
from minicnn.kernels.fused import LINEAR, RELU, TANH
from minicnn.kernels.tiles import tiling_for, update_rank
from tests.kernels.test_dense import random_problem
from tests.kernels.versions import DTYPES, FUNCTIONS, SEEDS, assert_close, plain

pytestmark = pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: nothing takes this way here")


def updated(x, kernel, bias, code=LINEAR):
    """As dense.py calls it."""
    lanes, rank = tiling_for(x.itemsize).lanes, update_rank(x.itemsize)
    return dense_updates.dense_updated(x, kernel, bias, code, lanes, rank)


def assert_is_the_layer(forward, x, kernel, bias, code):
    expected = plain(dense.dense_loops, x, kernel, bias)
    size = plain(dense.dense_loops, abs(x), abs(kernel), abs(bias)).max(initial=0)
    assert_close(forward(x, kernel, bias, code), FUNCTIONS[code](expected), size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 3, 8, 70])
@pytest.mark.parametrize("inputs", [1, 15, 16, 50])  # fewer than one block, one, and several and a rest
@pytest.mark.parametrize("vectors", [1, 5])
def test_compiled(n, inputs, vectors, dtype):
    lanes = tiling_for(np.dtype(dtype).itemsize).lanes
    x, kernel, bias, _ = random_problem(n, inputs, vectors * lanes, dtype, n + inputs)
    for code in (LINEAR, RELU, TANH):
        assert_is_the_layer(updated, x, kernel, bias, code)


def test_plain_loops_in_small_blocks(monkeypatch):
    """Uncompiled, with several blocks of samples and of outputs, for a CPU with vectors of two and updates of three."""
    for name, value in (("COLUMNS", 4), ("SAMPLES", 2), ("SUMS", 6)):
        monkeypatch.setattr(dense_updates, name, value)

    @given(st.integers(1, 5), st.integers(1, 8), st.integers(1, 9), DTYPES, SEEDS)
    def check(n, inputs, vectors, dtype, seed):
        x, kernel, bias, _ = random_problem(n, inputs, 2 * vectors, dtype, seed)
        assert_is_the_layer(
            lambda *args: dense_updates.dense_updated_blocked(*args, lanes=2, rank=3), x, kernel, bias, RELU
        )

    check()


def test_blocks_of_samples():
    """More samples than one task takes, and more outputs."""
    x, kernel, bias, _ = random_problem(dense_updates.SAMPLES + 3, 40, 4800, np.float32, 0)
    assert_close(updated(x, kernel, bias), dense.dense_numpy(x, kernel, bias), units=64)


def test_nan_and_infinity_stay_in_their_own_samples():
    x, kernel, bias, _ = random_problem(5, 37, 32, np.float32, 1)
    clean = updated(x, kernel, bias)
    x[1, 3], x[3, 36] = np.nan, np.inf
    y = updated(x, kernel, bias)
    assert np.isnan(y[1]).all()
    assert not np.isfinite(y[3]).any()
    np.testing.assert_array_equal(y[[0, 2, 4]], clean[[0, 2, 4]])


def test_where_it_is_taken(monkeypatch):
    """A large layer for few samples; not for many, nor for two, nor with odd outputs or a kernel that fits a cache."""
    taken = []
    monkeypatch.setattr(dense, "dense_updated", lambda x, kernel, *rest: taken.append((len(x), kernel.shape)) or x)
    shapes = [(n, (2048, 512)) for n in (3, 4, 5, 2)] + [(3, (2048, 513)), (3, (512, 512))]
    for n, shape in shapes:
        x, kernel = np.zeros((n, shape[0]), np.float32), np.zeros(shape, np.float32)
        dense.dense_activated(x, kernel, np.zeros(shape[1], np.float32), LINEAR)
    assert taken == shapes[:2]
