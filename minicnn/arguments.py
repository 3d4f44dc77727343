"""Checking the arguments that constructors take. The counterpart for sizes is geometry.positive_int."""

import inspect
import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

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


def seed_or_none(value: Any, owner: str) -> int | None:
    """A seed as an int; None, which means no seed of one's own, as it is. Raises ConfigError for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ConfigError(f"{owner}: seed must be a non-negative integer or None, got {value!r}.")
    return int(value)


def dtype_or_none(value: Any, owner: str) -> str | None:
    """ "float32", "float64" or None. Raises ConfigError for anything else."""
    if value is None or (isinstance(value, str) and value in ("float32", "float64")):
        return value
    raise ConfigError(f'{owner}: dtype must be None, "float32" or "float64", got {value!r}.')


def refuse_unknown(arguments: Mapping[str, Any], owner: Any) -> None:
    """Raise ConfigError if a constructor got keywords that it does not know. owner: the object, or its name."""
    if arguments:
        name = owner if isinstance(owner, str) else type(owner).__name__
        raise ConfigError(f"{name}: unknown argument {next(iter(arguments))!r}; see help({name}).")


def refuse(owner: Any, **given: tuple[Any, Any]) -> None:
    """Raise ConfigError for Keras arguments that are not supported, unless they have their default.

    given: name=(value, default) for each.
    """
    for name, (value, default) in given.items():
        if value is not default and (isinstance(value, np.ndarray) or value != default):
            raise ConfigError(f"{owner}: {name}={value!r} is not supported by minicnn; leave it at {default!r}.")


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments by position; True of a C extension's, which may not tell.

    The signature is asked, not tried: a TypeError from within the function is the caller's to see.
    """
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True
