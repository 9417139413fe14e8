"""What commands print: data on stdout, talk on stderr, tables with rich on a terminal alone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_KEPT = {"\n", "\t"}


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on one line of stdout; ASCII, so that no locale can break it."""
    print_line(json.dumps(value))


def print_line(text: str) -> None:
    """One line of data, flushed, so that a reader has it at once.

    Where the reader is gone (`| head`), the rest goes nowhere: the command still comes to its own
    exit code.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """One line of talk."""
    sys.stderr.write(f"{escape_controls(text)}\n")
    sys.stderr.flush()


def escape_controls(text: str) -> str:
    r"""`text` with control and invisible characters written out (`\x1b`), but tab and newline."""
    return "".join(
        char if char.isprintable() or char in _KEPT else ascii(char)[1:-1] for char in text
    )


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: with rich on a terminal, else plain aligned columns."""
    if sys.stdout.isatty():
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title or None, title_justify="left")
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*(Text(escape_controls(cell), style_of(cell)) for cell in row))
        stdout_console().print(table)
        return
    cells = [list(columns), *([escape_controls(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print_line(line.rstrip())


def style_of(word: str) -> str:
    """The colour of a state or a verdict on a terminal; nothing for other words."""
    colours = {
        "green": ("pass", "done", "ok", "enrolled"),
        "red": ("fail", "failed", "rejected", "lost", "error", "fault"),
        "yellow": (
            *("inconclusive", "missing", "cancelled", "expired", "warning", "declines"),
            *("unsigned", "not enrolled"),
        ),
        "cyan": ("queued", "claimed", "running"),
    }
    return next((colour for colour, words in colours.items() if word in words), "")


def stdout_console() -> Console:
    """A console on stdout; `NO_COLOR` is kept by rich itself."""
    from rich.console import Console

    return Console(highlight=False)


def stderr_console() -> Console:
    """A console on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)
