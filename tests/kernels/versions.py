"""What the kernel tests share: the versions of an operation, and how close they must be."""

import numpy as np
from hypothesis import strategies as st

from minicnn.kernels.fused import LINEAR, RELU, TANH

DTYPES = st.sampled_from([np.float32, np.float64])
SEEDS = st.integers(0, 2**32 - 1)

FUNCTIONS = {LINEAR: lambda z: z, RELU: lambda z: np.where(z <= 0, z.dtype.type(0), z), TANH: np.tanh}
DERIVATIVES = {LINEAR: np.ones_like, RELU: lambda y: (y > 0).astype(y.dtype), TANH: lambda y: 1 - y * y}
"""Of fused activations: f of z, and f' by y = f(z)."""


def plain(function, *args):
    """Run a function of loops as the plain Python that it is. Hashes wrap around; exponentials may overflow."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return function(*args)


def assert_close(actual, expected, scale=None, units=16):
    """Equal up to `units` last places of the largest entry (or of `scale`); NaN and infinity in the same places."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    largest = float(np.abs(expected[finite]).max(initial=0)) if scale is None else float(scale)
    np.testing.assert_allclose(
        actual[finite], expected[finite], rtol=0, atol=units * np.finfo(expected.dtype).eps * largest
    )
