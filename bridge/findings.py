"""What a doctor says: one finding for each thing looked at, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bridge.errors import KakeyaError

OK, WARNING, FAULT = "ok", "warning", "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what was looked at, in one word.
        level: ok, warning or fault.
        text: what was found.
        remedy: what to do, empty where nothing is to be done.
    """

    check: str
    level: str
    text: str
    remedy: str = ""


def look(check: str, work: Callable[[], Finding]) -> Finding:
    """The finding of one check; an error of ours in it is a fault with that error's remedy."""
    try:
        return work()
    except KakeyaError as error:
        return Finding(check, FAULT, str(error), error.remedy)


def is_healthy(findings: Iterable[Finding]) -> bool:
    """Whether no fault was found; warnings do not count."""
    return all(finding.level != FAULT for finding in findings)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as `--json` prints them."""
    return {
        "schema": "kakeya.doctor/1",
        "healthy": is_healthy(findings),
        "findings": [asdict(finding) for finding in findings],
    }
