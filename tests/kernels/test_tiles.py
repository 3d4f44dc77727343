"""The generated tile product is its definition for every size of tile, on this CPU and as on one with AVX2 alone."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from minicnn.kernels import vector_unit
from minicnn.kernels.jit import compiled
from minicnn.kernels.tiles import (
    Tiling,
    even_width,
    lines_of_cache,
    pooled_rows_product,
    pooled_tiling_for,
    rank_update,
    rows_product,
    tile_product,
    tiling_for,
    update_rank,
    zeroed_lines_of_cache,
)

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


def pooled_loops(a, b, bias, c, n_in, n_out, rows, columns, across, down, turned, mean, tiling):
    """c (rows, columns + 3) from a of rows `2·across` numbers apart, or turned from b of as many."""
    if turned:
        pooled_rows_product(
            a, 0, n_out * n_in, 1, n_in, b, 1, 1, 2 * down, 0, down, bias, 0, c, 1, columns + 3,
            n_in, n_out, rows, columns, True, mean, tiling,
        )  # fmt: skip
    else:
        pooled_rows_product(
            a, 1, 2 * across, 1, 2 * down, b, 0, columns, n_in * columns, across, down, bias, 0, c, 1, columns + 3,
            n_in, n_out, rows, columns, False, mean, tiling,
        )  # fmt: skip


pooled = compiled(pooled_loops)


def assert_pooled_is_the_definition(dtype):
    """All sizes of pooled tiles, and a row more, against the largest and the mean of relu of the four products."""
    tiling, rng = pooled_tiling_for(np.dtype(dtype).itemsize), np.random.default_rng(0)
    lanes, bound = tiling.lanes, 60 * np.finfo(dtype).eps
    sizes = [(rows, v, False) for v in range(1, tiling.widest // lanes + 1) for rows in range(1, tiling[v] + 2)]
    sizes += [(rows, 1, True) for rows in range(1, tiling.limit1 + 2)]
    for rows, vectors, turned in sizes:
        for n_out, n_in, mean in ((1, 1, False), (1, 5, True), (3, 2, False), (2, 7, True)):
            columns, across, down = vectors * lanes, 3, 400
            weights = rng.standard_normal((n_out, n_in, rows if turned else columns)).astype(dtype)
            image = rng.standard_normal(2 * n_out * down + 1).astype(dtype)
            bias = rng.standard_normal(rows if turned else columns).astype(dtype)
            before = rng.standard_normal((rows, columns + 3)).astype(dtype)
            windows = np.empty((2, 2, rows, columns))
            places = 1 + 2 * down * np.arange(n_out)[:, None] + np.arange(n_in)
            for r, s, m, f in np.ndindex(windows.shape):
                start = r * down + (2 * f + s if turned else (2 * m + s) * across)
                factors = weights[:, :, m if turned else f].astype(np.float64)
                windows[r, s, m, f] = bias[m if turned else f] + np.sum(image[places + start] * factors)
            expected = before.astype(np.float64)
            expected[:, 1 : columns + 1] = np.maximum(windows, 0).mean((0, 1)) if mean else windows.max((0, 1))
            got = before.reshape(-1).copy()
            packed = np.ascontiguousarray(weights.transpose(2, 0, 1)) if turned else weights
            a, b = (packed.reshape(-1), image) if turned else (image, packed.reshape(-1))
            for function in (pooled, pooled_loops) if vectors == 1 and rows == 2 else (pooled,):
                got[:] = before.reshape(-1)
                function(a, b, bias, got, n_in, n_out, rows, columns, across, down, turned, mean, tiling)
                np.testing.assert_allclose(got.reshape(before.shape), expected, rtol=bound, atol=bound)
                outside = np.delete(got.reshape(before.shape), np.s_[1 : columns + 1], axis=1)
                np.testing.assert_array_equal(outside, np.delete(before, np.s_[1 : columns + 1], axis=1))


def update_loops(a, b, c, rank, rows, lanes):
    """c (rows, lanes) from a (rows, rank + 2) and b (rank, lanes + 3), a number before each."""
    rank_update(a, 1, rank + 2, b, 1, lanes + 3, c, 1, rank, rows, lanes)


update = compiled(update_loops)


def assert_update_is_the_definition(dtype):
    """Both ranks, for no row and several."""
    itemsize, rng = np.dtype(dtype).itemsize, np.random.default_rng(0)
    lanes, bound = tiling_for(itemsize).lanes, 40 * np.finfo(dtype).eps
    for rank in (update_rank(itemsize), 1):
        for rows in (0, 1, 3, 4, 9):
            a = rng.standard_normal(1 + rows * (rank + 2)).astype(dtype)
            b = rng.standard_normal(1 + rank * (lanes + 3)).astype(dtype)
            before = rng.standard_normal(2 + rows * lanes).astype(dtype)
            expected = before.astype(float)
            factors = (
                a[1:].reshape(rows, rank + 2)[:, :rank].astype(float),
                b[1:].reshape(rank, -1)[:, :lanes].astype(float),
            )
            expected[1:-1] += (factors[0] @ factors[1]).reshape(-1)
            for function in (update, update_loops):
                got = before.copy()
                function(a, b, got, rank, rows, lanes)
                np.testing.assert_allclose(got, expected, rtol=bound, atol=bound)
                np.testing.assert_array_equal(got[[0, -1]], before[[0, -1]])


CHECKS = (assert_is_the_definition, assert_pooled_is_the_definition, assert_update_is_the_definition)


@pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: there is no generated tile product here")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("check", CHECKS)
def test_every_tile(check, dtype):
    check(dtype)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or tiling_for(4) is None, reason="not a CPU that runs AVX2"
)
def test_every_tile_with_avx2(tmp_path):
    code = (
        "from minicnn.kernels import tiles;"
        "from tests.kernels import test_fetching, test_tiles, test_transforms;"
        "assert tiles.tiling_for(4).lanes == 8;"
        "checks = [check for tests in (test_tiles, test_fetching, test_transforms) for check in tests.CHECKS];"
        "assert len(checks) == 5;"
        "[check(dtype) for check in checks for dtype in ('float32', 'float64')]"
    )
    settings = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: there is no generated tile product here")
def test_other_sources_make_other_machine_code(tmp_path):
    """What a cache has of an earlier version is not read: it may be code for other matrices."""
    code = (
        "from minicnn.kernels import kernel_cache, tiles, transforms;"
        "kernel_cache.sources = lambda: {!r};"
        "transforms.with_transforms(tiles.tiling_for(4), 4)"
    )
    settings, made = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}, []
    for version in ("one", "two", "two"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(version)], env=settings, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        made.append(sorted(file.name for file in tmp_path.rglob("*.nbc")))
    assert len(made[1]) == 2 * len(made[0]) == 6  # tiles, fetching tiles and transforms
    assert made[2] == made[1]


def test_the_definition_in_plain_python():
    a, b, c = np.arange(6.0), np.arange(8.0).reshape(2, 4), np.ones(8)
    tile_product(a, 0, 3, 1, 0, b, 0, 4, 0, c, 0, 4, 2, 1, 2, 4, True)
    np.testing.assert_array_equal(c.reshape(2, 4), 1 + a.reshape(2, 3)[:, :2] @ b)


@pytest.mark.parametrize("vectors", [1, 2, 4])
def test_even_width(vectors):
    lanes = 8
    tiling = Tiling(lanes, *[6] * vectors, *[0] * (4 - vectors), vectors * lanes)
    for columns in range(1, 20 * lanes):
        width = even_width(columns, tiling)
        assert width % lanes == 0
        assert lanes <= width <= tiling.widest
        assert -(-columns // width) == -(-columns // tiling.widest)
    assert even_width(12 * lanes, tiling) == vectors * lanes
    assert even_width(6 * lanes, tiling) == {1: 1, 2: 2, 4: 3}[vectors] * lanes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lines_of_cache(dtype):
    for count in (1, 7, 1000):
        array = lines_of_cache(count, np.empty(0, dtype))
        assert array.shape == (count,)
        assert array.dtype == dtype
        assert array.ctypes.data % 64 == 0
        array[...] = 1  # all of it is there
        zeros = zeroed_lines_of_cache(count, np.empty(0, dtype))
        assert zeros.ctypes.data % 64 == 0
        assert zeros.dtype == dtype
        assert (zeros == np.zeros(count)).all()


@pytest.mark.parametrize(
    ("triple", "features", "unit"),
    [
        ("aarch64-unknown-linux-gnu", "", vector_unit.NEON),  # LLVM may list no feature of an ARM
        ("arm64-apple-darwin24.1.0", "+v8a", vector_unit.NEON),
        ("x86_64-unknown-linux-gnu", "+avx2,+fma", vector_unit.AVX2),
        ("x86_64-unknown-linux-gnu", "+avx2,+fma,+avx512f", vector_unit.AVX512),
        ("x86_64-unknown-linux-gnu", "+sse2", None),
    ],
)
def test_the_vector_unit_of_a_cpu(triple, features, unit, monkeypatch):
    monkeypatch.setattr(vector_unit.binding, "get_process_triple", lambda: triple)
    monkeypatch.setattr(vector_unit.binding, "get_host_cpu_features", dict)
    monkeypatch.setattr(vector_unit.numba.config, "CPU_NAME", None)
    monkeypatch.setattr(vector_unit.numba.config, "CPU_FEATURES", features)
    assert vector_unit.vector_unit() is unit
