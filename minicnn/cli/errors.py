"""How the command line fails: one line on stderr, and an exit code that tells whose fault it was."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from minicnn.errors import MinicnnError, MinicnnWarning

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 + the number of SIGINT, as a shell reports it."""


class CommandError(MinicnnError):
    """What was asked for could be done, but failed."""

    exit_code = 1


class ArgumentError(CommandError):
    """Something named on the command line cannot be used: a file that is absent or of another kind, an unknown name."""

    exit_code = 2


def no_such_file(path: Path) -> ArgumentError:
    """The error for a file that is not there."""
    return ArgumentError(f"{path}: no such file; check the name and the folder {path.absolute().parent}.")


def wrong_ending(path: Path, endings: Sequence[str]) -> ArgumentError:
    """The error for a file to write whose name does not end like a format's."""
    *most, last = endings
    received = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
    return ArgumentError(f"{path}: {received}; it must end in {', '.join(most)} or {last}.")


class Commands(TyperGroup):
    """A group of commands whose errors end in one line instead of a traceback.

    Exit codes: 2 for arguments that cannot be used, 1 for what went wrong at work, 130 for Ctrl-C.
    """

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("always", MinicnnWarning)
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except MinicnnError as error:
                _fail(str(error), getattr(error, "exit_code", 1))
            except KeyboardInterrupt:
                _fail("interrupted.", INTERRUPTED)
            except MemoryError:
                _fail("out of memory; use a smaller model or batch.", 1)
            except OSError as error:
                if error.errno == errno.EPIPE:  # `minicnn summary FILE | head`: nothing to complain about
                    raise
                place = f"{error.filename}: " if error.filename else ""
                _fail(f"{place}{error.strerror or error}.", 1)


def say(message: str) -> None:
    """A line for the person at the terminal, on stderr: what is printed on stdout stays what was asked for."""
    typer.echo(f"minicnn: {' '.join(message.split())}", err=True)


def _fail(message: str, code: int) -> None:
    say(message)
    raise typer.Exit(code)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """A warning in one line, without the place in the source, which is no business of a command's user."""
    kind = "warning" if issubclass(category, MinicnnWarning) else category.__name__
    say(f"{kind}: {message}")
