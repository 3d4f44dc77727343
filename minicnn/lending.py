"""Arrays that code of the caller's is given and returns: it cannot write to ours, and we do not write to its."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.typing import Array


def to_read(array: Array) -> Array:
    """The same memory, not to be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def not_the_callers(checked: Array, returned: Any) -> Array:
    """An array made of what the caller's code returned, in memory that a fused step may overwrite."""
    return checked.copy() if np.may_share_memory(checked, returned) else checked
