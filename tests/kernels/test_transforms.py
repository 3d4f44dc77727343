"""The generated transforms are their definition. As on a CPU with AVX2 alone: test_tiles.py."""

import numpy as np
import pytest

from minicnn.kernels.jit import compiled
from minicnn.kernels.tiles import tiling_for
from minicnn.kernels.transforms import SIDES, tile_transform, with_transforms


def transform_loops(a, b, kind, tiles, columns, size, results, tiling):
    """b (tiles, results, results, columns + 1) from a (tiles, size + 1, size, columns); a number before each."""
    tile_transform(
        a, 1, size * columns, columns, (size + 1) * size * columns,
        b, 1, results * (columns + 1), columns + 1, results * results * (columns + 1), kind, tiles, columns,
    )  # fmt: skip


transform = compiled(transform_loops)


def assert_transform_is_the_definition(dtype):
    itemsize, rng = np.dtype(dtype).itemsize, np.random.default_rng(0)
    tiling, bound = with_transforms(tiling_for(itemsize), itemsize), 40 * np.finfo(dtype).eps
    for kind, side in enumerate(SIDES):
        side = np.array(side, float)
        results, size = side.shape
        for tiles, vectors in ((1, 1), (3, 2), (2, 5), (0, 1)):
            columns = vectors * tiling.lanes
            a = rng.standard_normal(1 + tiles * (size + 1) * size * columns).astype(dtype)
            before = rng.standard_normal(1 + tiles * results * results * (columns + 1)).astype(dtype)
            d = a[1:].reshape(tiles, size + 1, size, columns)[:, :size].astype(float)
            expected = before.astype(float)
            inside = expected[1:].reshape(tiles, results, results, columns + 1)
            inside[..., :columns] = np.einsum("ik,jl,tklf->tijf", side, side, d)
            for function in (transform, transform_loops):
                got = before.copy()
                function(a, got, kind, tiles, columns, size, results, tiling)
                np.testing.assert_allclose(got, expected, rtol=bound, atol=bound)


CHECKS = (assert_transform_is_the_definition,)


@pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: there is no generated transform here")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_transform(dtype):
    assert_transform_is_the_definition(dtype)
