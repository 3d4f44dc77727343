"""The heaps in which an HDF5 file keeps its strings, looked through before HDF5 sees them.

Layout: HDF5 file format, "Global Heap". A collection is "GCOL", version 1, three zeros and its size (8 bytes, with this
header); then objects of number (2), references (2), zeros (4) and size (8), with their bytes filled up to a multiple of
8. Number 0 is the free space at the end, whose size includes these 16 bytes; of size 0 it has no end.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from minicnn.errors import FileFormatError

_HEAP = b"GCOL\x01\0\0\0"
_HEADER = 16  # of a heap and of an object in it


def check_heaps(path: Path, content: bytes | mmap.mmap) -> None:
    """Raise FileFormatError for a damaged heap, in which HDF5 (1.14.6, for one) would go round for ever.

    Heaps do not lie in one another. Where they claim to, looking through all of them would take the square of the
    file's length, so together they may have no more objects than the file has room for.
    """
    objects_left = len(content) // _HEADER
    start = content.find(_HEAP)
    while start >= 0:
        objects_left -= _objects(path, content, start, objects_left)
        start = content.find(_HEAP, start + 8)


def _objects(path: Path, content: bytes | mmap.mmap, start: int, most: int) -> int:
    """The number of objects in the heap at start. Raises FileFormatError if it is damaged, or has more than `most`."""
    end = start + _size(path, content, start)
    place, count = start + _HEADER, 0
    while place + _HEADER <= end:
        number, length = struct.unpack_from("<H6xQ", content, place)
        step = length if number == 0 else _HEADER + -(-length // 8) * 8
        if step < _HEADER or place + step > end:  # HDF5 adds the step modulo 2⁶⁴ and so may go back
            raise FileFormatError(f"{path}: is damaged (a heap of strings without an end); get the file anew.")
        place, count = place + step, count + 1
        if count > most:
            raise FileFormatError(f"{path}: is damaged (heaps of strings in one another); get the file anew.")
    return count


def _size(path: Path, content: bytes | mmap.mmap, start: int) -> int:
    size: int = struct.unpack_from("<Q", content, start + 8)[0]
    if size > len(content) - start:  # HDF5 takes as much memory, at each string anew
        raise FileFormatError(f"{path}: is damaged (a heap of strings of {size} bytes); get the file anew.")
    return size
