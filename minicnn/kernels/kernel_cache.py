"""Where compiled kernels are kept on disk: under names that change with the sources, and without, where that fails.

Numba writes the cache, in `__pycache__` beside the kernel files, in NUMBA_CACHE_DIR or in the user's cache folder.
"""

import hashlib
import os
import traceback
import types
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from minicnn.errors import MinicnnWarning

_warned = False


def renamed_for_the_cache(function: Callable[..., Any], names: dict[str, Any], remark: str = "") -> Any:
    """A copy of the function with other globals, under a name that changes with the sources.

    Numba's cache goes by the name, the bytecode and the file of a function, not by the options nor by what its helpers'
    files hold.
    """
    copy = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    copy.__module__, copy.__qualname__ = function.__module__, f"{function.__qualname__}{remark}_{sources()}"
    return copy


@cache
def sources() -> str:
    """A hash of all files that kernels and their helpers stand in, and of their arguments' types; of 3 ms.

    Asked for when this module is imported, as all of minicnn is then: a file that is edited while the process runs is
    not what it compiles. Where they cannot be read, a name that no other process has.
    """
    package = Path(__file__).resolve().parents[1]
    files = sorted(file for folder in ("kernels", "steps") for file in (package / folder).glob("*.py"))
    files.append(package / "geometry.py")  # code for Windows goes by the places of its fields
    try:
        return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]
    except OSError:
        return f"unknown{os.urandom(6).hex()}"


sources()


def cached_if_possible(compile_it: Callable[[bool], Any]) -> Any:
    """compile_it(True), cached on disk; where no cache can be used, compile_it(False) and one warning."""
    try:
        return compile_it(True)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        remedy = "set NUMBA_CACHE_DIR to a folder that can be written"
        warn_once("Numba finds no folder to cache compiled kernels in", remedy)
    except Exception as error:
        if not has_failed(error):
            raise
        warn_of(error)
    return compile_it(False)


def has_failed(error: BaseException) -> bool:
    """Whether Numba's caching was at work: there is no space left, a file is cut off, or may not be read."""
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(file.parts[-3:] == ("numba", "core", "caching.py") for file in files)


def warn_of(error: BaseException, folder: Any = None) -> None:
    """Say once what is wrong with the cache, in the folder if it is known."""
    place = f"delete {folder}" if folder else "delete its files"
    warn_once(
        f"the cache of compiled kernels cannot be used ({type(error).__name__}: {error})",
        f"make room, {place}, or set NUMBA_CACHE_DIR to another folder",
    )


def warn_once(what: str, remedy: str) -> None:
    """One warning a process, however many kernels have no cache."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(f"{what}, so each process compiles them anew; {remedy}.", MinicnnWarning, stacklevel=2)


def is_missing() -> bool:
    """Whether the user was told that kernels are not cached."""
    return _warned
