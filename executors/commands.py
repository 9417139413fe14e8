"""Workflow commands of GitHub Actions, and a step's log in which a job cannot give any.

Whatever a step prints is read for lines such as `::error::text`. Between `::stop-commands::TOKEN`
and `::TOKEN::` nothing is obeyed, so a job's output is only ever written between the two, under a
token that is new each time and that the job never sees.

Source: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands, and
ActionCommandManager.cs of actions/runner: `::` counts at the start of a line, `##[` anywhere.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

MIN_SECRET_CHARS = 4
"""Shorter values are not masked: they would mask half of every log."""


def escape_data(text: str) -> str:
    """Text as the data of a command: one line, whatever it holds."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Text as a property of a command."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


def command(name: str, data: str = "", **properties: str) -> str:
    """One command as the line that gives it."""
    told = ",".join(f"{key}={escape_property(value)}" for key, value in properties.items())
    return f"::{name}{' ' if told else ''}{told}::{escape_data(data)}\n"


def masks(values: Mapping[str, str]) -> str:
    """The commands that mask values: each line of each by itself, as the host compares lines."""
    lines = [line for value in values.values() for line in value.splitlines()]
    return "".join(command("add-mask", line) for line in lines if len(line) >= MIN_SECRET_CHARS)


def output(name: str, value: str) -> str:
    """An entry for the file GITHUB_OUTPUT, with a delimiter that the value cannot hold."""
    delimiter = f"end_{secrets.token_hex(16)}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"


class StepLog:
    """The log of one step, shared by the jobs of this process: each writes in a group of its own.

    Args:
        path: file that takes the log, None for standard output.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._title = ""
        self._token = ""
        self._whole_line = True

    def say(self, *commands: str) -> None:
        """Give commands of our own; an open group is closed first."""
        with self._lock:
            self._write((self._closing() + "".join(commands)).encode())

    def write(self, title: str, data: bytes) -> None:
        """Show a job's output in the group `title`; no command in it is obeyed."""
        with self._lock:
            opening = "" if title == self._title else self._closing() + self._opening(title)
            self._whole_line = data.endswith(b"\n")
            self._write(opening.encode() + data)

    def _opening(self, title: str) -> str:
        self._title, self._token = title, secrets.token_hex(16)
        return command("group", title) + command("stop-commands", self._token)

    def _closing(self) -> str:
        if not self._title:
            return ""
        line_end = "" if self._whole_line else "\n"
        closing = line_end + command(self._token) + command("endgroup")
        self._title, self._token, self._whole_line = "", "", True
        return closing

    def _write(self, data: bytes) -> None:
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(data)
            return
        sys.stdout.flush()
        left = memoryview(data)
        while left:  # past Python's own buffer: other words of this process may not come between
            left = left[os.write(sys.stdout.fileno(), left) :]
