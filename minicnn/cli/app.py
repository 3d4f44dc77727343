"""The commands, put together."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

import minicnn
from minicnn.cli.convert import convert
from minicnn.cli.data import datasets
from minicnn.cli.errors import Commands
from minicnn.cli.evaluate import evaluate
from minicnn.cli.exercises import exercises
from minicnn.cli.inspection import inspect
from minicnn.cli.look import gradcheck, summary
from minicnn.cli.predict import predict
from minicnn.cli.train import train

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the same help and errors on a terminal and in a pipe
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"minicnn {minicnn.__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Convolutional networks on the CPU: train, evaluate and look at models, without writing a script.

    \b
    Examples:
      minicnn train lenet5 --data digits --epochs 3
      minicnn predict runs/lenet5/model.h5 seven.png
    """


for command in (train, evaluate, predict, summary, inspect, convert, exercises, gradcheck):
    app.command()(command)
app.add_typer(datasets, name="datasets")


def main() -> None:
    """The entry point of `minicnn` and of `python -m minicnn`."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a file's name need not be UTF-8
    try:
        app(prog_name="minicnn")
    finally:
        _flush_stdout()


def _flush_stdout() -> None:
    """What is still held back goes out here, where a reader that has gone, `minicnn summary FILE | head`, can be told
    from a fault: Python's own flush at the end would complain. The way is that of Python's "Note on SIGPIPE"."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        sys.exit(1)
