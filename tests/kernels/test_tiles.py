"""The generated tile product is its definition for every size of tile, on this CPU and as on one with AVX2 alone."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from minicnn.kernels.jit import compiled
from minicnn.kernels.tiles import rows_product, tile_product, tiling_for

AVX2 = "+avx2,+fma,+avx,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+bmi,+bmi2,+popcnt,+lzcnt,+movbe,+f16c,+cx16,+64bit"


def product_loops(a, b, c, n_in, n_out, rows, columns, add, tiling):
    """c (rows, columns + 3) from a (rows, n_out, n_in + 1) and b (n_out, n_in, columns), whole tiles of rows."""
    a_row, c_row = n_out * (n_in + 1), columns + 3
    rows_product(
        a, 0, a_row, 1, n_in + 1, b, 0, columns, n_in * columns, c, 1, c_row,
        n_in, n_out, rows, columns, add, tiling,
    )  # fmt: skip


product = compiled(product_loops)


def assert_is_the_definition(dtype):
    """All widths and numbers of rows that one tile takes, and a row more."""
    tiling = tiling_for(np.dtype(dtype).itemsize)
    rng = np.random.default_rng(0)
    for vectors in range(1, tiling.widest // tiling.lanes + 1):
        columns = vectors * tiling.lanes
        for rows in range(1, tiling[vectors] + 2):
            for n_out, n_in, add in ((1, 1, False), (1, 5, True), (3, 2, True), (2, 7, False)):
                a = rng.standard_normal((rows, n_out, n_in + 1)).astype(dtype)
                b = rng.standard_normal((n_out, n_in, columns)).astype(dtype)
                before = rng.standard_normal((rows, columns + 3)).astype(dtype)
                got, expected = before.reshape(-1).copy(), before.astype(np.float64)
                sums = np.einsum("rik,ikc->rc", a[:, :, :n_in].astype(np.float64), b.astype(np.float64))
                expected[:, 1 : columns + 1] = sums + (expected[:, 1 : columns + 1] if add else 0)
                product(a.reshape(-1), b.reshape(-1), got, n_in, n_out, rows, columns, add, tiling)
                bound = 40 * np.finfo(dtype).eps
                np.testing.assert_allclose(got.reshape(before.shape), expected, rtol=bound, atol=bound)
                outside = np.delete(got.reshape(before.shape), np.s_[1 : columns + 1], axis=1)
                np.testing.assert_array_equal(outside, np.delete(before, np.s_[1 : columns + 1], axis=1))


@pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: there is no generated tile product here")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_tile(dtype):
    assert_is_the_definition(dtype)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or tiling_for(4) is None, reason="not a CPU that runs AVX2"
)
def test_every_tile_with_avx2(tmp_path):
    code = (
        "from tests.kernels.test_tiles import assert_is_the_definition as check; from minicnn.kernels import tiles;"
        "assert tiles.tiling_for(4).lanes == 8; check('float32'); check('float64')"
    )
    settings = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_definition_in_plain_python():
    a, b, c = np.arange(6.0), np.arange(8.0).reshape(2, 4), np.ones(8)
    tile_product(a, 0, 3, 1, 0, b, 0, 4, 0, c, 0, 4, 2, 1, 2, 4, True)
    np.testing.assert_array_equal(c.reshape(2, 4), 1 + a.reshape(2, 3)[:, :2] @ b)
