"""A name and a password from git's own credential helpers, and what became of them.

Source: git-credential(1).
"""

from __future__ import annotations

import tempfile
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bridge.git.settings import load_library, make_environment


@dataclass(frozen=True, slots=True)
class Credential:
    """What `git credential fill` gave: every line of it, so that a helper knows it again."""

    lines: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def header(self) -> str:
        """The value of `Authorization`, by RFC 7617."""
        known = dict(self.lines)
        text = f"{known.get('username', '')}:{known.get('password', '')}"
        return f"Basic {b64encode(text.encode()).decode('ascii')}"


def fill(url: str, timeout_s: float) -> Credential | None:
    """What to say at `url`; None where neither the address nor a helper knows a password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    rows = [("protocol", parts.scheme), ("host", host), ("path", parts.path.lstrip("/"))]
    if parts.username:
        rows.append(("username", unquote(parts.username)))
    if parts.password:
        return Credential((*rows, ("password", unquote(parts.password))))
    status, out = _ask("fill", tuple(rows), timeout_s)
    pairs = (line.partition("=") for line in out.split("\n") if "=" in line)
    lines = tuple((name, value) for name, _, value in pairs)
    known = dict(lines)
    return Credential(lines) if status == 0 and known.get("password") else None


def approve(credential: Credential, timeout_s: float) -> None:
    """Let the helpers keep what opened the door."""
    _ask("approve", credential.lines, timeout_s)


def reject(credential: Credential, timeout_s: float) -> None:
    """Let the helpers forget what did not."""
    _ask("reject", credential.lines, timeout_s)


def _ask(verb: str, lines: tuple[tuple[str, str], ...], timeout_s: float) -> tuple[int, str]:
    if any("\n" in value or "\0" in value for _, value in lines):
        return 1, ""
    text = "".join(f"{name}={value}\n" for name, value in lines) + "\n"
    git = load_library().Git(str(Path.home()))
    git.update_environment(**make_environment())
    with tempfile.TemporaryFile() as question:  # unnamed: the password is on no disk's list
        question.write(text.encode())
        question.seek(0)
        status, out, _ = git.execute(
            [git.GIT_PYTHON_GIT_EXECUTABLE, "credential", verb],
            istream=question,
            with_extended_output=True,
            with_exceptions=False,
            strip_newline_in_stdout=False,
            kill_after_timeout=timeout_s,
        )
    return int(status), str(out)
