"""Checking the numbers that constructors take. The counterpart for integers is geometry.positive_int."""

import math
from numbers import Real
from typing import Any

from minicnn.errors import ConfigError


def finite_number(
    value: Any, name: str, owner: str, least: float = -math.inf, most: float = math.inf, below: float = math.inf
) -> float:
    """value as a float, if it is a number, finite, and least <= value <= most, value < below.

    NumPy's scalars are numbers, booleans and strings are not. Raises ConfigError naming the owner and the argument.
    """
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer beyond the largest float
        number = math.inf
    if math.isfinite(number) and least <= number <= most and number < below:
        return number
    limits = [f"at least {least:g}"] * (least > -math.inf)
    limits += [f"at most {most:g}"] * (most < math.inf) + [f"below {below:g}"] * (below < math.inf)
    kind = "a finite number" + f" of {' and '.join(limits)}" * bool(limits)
    raise ConfigError(f"{owner}: {name} must be {kind}, got {value!r}.")
