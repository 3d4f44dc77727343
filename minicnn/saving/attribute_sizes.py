"""How long the strings of an HDF5 attribute claim to be, read from the file's bytes before HDF5 takes memory for them.

A string of variable length lies in a heap, and the attribute holds its length and where it is: HDF5 takes that many
bytes at once, 4 GB if the file says so, and offers no way to ask for the length alone. Layout: HDF5 file format,
"Attribute Message". Version 1 and 2 begin with version (1), flags (1) and the sizes of name, type and space (2 each);
version 3 has the name's encoding (1) after them. Then come name, type, space and data, in version 1 each filled up to 8
bytes.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator

_HEADERS = {1: 8, 2: 8, 3: 9}  # bytes before the name, by version
_VARIABLE_LENGTH = 9  # the class of such a type
_ELEMENT = 16  # length (4), heap's address (8), number in it (4)


def claimed_bytes(content: bytes | mmap.mmap, name: str, most: int) -> int | None:
    """The most bytes that the strings of an attribute of this name claim, over all attributes of it in the file.

    most: elements of one attribute that are looked at. None if there is no such attribute with strings of variable
    length, and if together they have more elements than the file has room for: true ones do not share their elements,
    and looking through forged ones would take the square of the file's length.
    """
    key = name.encode() + b"\0"
    elements_left = len(content) // _ELEMENT
    largest = None
    start = content.find(key)
    while start >= 0:
        for place, count in _data(content, start, len(key)):
            fitting = min(count, most, max(len(content) - place, 0) // _ELEMENT)
            elements_left -= fitting
            if elements_left < 0:
                return None
            largest = max(largest or 0, _claim(content, place, fitting))
        start = content.find(key, start + 1)
    return largest


def _data(content: bytes | mmap.mmap, start: int, name_size: int) -> Iterator[tuple[int, int]]:
    """Where the data of an attribute message begin whose name is at start, and how many elements they are."""
    for version, header in _HEADERS.items():
        if start < header or content[start - header] != version:
            continue
        size, type_size, space_size = struct.unpack_from("<3H", content, start - header + 2)
        if size != name_size:
            continue
        unit = 8 if version == 1 else 1
        kind, space, place = (
            start + sum(-(-s // unit) * unit for s in part)
            for part in ((size,), (size, type_size), (size, type_size, space_size))
        )
        if place <= len(content) and kind < len(content) and content[kind] & 0x0F == _VARIABLE_LENGTH:
            yield place, _count(content[space:place])


def _count(space: bytes) -> int:
    """The number of elements in a dataspace: version (1), rank (1), flags and filling up to 8 or 4 bytes, sizes."""
    if len(space) < 4:
        return 1
    rank, first = space[1], 8 if space[0] == 1 else 4
    known = min(rank, max(len(space) - first, 0) // 8)
    return math.prod(struct.unpack_from(f"<{known}Q", space, first)) if known else 1


def _claim(content: bytes | mmap.mmap, place: int, count: int) -> int:
    return sum(struct.unpack_from("<I", content, place + k * _ELEMENT)[0] for k in range(count))
