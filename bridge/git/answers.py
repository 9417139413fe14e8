"""What git said, read: the lines of a push, the reason of a failure, what to do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bridge.canonical import printable

_PORCELAIN = re.compile(r"^([ +\-*!=])\t([^:\t]*):([^\t]+)\t(.*)$")
_NETWORK = (
    "authentication failed",
    "connection refused",
    "connection reset",
    "connection timed out",
    "could not read from remote repository",
    "could not read username",
    "could not resolve host",
    "couldn't find remote ref",
    "no answer within",
    "no route to host",
    "permission denied",
    "remote error:",
    "unable to access 'http",
    "unable to connect to",
)
_FULL_DISK = ("No space left on device", "Out of diskspace", "couldn't write '")
_REFUSED_OBJECT = ("fsck error in packed object", "invalid index-pack output")
_TOO_LARGE = ("file too large", "died of signal 25")  # EFBIG, or SIGXFSZ on Linux and macOS
_REFUSALS = ("denied", "declined", "prohibited", "deny ", "error: 403", "authentication failed")
_CREDENTIALS = ("could not read username", "authentication failed", "denied", "error: 403")
_NOT_THERE = (
    "does not appear to be a git repository",
    "not a git repository",
    "not found",
    "no such repository",
    "no such file",
    "repository not exported",
)


@dataclass(frozen=True, slots=True)
class PushLine:
    """What `git push --porcelain` said of one ref: its flag character and its summary."""

    ref: str
    flag: str
    summary: str


@dataclass(frozen=True, slots=True)
class PushReply:
    """The whole answer to a push: exit status, a line for each ref it spoke of, and stderr."""

    status: int
    lines: tuple[PushLine, ...]
    stderr: str

    def accepts(self, refs: Iterable[str]) -> bool:
        """Whether every one of `refs` stands on the remote as it was pushed."""
        return set(refs) <= {line.ref for line in self.lines if line.flag != "!"}

    def reason(self, ref: str) -> str:
        """Why `ref` was not taken: git's word for it, and what the remote's hooks said."""
        words = [
            row[len("remote:") :].strip() for row in self.stderr.split("\n") if row[:7] == "remote:"
        ]
        line = next((line for line in self.lines if line.ref == ref), None)
        said = "; ".join(word for word in words if word)
        why = line.summary if line else explain(self.stderr)
        return printable(f"{why}: {said}" if said and line else why, 400)

    @property
    def is_refusal(self) -> bool:
        """Whether the remote, or the lease, said no to a ref; else the objects went wrong."""
        return any(line.flag == "!" and "unpacker" not in line.summary for line in self.lines)


def parse_push(status: int, out: str, err: str) -> PushReply:
    """The answer of `git push --porcelain`."""
    matches = [_PORCELAIN.match(row) for row in out.split("\n")]
    lines = tuple(PushLine(match[3], match[1], match[4]) for match in matches if match)
    return PushReply(status, lines, err)


def says_no(reason: str) -> bool:
    """Whether the remote refuses by rule, so that to push again is in vain."""
    text = reason.lower()
    return any(word in text for word in _REFUSALS)


def is_empty_match(status: int, stderr: str) -> bool:
    """Whether a shallow fetch only found nothing that its patterns match (git 2.39).

    It says nothing then, or, from an empty repository that speaks protocol 0, one odd thing.
    """
    return (
        status == 1 and not stderr.strip()
    ) or stderr.strip() == "fatal: no matching remote head"


def is_network(stderr: str) -> bool:
    """Whether the reason certainly lies outside this machine's repository."""
    text = stderr.lower()
    return any(phrase in text for phrase in _NETWORK)


def is_refused_object(stderr: str) -> bool:
    """Whether the remote sent something that is no well-formed git object."""
    return any(phrase in stderr for phrase in _REFUSED_OBJECT)


def is_too_large(stderr: str) -> bool:
    """Whether git was stopped since what came is larger than it may write."""
    text = stderr.lower()
    return any(phrase in text for phrase in _TOO_LARGE)


def is_full_disk(stderr: str) -> bool:
    """Whether this machine's disk, not the remote's, is full.

    Of a ref that it cannot write git says no reason, but only that: a full disk is the usual one.
    """
    rows = [row for row in stderr.split("\n") if not row.startswith("remote:")]
    return any(phrase in row for row in rows for phrase in _FULL_DISK)


def explain(stderr: str) -> str:
    """The one line of git's talk that says why; the remote's own words before git's."""
    lines = [line.strip() for line in stderr.split("\n") if line.strip()]
    for start in ("remote: error:", "remote: fatal:", "fatal:", "error:", "remote:", ""):
        for line in lines:
            if line.startswith(start):
                return line[:400]
    return "git gave no reason"


def remedy(stderr: str) -> str:
    """What a person can do about it."""
    text = stderr.lower()
    if any(phrase in text for phrase in _CREDENTIALS):
        return "check this machine's git credentials: git ls-remote must work without a prompt"
    if "couldn't find remote ref" in text:
        return "the ref is gone from the bus, or never was there; look at the list of its jobs"
    if any(phrase in text for phrase in _NOT_THERE):
        return "check the address, or make the bus: kakeya_remote bus init PATH"
    return "check the network and the address, then run the same command again"
