"""Draws what a command really printed: `python docs/img/record.py OUT.svg TITLE COMMAND...`.

The command's stdout is a terminal (so that it draws its tables), its stderr a pipe (so that it
tells its progress in plain lines instead of moving the cursor). Nothing is edited.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios

from rich.console import Console
from rich.text import Text

COLUMNS = 104


def record(command: list[str]) -> tuple[str, int]:
    """The command's output in the order in which it came, and its exit code."""
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    talk, talk_in = os.pipe()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    with subprocess.Popen(command, stdout=inner, stderr=talk_in, env=env) as process:
        os.close(inner)
        os.close(talk_in)
        pieces = []
        waiting = {terminal, talk}
        while waiting:
            for stream in select.select(list(waiting), [], [])[0]:
                data = _read(stream)
                pieces.append(data)
                if not data:
                    waiting.discard(stream)
    return b"".join(pieces).decode("utf-8", "replace").replace("\r\n", "\n"), process.returncode


def _read(stream: int) -> bytes:
    try:
        return os.read(stream, 65536)
    except OSError:  # how Linux says that the other end of a terminal is gone
        return b""


def draw(text: str, title: str) -> str:
    """The text, with its colours, as an SVG of a terminal that fetches no font from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=False)
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=title), flags=re.DOTALL)


def main(out: str, title: str, *command: str) -> int:
    """Run, draw, write; the command's own exit code."""
    text, code = record(list(command))
    with open(out, "w", encoding="utf-8") as stream:
        stream.write(draw(f"$ {title}\n{text}", title))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
