"""What fused steps do to a run of numbers."""

import numpy as np
import pytest

from minicnn.kernels.fused import TANH, activate
from minicnn.kernels.jit import compiled


def tanh_loops(z, bias, y):
    activate(z, bias, TANH, y)


@pytest.mark.parametrize("version", [tanh_loops, compiled(tanh_loops)], ids=["plain", "compiled"])
def test_tanh_of_float32(version):
    count = 200_001 if isinstance(version, type(compiled(tanh_loops))) else 2_001
    z = np.linspace(-20, 20, count, dtype=np.float32)
    y = np.empty_like(z)
    version(z, np.zeros_like(z), y)
    exact = np.tanh(z.astype(np.float64))
    units = np.abs(y - exact) / np.spacing(np.maximum(np.abs(exact), 1e-30).astype(np.float32))
    assert units.max() <= 5
    assert np.abs(y).max() == 1
    assert (y[z >= 9.1] == 1).all()
    assert (y[z <= -9.1] == -1).all()


def test_tanh_of_infinity_nan_and_zero():
    z, y = np.array([np.inf, -np.inf, np.nan, 0], np.float32), np.empty(4, np.float32)
    compiled(tanh_loops)(z, np.zeros_like(z), y)
    np.testing.assert_array_equal(y, np.array([1, -1, np.nan, 0], np.float32))
