"""JSON from files that may be damaged or hostile, and JSON for files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from minicnn.errors import ConfigError, FileFormatError
from minicnn.typing import Config

MAX_CHARACTERS = 1 << 24
"""16 Mi: a thousand times what a large model's configuration takes."""


def parse_object(text: str, owner: str) -> Config:
    """The JSON object in text. Raises FileFormatError, beginning with owner, for anything else.

    NaN and Infinity, which Python's parser would take, are no JSON and refused; so is nesting that exhausts the stack.
    """
    if len(text) > MAX_CHARACTERS:
        raise FileFormatError(
            f"{owner}: has {len(text)} characters of JSON, more than {MAX_CHARACTERS}; give a model's."
        )
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise FileFormatError(f"{owner}: the JSON is nested too deeply; give a model's.") from None
    except ValueError as error:
        raise FileFormatError(f"{owner}: is not valid JSON ({error}); the file is damaged, get it anew.") from None
    if not isinstance(value, dict):
        raise FileFormatError(
            f"{owner}: holds a JSON {type(value).__name__} where an object is due; the file is damaged, get it anew."
        )
    return value


def to_text(value: Config, owner: str) -> str:
    """value as JSON the way Keras writes it. NumPy's numbers and arrays become plain ones, tuples lists.

    Raises ConfigError for values that JSON does not have.
    """
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{owner}: its configuration cannot be saved ({error}); let get_config return JSON values."
        ) from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} is no JSON value")


def shown(text: str, longest: int = 80) -> str:
    """A file's text for a message of one line: what can be printed of its beginning."""
    return "".join(c for c in text[:longest] if c.isprintable())


def is_count(value: Any) -> bool:
    """Whether a file's value can be a number of things."""
    return is_seed(value) and value < 1 << 63


def is_seed(value: Any) -> bool:
    """Whether a file's value can be a seed, which may be of any size."""
    return type(value) is int and value >= 0
