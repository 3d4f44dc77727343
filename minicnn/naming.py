"""Automatic layer and model names: conv2d, conv2d_1, conv2d_2, ... one counter a class, for the whole process.

Nothing but names hangs on this counter: neither weights nor random numbers depend on it.
"""

import re
from collections import Counter
from typing import Any

_counts: Counter[str] = Counter()


def snake_case(class_name: str) -> str:
    """The class's name as Keras 3 spells it in layer names and files: conv2d of Conv2D, max_pooling2d, re_lu."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def function_name(function: Any) -> str:
    """What files and messages call it: __name__, or its class's where it is an object that can be called."""
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def automatic_name(class_name: str) -> str:
    """The next free name of a class: the first has no number, the k-th further one ends in _k."""
    base = snake_case(class_name)
    count = _counts[base]
    _counts[base] += 1
    return f"{base}_{count}" if count else base


def reset() -> None:
    """Start counting anew, as `minicnn.utils.clear_session()` does."""
    _counts.clear()
