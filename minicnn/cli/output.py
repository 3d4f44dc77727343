"""Tables, fitted to a terminal and plain in a pipe or a file, and numbers in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print rows of cells under columns' names. right: the columns that are aligned to the right, such as numbers.

    On a terminal, cells are broken where its width demands it. Elsewhere: no lines, no colours, no cell broken, two
    blanks between the columns.
    """
    console = Console()
    if not console.is_terminal:
        print(plain_table(columns, rows, right))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        heading = name.replace(" ", "\n")  # a heading is broken before a cell is
        table.add_column(heading, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as Text: a file's name may hold what rich reads as markup
    console.print(table)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """The table as aligned text, without a final newline."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def percent(part: float) -> str:
    """0.98765 as 98.77 %."""
    return f"{100 * part:.2f} %"


def plural(count: int, thing: str) -> str:
    """1 epoch, 2 epochs."""
    return f"{count} {thing}" + "s" * (count != 1)


def duration(seconds: float) -> str:
    """Seconds as 4.2 s, 3 min 20 s or 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
