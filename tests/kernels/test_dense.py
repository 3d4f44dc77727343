"""Dense products: loops, NumPy and the blocked version agree."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import dense
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

WIDTHS = st.sampled_from([1, 2, 5, dense.ROWS - 1, dense.ROWS, dense.ROWS + 1])


@given(
    n=st.sampled_from([0, 1, 3, dense.ROWS, dense.ROWS + 1, 2 * dense.ROWS + 3]),
    inputs=WIDTHS,
    outputs=st.integers(1, 4),
    dtype=DTYPES,
    seed=SEEDS,
    need_dx=st.booleans(),
)
def test_versions_agree(n, inputs, outputs, dtype, seed, need_dx):
    rng = np.random.default_rng(seed)
    x, kernel = rng.standard_normal((n, inputs)).astype(dtype), rng.standard_normal((inputs, outputs)).astype(dtype)
    bias, dy = rng.standard_normal(outputs).astype(dtype), rng.standard_normal((n, outputs)).astype(dtype)

    expected = plain(dense.dense_loops, x, kernel, bias)
    size = plain(dense.dense_loops, abs(x), abs(kernel), abs(bias)).max(initial=0)
    for version in (dense.dense_numpy, dense.dense_numba):
        assert_close(version(x, kernel, bias), expected, size)

    def backward(version, dy, x, kernel):
        dkernel, dbias = np.full_like(kernel, np.nan), np.full(outputs, np.nan, dtype)
        dx = plain(version, dy, x, kernel, dkernel, dbias, need_dx)
        return dkernel, dbias, dx.reshape(x.shape) if need_dx else dx.reshape(-1)

    values = backward(dense.dense_backward_loops, dy, x, kernel)
    sizes = backward(dense.dense_backward_loops, abs(dy), abs(x), abs(kernel))
    for version in (dense.dense_backward_numpy, dense.dense_backward_numba):
        for actual, value, size in zip(backward(version, dy, x, kernel), values, sizes, strict=True):
            assert_close(actual, value, size.max(initial=0))


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
