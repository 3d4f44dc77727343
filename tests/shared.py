"""The folder with real data that the tests look for: $MINICNN_SHARED, which must be there then, else `shared` beside
the repository, if there is one."""

import os
from pathlib import Path


def shared_folder() -> Path | None:
    """The folder, or None if there is none; tests that need it then skip and say so."""
    given = os.environ.get("MINICNN_SHARED")
    assert given is None or Path(given).is_dir(), f"MINICNN_SHARED is {given}, and there is no such folder"
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    return folder if folder.is_dir() else None
