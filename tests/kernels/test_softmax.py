"""Softmax, alone and with cross-entropy: the versions agree, and large logits do no harm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import softmax
from tests.kernels.versions import DTYPES, SEEDS, assert_close, plain

VERSIONS = ("loops", "numpy", "numba")


@st.composite
def problems(draw):
    n, classes = draw(st.integers(0, 6)), draw(st.integers(1, 6))
    rng, dtype = np.random.default_rng(draw(SEEDS)), draw(DTYPES)
    logits = (draw(st.sampled_from([0.1, 1, 30])) * rng.standard_normal((n, classes))).astype(dtype)
    if draw(st.booleans()):
        targets = np.eye(classes, dtype=dtype)[rng.integers(0, classes, n)]
    else:
        targets = rng.random((n, classes)).astype(dtype)  # rows need not sum to 1
    return logits, targets


@given(problems())
def test_versions_agree(problem):
    logits, targets = problem
    p = plain(softmax.softmax_loops, logits)
    dz = plain(softmax.softmax_backward_loops, targets, p)
    together = plain(softmax.softmax_cross_entropy_loops, logits, targets)
    np.testing.assert_array_equal(together[1], p)
    for version in ("numpy", "numba"):
        assert_close(getattr(softmax, f"softmax_{version}")(logits), p)
        assert_close(getattr(softmax, f"softmax_backward_{version}")(targets, p), dz, 1)
        for actual, expected in zip(
            getattr(softmax, f"softmax_cross_entropy_{version}")(logits, targets), together, strict=True
        ):
            assert_close(actual, expected, max(1, np.abs(expected).max(initial=0)))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gap", [200.0, 400.0, 1e4])
def test_confident_and_wrong_costs_the_gap_and_has_gradient_one(version, dtype, gap):
    """As Keras on TensorFlow: through probabilities the loss would stop at 16.118095 and its gradient vanish."""
    logits, targets = np.array([[gap, 0, 0]], dtype), np.array([[0, 1, 0]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss, p, dz = getattr(softmax, f"softmax_cross_entropy_{version}")(logits, targets)
    assert loss.item() == gap
    np.testing.assert_allclose(p, [[1, 0, 0]], atol=1e-80)
    np.testing.assert_allclose(dz, [[1, -1, 0]], atol=1e-80)


@pytest.mark.parametrize("version", VERSIONS)
def test_values(version):
    loss, p, dz = getattr(softmax, f"softmax_cross_entropy_{version}")(np.array([[2.0, 1, 0]]), np.array([[1.0, 0, 0]]))
    expected = np.exp([2.0, 1, 0]) / np.exp([2.0, 1, 0]).sum()
    np.testing.assert_allclose(loss, [0.40760596444438], rtol=1e-13)
    np.testing.assert_allclose(p[0], expected, rtol=1e-15)
    np.testing.assert_allclose(dz[0], expected - [1, 0, 0], rtol=1e-14)


@pytest.mark.parametrize("version", VERSIONS)
def test_nan_stays_in_its_row_and_minus_infinity_is_probability_zero(version):
    logits = np.array([[0, np.nan, 0], [0, -np.inf, 0], [1, 1, 1]])
    targets = np.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    loss, p, dz = plain(getattr(softmax, f"softmax_cross_entropy_{version}"), logits, targets)
    np.testing.assert_array_equal(np.isnan(loss), [True, False, False])
    np.testing.assert_array_equal(p[1], [0.5, 0, 0.5])
    np.testing.assert_array_equal(dz[1], [-0.5, 0, 0.5])
    np.testing.assert_allclose(loss[1:], [np.log(2), np.log(3)], rtol=1e-15)
    assert np.isnan(plain(getattr(softmax, f"softmax_{version}"), logits)[0]).all()
