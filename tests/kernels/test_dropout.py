"""Dropout's masks: the same in every version, right in rate and scale, and independent where they should be."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import dropout
from minicnn.kernels.dropout import KEEP_RANGE, dropout_key
from tests.kernels.versions import DTYPES, SEEDS, plain


def mask(size, seed=0, step=0, position=0, rate=0.5, version="numpy", dtype=np.float64):
    """The mask alone: dropout of ones without the scale."""
    threshold, one = np.uint32(round(rate * KEEP_RANGE)), np.dtype(dtype).type(1)
    function = getattr(dropout, f"dropout_{version}")
    return plain(function, np.ones(size, dtype), *dropout_key(seed, step, position), threshold, one)


@given(size=st.integers(0, 300), rate=st.floats(0, 0.999), dtype=DTYPES, seed=SEEDS)
def test_versions_agree_exactly(size, rate, dtype, seed):
    x = np.random.default_rng(seed).standard_normal(size).astype(dtype)
    args = (*dropout_key(seed, 3, 1), np.uint32(round(rate * KEEP_RANGE)), dtype(1 / (1 - rate)))
    expected = plain(dropout.dropout_loops, x, *args)
    np.testing.assert_array_equal(dropout.dropout_numpy(x, *args), expected, strict=True)
    np.testing.assert_array_equal(dropout.dropout_numba(x, *args), expected, strict=True)


@pytest.mark.parametrize("version", ["numpy", "numba"])
def test_what_is_kept_is_scaled_and_nothing_else_happens(version):
    x = np.arange(1.0, 1001)
    args = (*dropout_key(7, 0, 0), np.uint32(KEEP_RANGE // 4), 1 / (1 - 0.25))
    y = getattr(dropout, f"dropout_{version}")(x, *args)
    kept = y != 0
    np.testing.assert_array_equal(y[kept], (x * (4 / 3))[kept])
    np.testing.assert_array_equal(x, np.arange(1.0, 1001))
    np.testing.assert_array_equal(kept, mask(1000, seed=7, rate=0.25) == 1)


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.5, 0.9])
def test_rate(rate):
    """The kept part of a million entries lies within 5 standard deviations of 1 − rate, for several keys."""
    size = 1_000_000
    for seed in range(4):
        kept = mask(size, seed=seed, rate=rate, version="numba").mean()
        assert abs(kept - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / size)


def test_masks_of_other_seeds_steps_and_positions_are_independent():
    """Correlations of any two masks, and of a mask with itself shifted, stay within 5 standard deviations of 0."""
    size = 200_000
    keys = [*itertools.product((0, 1, 2**40), (0, 1, 2), (0, 1))]
    masks = np.stack([mask(size, *key) for key in keys]) * 2 - 1  # +1 and −1, of mean 0
    correlations = masks @ masks.T / size
    assert np.abs(correlations - np.eye(len(keys))).max() < 5 / np.sqrt(size)
    for shift in (1, 2, 28, 32, 1024):
        assert abs(np.mean(masks[0, shift:] * masks[0, :-shift])) < 5 / np.sqrt(size - shift)


def test_no_entry_is_always_dropped_or_always_kept():
    counts = sum(mask(500, step=step) for step in range(400))
    assert (
        abs(counts - 200).max() < 5.5 * 10
    )  # of 500 binomials (400, ½) with deviation 10 the largest is about 3.1 off
    assert abs(counts.std() - 10) < 1.5


def test_the_mask_of_a_key_is_fixed():
    """Changing the generator would change every training with dropout: these bits are a promise."""
    np.testing.assert_array_equal(np.packbits(mask(64, 1, 2, 3).astype(bool)), FIXED_BITS)


FIXED_BITS = np.array([158, 102, 7, 93, 65, 84, 100, 70], np.uint8)
