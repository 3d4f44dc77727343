"""Downloads: several mirrors, a published SHA-256 for every file, and an end to the waiting.

A file appears in its folder only when it is whole and its hash is right: pooch works in a temporary folder beside it.
"""

import os
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from minicnn.datasets.files import give_usual_mode
from minicnn.errors import DatasetError

PATIENCE = 20.0
"""Seconds without data after which a download gives up: looking up names, connecting and stalls, over all mirrors and
files together. Time in which data arrive does not count, so that a slow line still gets its files."""

_TICK = 0.5  # seconds; with the chunks below, a line of 8 KiB/s or more never counts as silent
_CHUNK = 4096  # bytes


def fetch(
    owner: str, folder: Path, sha256: Mapping[str, str], mirrors: Sequence[str], patience: float = PATIENCE
) -> None:
    """Download files into folder, from the first mirror that has them.

    owner: the data set, for messages. sha256: the published hash of each file, by file name. mirrors: addresses to
    which the file name is appended. patience: see PATIENCE; each mirror gets an equal share of what is left.
    Raises DatasetError naming the folder, the files and the addresses if a file cannot be had.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        workplace = tempfile.TemporaryDirectory(dir=folder, prefix="download-", ignore_cleanup_errors=True)
    except OSError as error:
        remedy = "set MINICNN_HOME to a folder that can be written to"
        raise DatasetError(f"{owner}: cannot write to the folder {folder} ({error.strerror}); {remedy}.") from error
    missing = dict(sha256)
    failures = []
    with workplace as temporary:
        for turn, mirror in enumerate(mirrors):
            attempt = _Attempt(folder, Path(temporary), missing, mirror)
            patience -= attempt.run(patience / (len(mirrors) - turn))
            missing = {name: digest for name, digest in missing.items() if name not in attempt.done}
            if not missing:
                return
            failures.append(f"{urlsplit(mirror).netloc}: {_reason(attempt.error)}")
    raise DatasetError(
        f"{owner}: not on this machine, and the download failed ({'; '.join(failures)}); "
        f"put {', '.join(missing)} into {folder}, from {' or '.join(mirrors)}."
    )


class _Attempt:
    """One mirror's turn, in a thread of its own.

    A thread, since a timeout bounds neither the lookup of a name nor the connection to a host with many addresses. One
    that hangs is left behind: it ends by itself, keeps no program from ending, and drops what it gets.
    """

    def __init__(self, folder: Path, temporary: Path, sha256: Mapping[str, str], mirror: str) -> None:
        self.folder, self.temporary, self.sha256, self.mirror = folder, temporary, dict(sha256), mirror
        self.done: set[str] = set()
        self.error: Exception | None = None
        self.chunks = 0  # received so far
        self.abandoned = False

    def run(self, patience: float) -> float:
        """Download until all is there, something fails or patience runs out. Returns the seconds without data."""
        import pooch

        logger = pooch.get_logger()
        level = logger.level
        logger.setLevel("WARNING")  # the progress bar says enough
        thread = threading.Thread(target=self._download, args=(pooch, patience + _TICK), daemon=True)
        silence, chunks, before = 0.0, 0, time.monotonic()
        try:
            thread.start()
            while thread.is_alive() and silence < patience:
                thread.join(min(_TICK, patience - silence))
                now = time.monotonic()
                if self.chunks == chunks:
                    silence += now - before
                chunks, before = self.chunks, now
        finally:
            self.abandoned = True
            logger.setLevel(level)
        if self.error is not None and not isinstance(self.error, (OSError, ValueError)):
            raise self.error  # not a matter of network, disk or hash
        return silence

    def _download(self, pooch: Any, timeout: float) -> None:
        try:
            for name, digest in self.sha256.items():
                if self.abandoned:
                    return
                progress = _Progress(self, name)
                downloader = pooch.HTTPDownloader(progressbar=progress, chunk_size=_CHUNK, timeout=timeout)
                try:
                    pooch.retrieve(self.mirror + name, digest, name, self.temporary, downloader=downloader)
                finally:
                    progress.close()
                give_usual_mode(self.temporary / name)
                os.replace(self.temporary / name, self.folder / name)
                self.done.add(name)
        except Exception as error:  # handed to the thread that waits
            self.error = error


class _Progress:
    """What pooch takes as a progress bar: tqdm's, which also counts the chunks and stops an abandoned attempt."""

    def __init__(self, attempt: _Attempt, name: str) -> None:
        self.attempt, self.name = attempt, name
        self.total = 0  # bytes; pooch sets it once the server has answered
        self.bar: Any = None

    def update(self, size: int) -> None:
        from tqdm import tqdm

        if self.attempt.abandoned:
            raise TimeoutError
        self.attempt.chunks += 1
        if self.bar is None:
            self.bar = tqdm(total=self.total or None, desc=self.name, unit="B", unit_scale=True)
        self.bar.update(size)

    def reset(self) -> None:
        if self.bar is not None:
            self.bar.n = 0  # pooch sets the whole size next; the clock runs on, for the rate to be true

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _reason(error: Exception | None) -> str:
    """A few words on why a mirror did not serve; None: it fell silent."""
    if error is None:
        return "no answer in time"
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    if isinstance(error, OSError):
        return f"{type(error).__name__}{f': {error.strerror}' if error.strerror else ''}"
    return "the file's hash is not the published one"
