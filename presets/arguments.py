"""What may stand as one argument of a process, and how values are shown to a person. Pure."""

from __future__ import annotations

import posixpath
import unicodedata

from bridge import canonical

_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_GIT_FOLDERS = frozenset({".git", "git~1"})  # git~1: the short name that NTFS gives .git


def show(value: object) -> str:
    """A value as an error message may quote it: ASCII, on one line, short."""
    try:
        text = ascii(value)
    except ValueError:  # Python writes out no int of more than 4,300 digits
        return "a number too large to show"
    return text if len(text) <= 60 else f"{text[:40]}...{text[-12:]}"


def number_text(value: float) -> str:
    """A number as it stands in argv and in tables: canonical JSON, such as `0.001` or `3`."""
    return canonical.encode(value).decode("ascii")


def unsafe_text(text: str) -> str | None:
    """Why a string may not be handed to a process as an argument, or None where it may."""
    if text.startswith("-"):
        return "starts with a dash"
    for char in text:
        if unicodedata.category(char) in _UNSAFE_CATEGORIES:
            return f"holds the control or invisible character U+{ord(char):04X}"
    return None


def unsafe_path(path: str) -> str | None:
    """Why a path is not a plain relative path in normal form, or None where it is."""
    if reason := unsafe_text(path):
        return reason
    segments = path.split("/")
    folders = {unicodedata.normalize("NFKC", segment).casefold() for segment in segments}
    findings = (
        (not path or path.startswith("/"), "is not relative"),
        ("\\" in path or ":" in path, "holds a backslash or a colon"),
        (".." in segments, "leaves its folder with .."),
        (posixpath.normpath(path) != path, "is not in its normal form"),
        (unicodedata.normalize("NFC", path) != path, "is not in Unicode normal form C"),
        (any(part.startswith("-") for part in segments), "has a segment that starts with a dash"),
        (
            any(part.rstrip(". ") != part or part.startswith(" ") for part in segments),
            "has a segment that ends in a dot or a space, or starts with a space",
        ),
        (bool(folders & _GIT_FOLDERS), "names git's own folder"),
    )
    return next((reason for found, reason in findings if found), None)
