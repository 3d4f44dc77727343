"""How the command line fails: one line on stderr, and an exit code that tells whose fault it was."""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from minicnn.errors import MinicnnError, MinicnnWarning

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 + the number of SIGINT, as a shell reports it."""


_INVALID = re.compile(r"^Invalid value for '([^']+)'[^:]*: (?:Value error, )?")
_OUT_OF_RANGE = re.compile(r"Input should be ([^,]*).*")
"""How Typer and pydantic begin what they say of a wrong value."""


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

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        asked = bool(args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except TyperException as error:
            if not asked:  # `minicnn` alone shows its help
                raise
            _fail(_usage_error(error), error.exit_code)

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("always", MinicnnWarning)
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except TyperException as error:
                _fail(_usage_error(error), error.exit_code)
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


def _usage_error(error: TyperException) -> str:
    """What is wrong with the words of the command line: which argument, what was received, where help is.

    Typer would print three lines more, and of a wrong value what pydantic says of it, without the value.
    """
    text = _INVALID.sub(r"\1: ", error.format_message().rstrip("."))
    details: Any = getattr(error.__cause__, "errors", None)  # pydantic's
    if details is not None:
        text = _OUT_OF_RANGE.sub(lambda found: f"must be {found[1]}, got {details()[0]['input']!r}", text)
    text = text[:1].lower() + text[1:]
    context: Any = getattr(error, "ctx", None)
    if context is None or text.endswith("?"):  # "no such command 'trian'. Did you mean 'train'?" is remedy enough
        return text
    return f"{text}; see {context.command_path} --help."


def _fail(message: str, code: int) -> None:
    say(message)
    raise typer.Exit(code)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """A warning in one line, without the place in the source, which is no business of a command's user."""
    kind = "warning" if issubclass(category, MinicnnWarning) else category.__name__
    say(f"{kind}: {message}")
