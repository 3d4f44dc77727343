"""Arrays that code of the caller's is given and returns: it cannot write to ours, and we do not write to its."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.errors import ShapeError
from minicnn.typing import Array, Shape


def writable(arrays: dict[str, Array]) -> None:
    """Put copies in the place of those that cannot be written to."""
    arrays.update({name: array.copy() for name, array in arrays.items() if not array.flags.writeable})


def to_read(array: Array) -> Array:
    """The same memory, not to be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def conforming(array: Any, shape: Shape, dtype: Any, owner: str, remedy: str) -> Array:
    """What the caller's code, `owner`, returned, as kernels read it, which would copy another each anew: C-contiguous,
    aligned, of this dtype. Raises ShapeError unless it has this shape."""
    if np.shape(array) != shape:
        raise ShapeError(f"{owner} returned shape {np.shape(array)} where {shape} is due; {remedy}.")
    return np.require(array, dtype, ("C", "A"))


def not_the_callers(checked: Array, returned: Any) -> Array:
    """An array made of what the caller's code returned or gave, in memory of its own, which may be written to."""
    return checked.copy() if np.may_share_memory(checked, returned) else checked
