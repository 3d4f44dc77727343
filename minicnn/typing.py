"""The names that type hints share."""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""An array of any rank; docstrings give its shape."""

Shape: TypeAlias = tuple[int, ...]
"""A shape without the batch, unless said otherwise."""

Pair: TypeAlias = tuple[int, int]
"""Height and width, in that order."""

Config: TypeAlias = dict[str, Any]
"""What get_config returns and from_config takes: plain JSON values."""
