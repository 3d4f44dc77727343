"""Writing a file so that it appears whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from minicnn.errors import ConfigError, FileFormatError

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")  # what write_whole calls its temporary files


def check_target(path: Path, overwrite: bool, suffixes: Iterable[str], owner: str) -> None:
    """Raise ConfigError or FileFormatError if path cannot be written, before any work is done."""
    known = tuple(suffixes)
    if path.suffix.lower() not in known:
        raise ConfigError(f"{owner}: {str(path)!r} must end in {' or '.join(known)}, the formats that minicnn writes.")
    try:
        is_folder, has_folder, exists = path.is_dir(), path.parent.is_dir(), path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise FileFormatError(f"{path}: cannot be written: {error.strerror}; choose another name.") from error
    if is_folder:
        raise FileFormatError(f"{path}: is a folder and cannot be written; name a file in it.")
    if not has_folder:
        raise FileFormatError(
            f"{path}: cannot be written, since the folder {path.parent} does not exist; make it first."
        )
    if not overwrite and exists:
        raise ConfigError(f"{owner}: {str(path)!r} exists and overwrite=False; choose another name or overwrite=True.")


def write_whole(path: Path, content: memoryview) -> None:
    """Write content to a temporary file in path's folder, and put it in path's place once it is safely on the disk.

    Whatever fails, the old file stays as it was and the temporary one is removed. A symbolic link stays one: what it
    points to is replaced. Raises FileFormatError where the system refuses.
    """
    target = path.resolve()
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"  # not made of the name, which may be as long as any
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                os.chmod(temporary, target.stat().st_mode & 0o7777)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileFormatError(f"{path}: cannot be written: {reason}; what was there before is unchanged.") from error


def remove_temporary(folder: Path) -> None:
    """Remove the temporary files that write_whole leaves in a folder when its process is killed."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)
