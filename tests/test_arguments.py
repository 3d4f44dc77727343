"""finite_number: which values are numbers, and the message for the others."""

import math
from fractions import Fraction

import numpy as np
import pytest

from minicnn.arguments import finite_number
from minicnn.errors import ConfigError


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1), Fraction(1)])
def test_numbers_become_floats(value):
    assert finite_number(value, "rate", "SGD") == 1.0
    assert type(finite_number(value, "rate", "SGD")) is float


@pytest.mark.parametrize("value", [None, "1", b"1", True, np.True_, math.nan, -math.inf, 10**400, [1], np.ones(1), 1j])
def test_others_are_refused(value):
    with pytest.raises(ConfigError, match=r"^SGD: rate must be a finite number, got "):
        finite_number(value, "rate", "SGD")


@pytest.mark.parametrize(
    ("limits", "good", "bad", "message"),
    [
        ({"least": 0}, 0, -0.5, "SGD: rate must be a finite number of at least 0, got -0.5."),
        ({"most": 1}, 1, 1.5, "SGD: rate must be a finite number of at most 1, got 1.5."),
        ({"least": 0, "below": 1}, 0.5, 1, "SGD: rate must be a finite number of at least 0 and below 1, got 1."),
    ],
)
def test_limits(limits, good, bad, message):
    assert finite_number(good, "rate", "SGD", **limits) == good
    with pytest.raises(ConfigError) as caught:
        finite_number(bad, "rate", "SGD", **limits)
    assert str(caught.value) == message
