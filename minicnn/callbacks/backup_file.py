"""A file that holds a tree of plain values and arrays: whole, or refused. The file of BackupAndRestore.

    /        @format; @tree: the values as JSON, in which {"array": k} stands for the k-th array; @digest: the SHA-256
             of both, so that a file which changed by a single bit is refused
    /arrays  0, 1, ...

A tree is made of None, bool, int, float, str, list, tuple, dict, NumPy's scalars and arrays of numbers, and comes back
with the same types and the same bits, NaN included. Anything else would need code to come back, and nothing in a file
is ever executed.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from minicnn.errors import ConfigError, FileFormatError, MinicnnError
from minicnn.saving import safe_json
from minicnn.saving.safe_hdf5 import opened
from minicnn.typing import Array, Config

FORMAT = "minicnn backup 3"

_PLAIN = (type(None), bool, int, str)
_NOT_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}  # floats that JSON does not have


def image(tree: Any) -> memoryview:
    """The bytes of a file that holds the tree. Raises ConfigError, saying where, for what cannot be held."""
    arrays: list[Array] = []
    try:
        text = safe_json.to_text({"tree": _encoded(tree, "", arrays)}, "BackupAndRestore")
    except RecursionError:
        raise ConfigError("BackupAndRestore: a state is nested too deeply, or holds itself; make it flat.") from None
    if len(text) > safe_json.MAX_CHARACTERS:
        raise ConfigError(
            f"BackupAndRestore: the states take {len(text)} characters, more than {safe_json.MAX_CHARACTERS}; "
            "let callbacks keep long series as arrays."
        )
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as root:
        root.attrs["format"] = FORMAT.encode()
        root.attrs["tree"] = text.encode()
        root.attrs["digest"] = _digest(text, arrays).encode()
        group = root.create_group("arrays")
        for number, array in enumerate(arrays):
            group.create_dataset(str(number), data=array, track_times=False)
    return buffer.getbuffer()


def read(path: Path) -> Any:
    """The tree in a file. Raises FileFormatError for a file that is damaged or of another kind."""
    with opened(path) as reader:
        if reader.text(reader.root, "format") != FORMAT:
            raise FileFormatError(f"{path}: is not written by this version of BackupAndRestore.")
        text = reader.text(reader.root, "tree") or ""
        group = reader.group(reader.root, "arrays")
        arrays = [reader.array(group, str(number)) for number in range(len(group))]
        if reader.text(reader.root, "digest") != _digest(text, arrays):
            raise FileFormatError(f"{path}: is damaged (its contents are not those that were written).")
    with reading(path):
        return _decoded(safe_json.parse_object(text, str(path))["tree"], arrays)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong in the block, where a tree is not what is due, into a FileFormatError."""
    try:
        yield
    except MinicnnError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise FileFormatError(f"{path}: is damaged ({type(error).__name__}: {error}).") from error


def _digest(text: str, arrays: list[Array]) -> str:
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _encoded(value: Any, place: str, arrays: list[Array]) -> Any:
    """The value for JSON: plain ones as they are, lists as lists, all else as an object with one key that says what.

    Classes are compared exactly: what is derived from a list or an int would come back as a list or an int.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is list:
        return [_encoded(v, f"{place}/{k}", arrays) for k, v in enumerate(value)]
    if kind is tuple:
        return {"tuple": _encoded(list(value), place, arrays)}
    if kind is dict:
        pairs = [[_encoded(k, place, arrays), _encoded(v, f"{place}/{k}", arrays)] for k, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, np.generic) or kind is np.ndarray:
        return {"scalar" if isinstance(value, np.generic) else "array": _stored(np.asarray(value), place, arrays)}
    raise _cannot_hold(place, kind.__name__)


def _stored(array: Array, place: str, arrays: list[Array]) -> Config:
    """Append the array to arrays, little-endian; its number there, and whether it holds booleans, stored as 0 and 1."""
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise _cannot_hold(place, f"array of {array.dtype}")
    booleans = array.dtype.kind == "b"
    array = array.view(np.uint8) if booleans else array
    arrays.append(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return {"number": len(arrays) - 1, "booleans": booleans}


def _cannot_hold(place: str, what: str) -> ConfigError:
    return ConfigError(
        f"BackupAndRestore: {place.lstrip('/')} is a {what}, which a backup cannot hold; let it be made of numbers, "
        "strings, None, lists, tuples, dicts and arrays."
    )


def _decoded(value: Any, arrays: list[Array]) -> Any:
    """The inverse of _encoded. What is not of its making raises whatever it happens to raise."""
    if isinstance(value, list):
        return [_decoded(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "float":
        return _NOT_FINITE[content]
    if kind == "tuple":
        return tuple(_decoded(content, arrays))
    if kind == "dict":
        return {_decoded(k, arrays): _decoded(v, arrays) for k, v in content}
    array = arrays[content["number"]]
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    array = array.astype(np.bool_) if content["booleans"] else array
    return {"scalar": array[()], "array": array}[kind]
