"""Upsampling: the versions agree, forward and backward are adjoint, and values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import upsampling
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

SMALL = st.integers(1, 4)
VERSIONS = ("numpy", "numba")


def version_of(operation, version):
    return getattr(upsampling, f"upsample_{operation}_{version}")


@pytest.mark.parametrize("kind", ["nearest", "bilinear"])
@given(
    shape=st.tuples(st.integers(0, 2), SMALL, SMALL, st.integers(1, 3)),
    scale=st.tuples(SMALL, SMALL),
    dtype=DTYPES,
    seed=SEEDS,
)
def test_versions_agree_and_backward_is_the_transpose_of_forward(kind, shape, scale, dtype, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(dtype)
    y = plain(version_of(kind, "loops"), x, scale)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx = plain(version_of(f"{kind}_backward", "loops"), dy, scale)
    for version in VERSIONS:
        assert_close(version_of(kind, version)(x, scale), y, 8)
        assert_close(version_of(f"{kind}_backward", version)(dy, scale), dx, 8 * scale[0] * scale[1])
    tolerance = 64 * np.finfo(dtype).eps * max(1, np.abs(y * dy).sum())
    assert abs(np.sum(y * dy, dtype="f8") - np.sum(x * dx, dtype="f8")) <= tolerance


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
def test_values(version):
    x = np.array([0.0, 4]).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(version_of("nearest", version)(x, (1, 3)).ravel(), [0, 0, 0, 4, 4, 4])
    np.testing.assert_array_equal(version_of("bilinear", version)(x, (1, 2)).ravel(), [0, 1, 3, 4])
    np.testing.assert_array_equal(version_of("bilinear", version)(x, (1, 4)).ravel(), [0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4])
    dy = np.arange(4.0).reshape(1, 1, 4, 1)
    np.testing.assert_array_equal(version_of("nearest_backward", version)(dy, (1, 2)).ravel(), [1, 5])
    np.testing.assert_array_equal(
        version_of("bilinear_backward", version)(dy, (1, 2)).ravel(), [0 + 0.75 + 0.5, 0.25 + 1.5 + 3]
    )
