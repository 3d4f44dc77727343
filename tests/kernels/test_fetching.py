"""A product that fetches is the one that does not, to the bit. As on a CPU with AVX2 alone: test_tiles.py."""

import numpy as np
import pytest

from minicnn.kernels.fetching import panel_product
from minicnn.kernels.jit import compiled
from minicnn.kernels.tiles import tiling_for
from minicnn.kernels.transforms import with_transforms
from tests.kernels.test_tiles import product


def panel_loops(a, b, c, following, terms, rows, columns, tiling):
    """c (rows, columns + 3) from a (rows, terms + 1) and b (terms, columns)."""
    panel_product(a, 0, terms + 1, b, 0, c, 1, columns + 3, terms, rows, columns, following, tiling)


panel = compiled(panel_loops)


def assert_panel_is_the_definition(dtype):
    """To the bit what rows_product makes of it, whatever is fetched meanwhile: b itself, or what lies beyond it."""
    itemsize, rng = np.dtype(dtype).itemsize, np.random.default_rng(0)
    tiling = with_transforms(tiling_for(itemsize), itemsize)
    for vectors in range(1, tiling.widest // tiling.lanes + 1):
        columns = vectors * tiling.lanes
        for rows in (*range(1, tiling[vectors] + 2), 40):
            for terms in (1, 7, 128, 300):
                a = rng.standard_normal((rows, terms + 1)).astype(dtype).reshape(-1)
                b = rng.standard_normal((terms, columns)).astype(dtype).reshape(-1)
                before = rng.standard_normal(rows * (columns + 3)).astype(dtype)
                expected = before.copy()
                product(a, b, expected, terms, 1, rows, columns, False, tiling)
                assert not np.array_equal(expected, before)
                for following in (0, b.size, 1 << 40):
                    for function in (panel, panel_loops) if rows == 1 and terms == 7 else (panel,):
                        got = before.copy()
                        function(a, b, got, following, terms, rows, columns, tiling)
                        if function is panel:
                            np.testing.assert_array_equal(got, expected)
                        else:
                            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


CHECKS = (assert_panel_is_the_definition,)


@pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: there is no generated tile product here")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_panel(dtype):
    assert_panel_is_the_definition(dtype)
