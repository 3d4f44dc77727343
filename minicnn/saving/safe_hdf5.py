"""Reading HDF5 files that may be damaged or hostile: plain groups, arrays and strings, nothing that reaches elsewhere.

An HDF5 file can name other files (external links, external storage, virtual data sets), claim arrays that are larger
than itself, and hold one array under many names. What Keras writes does none of this: every array is stored once, in
one piece, uncompressed. So only that is read, and all arrays together may not take more memory than the file has bytes.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from minicnn.errors import FileFormatError, MinicnnError
from minicnn.saving.attribute_sizes import claimed_bytes
from minicnn.saving.string_heaps import check_heaps
from minicnn.typing import Array

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_ATTRIBUTE_BYTES = 1 << 20
"""16 times the longest list of names that Keras writes. Long texts lie elsewhere in the file and count as 16 bytes."""
_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    struct.error,
)
_MAX_DEPTH = 64  # of nested groups in one name
_MAX_PARTS = 64  # of a list of names: 4 MB of them, each part of which is looked for in the whole file
_LEAST_BYTES = 64
"""What an array takes in any file, its header alone: so one without numbers cannot be read any number of times."""
_BFLOAT16 = np.dtype("V2")
"""What h5py makes of bfloat16, which neither HDF5 nor NumPy has: two bytes without a meaning."""
_NUMBERS = {np.dtype(t) for t in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")} | {_BFLOAT16}


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """A Reader of the HDF5 file at path. Raises FileFormatError for anything else, saying what it is.

    Whatever goes wrong in the HDF5 library inside the block becomes a FileFormatError too.
    """
    check_is_hdf5(path)
    with guarded(path), path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        check_heaps(path, content)
        with h5py.File(path, "r") as root:
            yield Reader(path, root, content)


@contextmanager
def opened_image(path: Path, image: bytes) -> Iterator[Reader]:
    """As opened, of an HDF5 file in memory; path is that of the file which holds it, for messages."""
    if not image.startswith(SIGNATURE):
        raise FileFormatError(f"{path}: its model.weights.h5 is no HDF5 file; the file is damaged, get it anew.")
    with guarded(path):
        check_heaps(path, image)
        with h5py.File(h5py.h5f.open_file_image(image)) as root:
            yield Reader(path, root, image)


@contextmanager
def guarded(path: Path, what: str = "damaged or incomplete", more: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """What goes wrong in a reading library inside the block, as a FileFormatError that says what the file is.

    more: exceptions of that library's own.
    """
    try:
        yield
    except MinicnnError:
        raise
    except MemoryError:
        raise FileFormatError(f"{path}: does not fit into memory; free some, or use a machine with more.") from None
    except _DAMAGE + more as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileFormatError(f"{path}: is {what} ({reason}); get the file anew.") from error


def file_start(path: Path) -> bytes:
    """The first bytes of the file at path. Raises FileFormatError if it cannot be read."""
    try:
        if path.is_dir():
            raise FileFormatError(
                f"{path}: is a folder (a SavedModel?); minicnn reads .h5 and .keras files, save the model as one."
            )
        with path.open("rb") as file:
            return file.read(64)
    except MinicnnError:  # which is a ValueError too
        raise
    except FileNotFoundError:
        raise FileFormatError(
            f"{path}: no such file; check the name and the folder {path.absolute().parent}."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileFormatError(f"{path}: cannot be read: {reason}; check the name and the file's permissions.") from None


def check_is_hdf5(path: Path) -> None:
    """Raise FileFormatError, saying what is there, unless path is a file that begins like HDF5."""
    start = file_start(path)
    if not start.startswith(SIGNATURE):
        raise FileFormatError(f"{path}: {_description(start)}.")


class Reader:
    """Reads groups, arrays and strings of one open file, with the checks that this module promises."""

    def __init__(self, path: Path, root: h5py.Group, content: bytes | mmap.mmap) -> None:
        self.path = path
        self.root = root
        self._content = content
        self._bytes_left = len(content)  # for all arrays together
        self._checked: set[str] = set()  # names of attributes whose strings are as long as the file allows

    def group(self, parent: h5py.Group, name: str) -> h5py.Group:
        """The group of that name, which may lie several groups deep. Raises FileFormatError if there is none."""
        found = self._walk(parent, name)
        if not isinstance(found, h5py.Group):
            raise FileFormatError(
                f"{self.path}: has an array where the group {name!r} is due; the file is damaged, get it anew."
            )
        return found

    def array(self, parent: h5py.Group, name: str) -> Array:
        """The array of that name, in its own dtype; bfloat16 as float32.

        Its type, storage and size are checked before it is read.
        """
        found = self._walk(parent, name)
        if not isinstance(found, h5py.Dataset):
            raise FileFormatError(
                f"{self.path}: has a group where the array {name!r} is due; the file is damaged, get it anew."
            )
        self._check_array(found, name)
        array = np.asarray(found[()])
        return _widened(array) if array.dtype == _BFLOAT16 else array

    def text(self, node: h5py.Group, name: str) -> str | None:
        """A string attribute, or None if there is none of that name."""
        value = self._attribute(node, name)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        if value is None or isinstance(value, (str, bytes)):
            return _decoded(value) if value is not None else None
        raise FileFormatError(f"{self.path}: the attribute {name!r} is not a string; the file is damaged, get it anew.")

    def names(self, node: h5py.Group, name: str) -> list[str] | None:
        """A list of strings, or None. Keras splits a long one into attributes name0, name1, ..."""
        if name in node.attrs:
            return self._names(node, name)
        parts: list[str] = []
        number = 0
        while f"{name}{number}" in node.attrs:
            if number == _MAX_PARTS:
                raise FileFormatError(
                    f"{self.path}: the list {name!r} has more than {_MAX_PARTS} parts; give a model's file."
                )
            parts += self._names(node, f"{name}{number}")
            number += 1
        return parts if number else None

    def _names(self, node: h5py.Group, name: str) -> list[str]:
        values = np.asarray(self._attribute(node, name)).reshape(-1)
        if values.size == 0:
            return []  # of any type: Keras writes an empty list as float64
        if not all(isinstance(v, (str, bytes)) for v in values):
            raise FileFormatError(
                f"{self.path}: the attribute {name!r} is not a list of names; the file is damaged, get it anew."
            )
        return [_decoded(v) for v in values]

    def _attribute(self, node: h5py.Group, name: str) -> Any:
        if name not in node.attrs:
            return None
        stored = node.attrs.get_id(name)
        kind = stored.get_type()
        size = math.prod(stored.shape) * kind.get_size()
        if size > MAX_ATTRIBUTE_BYTES or kind.get_class() not in (h5py.h5t.STRING, h5py.h5t.FLOAT) or kind.committed():
            raise FileFormatError(
                f"{self.path}: the attribute {name!r} is too large or of a strange type; give a model's file."
            )
        if name not in self._checked and h5py.check_string_dtype(stored.dtype) and kind.is_variable_str():
            self._check_strings(name)
        return node.attrs[name]

    def _check_strings(self, name: str) -> None:
        claimed = claimed_bytes(self._content, name, MAX_ATTRIBUTE_BYTES // 16)
        if claimed is None:
            raise FileFormatError(f"{self.path}: the attribute {name!r} is damaged; get the file anew.")
        if claimed > len(self._content):
            raise FileFormatError(
                f"{self.path}: the attribute {name!r} claims {claimed} bytes of text, which the file does not hold; "
                "it is damaged or hostile; do not use it."
            )
        self._checked.add(name)

    def _walk(self, parent: h5py.Group, name: str) -> Any:
        """What lies under name, taken apart at the slashes. Only hard links are followed: the others lead elsewhere."""
        parts = name.split("/")
        if len(parts) > _MAX_DEPTH or any(part in ("", ".", "..") for part in parts):
            raise FileFormatError(
                f"{self.path}: refuses the name {name!r}, which leads out of its group; "
                "the file is damaged or hostile, do not use it."
            )
        node: Any = parent
        for part in parts:
            link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
            if link is None:
                raise FileFormatError(
                    f"{self.path}: has no {name!r} in {parent.name!r}; the file is damaged or incomplete, get it anew."
                )
            if not isinstance(link, h5py.HardLink):
                raise FileFormatError(
                    f"{self.path}: {name!r} is a link to elsewhere ({type(link).__name__}), which is never followed; "
                    "save the model in one file."
                )
            node = node[part]
        return node

    def _check_array(self, dataset: h5py.Dataset, name: str) -> None:
        layout = dataset.id.get_create_plist()
        if dataset.is_virtual or dataset.external:
            raise FileFormatError(
                f"{self.path}: the array {name!r} lies in another file, which is never read; save the model in one."
            )
        if dataset.shape is None or dataset.dtype.newbyteorder("=") not in _NUMBERS:
            raise FileFormatError(
                f"{self.path}: {name!r} holds {dataset.dtype}, not numbers; the file is damaged, get it anew."
            )
        if layout.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or layout.get_nfilters():
            raise FileFormatError(
                f"{self.path}: the array {name!r} is stored in chunks or compressed, which Keras never does; "
                "rewrite the file with: h5repack -f NONE -l CONTI."
            )
        claimed, stored = math.prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
        if claimed != stored or claimed > self._bytes_left:
            raise FileFormatError(
                f"{self.path}: the array {name!r} claims {claimed} bytes, which the file does not hold; "
                "it is damaged or hostile; do not use it."
            )
        if self._bytes_left < _LEAST_BYTES:
            raise FileFormatError(
                f"{self.path}: lists more arrays than it has room for, {name!r} among them; "
                "it is damaged or hostile; do not use it."
            )
        self._bytes_left -= max(claimed, _LEAST_BYTES)


def put_array(group: h5py.Group, name: str, array: Any) -> None:
    """Write an array in one piece, little-endian. Its bytes depend on nothing but the array."""
    array = np.asarray(array)
    little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
    group.create_dataset(name, data=little_endian, track_times=False)  # times would make every file different


def _widened(array: Array) -> Array:
    """bfloat16 as float32, of which it is the upper two bytes. The low byte comes first."""
    return (array.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _decoded(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _description(start: bytes) -> str:
    """What a file that begins with these bytes is, and what to do about it."""
    if not start:
        return "is empty; get the file anew"
    if start.startswith(b"PK\x03\x04"):
        return "is a zip archive, not an HDF5 file; load_model reads it if it is a .keras file"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of git-lfs, not the file itself; get the file with: git lfs pull"
    if SIGNATURE.startswith(start):
        return "is an HDF5 file that breaks off after its first bytes; get the file anew"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        return f"is text, not an HDF5 file; it begins {start[:32].decode('ascii')!r}; give a .h5 or .keras file"
    return f"is not an HDF5 file; it begins with the bytes {start[:8].hex(' ')}; give a .h5 or .keras file"
