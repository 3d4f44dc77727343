"""Reading members of zip archives that may be damaged or hostile: into memory, never onto the disk.

An archive can hold two members of one name, of which readers take different ones; names that lead out of the folder it
is unpacked into; and members that unpack to a million times their size. The first two are refused wherever they stand,
the last by the sizes that the archive states, which unpacking never goes beyond.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minicnn.errors import FileFormatError
from minicnn.saving.safe_hdf5 import guarded

SIGNATURE = b"PK\x03\x04"

MAX_MEMBERS = 10_000
MAX_RATIO = 100
"""How often its stored size a member may unpack to, beyond _FREE bytes. Weights hardly compress at all."""
_FREE = 1 << 24
_ENCRYPTED = 0x1


def read_members(path: Path, limits: dict[str, int | None]) -> dict[str, bytes]:
    """The contents of the named members. limits: by name, the most bytes that are taken; None for MAX_RATIO alone.

    Raises FileFormatError for an archive that is damaged, lacks a member, or is of the hostile kinds above.
    """
    with _opened(path) as archive:
        return {name: _read(path, archive, name, limit) for name, limit in limits.items()}


def member_names(path: Path) -> list[str]:
    """The names of all members. Raises FileFormatError as read_members."""
    with _opened(path) as archive:
        return archive.namelist()


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, its members' names checked. What goes wrong in the block becomes a FileFormatError."""
    own = OverflowError, EOFError, zipfile.BadZipFile, zlib.error
    with guarded(path, "a damaged or incomplete archive", own), zipfile.ZipFile(path) as archive:
        _check_names(path, [info.orig_filename for info in archive.infolist()])
        yield archive


def _check_names(path: Path, names: list[str]) -> None:
    if len(names) > MAX_MEMBERS:
        raise FileFormatError(f"{path}: is an archive of {len(names)} members, more than any model's; do not use it.")
    seen: set[str] = set()
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or ":" in parts[0] or "\0" in name:
            raise FileFormatError(
                f"{path}: has a member {name!r}, which leads out of the archive; it is hostile, do not use it."
            )
        if name in seen:
            raise FileFormatError(f"{path}: has two members {name!r}; it is damaged or hostile, do not use it.")
        seen.add(name)


def _read(path: Path, archive: zipfile.ZipFile, name: str, limit: int | None) -> bytes:
    if name not in archive.namelist():
        raise FileFormatError(
            f"{path}: is an archive without {name}, so no .keras file; it has {_some(archive)}; give another."
        )
    info = archive.getinfo(name)
    if info.flag_bits & _ENCRYPTED:
        raise FileFormatError(f"{path}: its {name} is encrypted; save the model again without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileFormatError(f"{path}: its {name} is compressed in a way that Keras never uses; zip it with deflate.")
    most = MAX_RATIO * min(info.compress_size, path.stat().st_size) + _FREE
    if info.file_size > (most if limit is None else min(limit, most)):
        raise FileFormatError(
            f"{path}: its {name} of {info.compress_size} bytes claims to unpack to {info.file_size}; "
            "it is hostile, do not use it."
        )
    with archive.open(info) as member:
        content = member.read(info.file_size)
        if len(content) != info.file_size or member.read(1):
            raise FileFormatError(f"{path}: its {name} has not the size that the archive states; get the file anew.")
    return content


def _some(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "") if names else "no members"
