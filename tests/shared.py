"""The folder with real data that the tests look for: $MINICNN_SHARED, else `shared` beside the repository."""

import os
from pathlib import Path


def shared_folder() -> Path | None:
    """The folder, or None if there is none; tests that need it then skip and say so."""
    given = os.environ.get("MINICNN_SHARED")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    return folder if folder.is_dir() else None
