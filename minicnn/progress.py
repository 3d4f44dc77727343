"""What a person sees while training runs."""

from __future__ import annotations

import os
import sys
import time
import warnings
from numbers import Real
from typing import Any

from minicnn.errors import ConfigError, MinicnnWarning

REFRESH = 0.1
"""Seconds between two updates of the bar's numbers."""

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def verbosity(verbose: Any, owner: str) -> int:
    """0 silent, 1 a progress bar or a callback's messages, 2 a line an epoch; "auto" and True are 1, False is 0.

    Raises ConfigError for anything else.
    """
    if verbose == "auto":
        return 1
    if verbose not in (0, 1, 2):
        raise ConfigError(f'{owner}: verbose must be 0, 1, 2 or "auto", got {verbose!r}.')
    return int(verbose)


def warn(message: str) -> None:
    """Give a MinicnnWarning at the line of the caller's own code, outside minicnn, that led to it."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, MinicnnWarning, stacklevel=level)


def format_logs(logs: dict[str, float]) -> str:
    """accuracy: 0.9876 - loss: 0.1234, with exponents for small numbers, as Keras prints them.

    What else a callback put into the logs stands as it is.
    """

    def formatted(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, Real):
            return str(value)
        number = float(value)
        return f"{number:{'.4f' if abs(number) > 1e-3 else '.4e'}}"

    return " - ".join(f"{name}: {formatted(value)}" for name, value in logs.items())


def _is_terminal(stream: Any) -> bool:
    """Also of no stream, as programs without a console have, and of a writer of the caller's that does not tell."""
    return bool(getattr(stream, "isatty", bool)())


class Progress:
    """The bar and the lines of one run whose epochs have `steps` batches each (None: not known).

    On a terminal, verbose=1 draws a bar that is redrawn in place; elsewhere each epoch prints one line when it is over,
    so that log files stay readable.
    """

    def __init__(self, verbose: int, steps: int | None) -> None:
        self.verbose, self.steps, self.title = verbose, steps, ""
        self._bar: Any = None
        self._done = 0
        self._before = 0  # of them, those done before the clock started
        self._started = time.perf_counter()
        self._seconds: float | None = None  # of the epoch, validation included, once it is over
        self._refreshed = 0.0

    def start(self, title: str, done: int = 0) -> None:
        """Begin an epoch, or go on with one of which so many batches are done."""
        self.title, self._done, self._before, self._started = title, done, done, time.perf_counter()
        self._seconds = None
        if self.verbose == 1 and _is_terminal(sys.stdout):
            from tqdm import tqdm

            form = "{desc} {n_fmt}/{total_fmt} |{bar:24}| {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(
                total=self.steps,
                initial=done,
                desc=title,
                file=sys.stdout,
                bar_format=form if self.steps else None,
                leave=False,
            )

    @property
    def due(self) -> bool:
        """Whether the bar wants new numbers: they cost more than a small batch, so not after every one."""
        return self._bar is not None and time.perf_counter() - self._refreshed > REFRESH

    def advance(self, logs: dict[str, float] | None = None) -> None:
        """One batch more."""
        self._done += 1
        if self._bar is not None:
            if logs is not None:
                self._bar.set_postfix_str(format_logs(logs), refresh=False)
                self._refreshed = time.perf_counter()
            self._bar.update()

    def stop(self) -> float:
        """The epoch is over, but for what callbacks do then: the bar goes, and the clock stands still. The seconds."""
        if self._seconds is None:
            self._seconds = time.perf_counter() - self._started
        self.close()
        return self._seconds

    def finish(self, logs: dict[str, float]) -> None:
        """Print the line of the epoch."""
        seconds = self.stop()
        if self.verbose:
            each = seconds / max(1, self._done - self._before) * 1e3
            parts = [
                f"{self.title} {self._done}/{self._done}",
                f"{seconds:.1f}s, {each:.1f} ms/step",
                format_logs(logs),
            ]
            print(" - ".join(p for p in parts if p), flush=True)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
