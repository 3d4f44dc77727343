"""Gathering rows: every real dtype, any order, converted on the way."""

import numpy as np
import pytest

from minicnn.kernels import gather


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
@pytest.mark.parametrize("batch_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_rows_in_the_order_asked_for(version, batch_dtype, dtype):
    data = np.arange(7 * 5).reshape(7, 5).astype(dtype)
    before = data.copy()
    for rows in ([], [6], [3, 0, 3, 6], range(7)):
        rows = np.array(rows, np.int64)
        batch = np.full((len(rows), 5), np.nan, batch_dtype)
        getattr(gather, f"gather_{version}")(data, rows, batch)
        np.testing.assert_array_equal(batch, data[rows].astype(batch_dtype), strict=True)
    np.testing.assert_array_equal(data, before)


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int16, np.int64, np.uint16, np.float16])
def test_numpy_takes_every_real_dtype(dtype):
    data = np.arange(12).reshape(4, 3).astype(dtype)
    batch = np.empty((2, 3), np.float32)
    gather.gather_numpy(data, np.array([2, 1]), batch)
    np.testing.assert_array_equal(batch, data[[2, 1]].astype(np.float32))


@pytest.mark.parametrize("version", ["numpy", "numba"])
def test_float64_data_are_rounded_to_float32_as_numpy_rounds(version):
    data = np.random.default_rng(0).standard_normal((9, 3)) * 10.0 ** np.arange(-1, 2)
    batch = np.empty((9, 3), np.float32)
    getattr(gather, f"gather_{version}")(data, np.arange(9), batch)
    np.testing.assert_array_equal(batch, data.astype(np.float32))
