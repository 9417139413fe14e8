"""How each limit is held on this system, said in words; and which of them is exceeded now."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .cgroup import Group
from .launch import Launch

T = TypeVar("T")

MIB = 2**20
SHARE = 20
"""A measurement may take a twentieth of the supervisor's time; a dearer one is made less often."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that was exceeded: the reason word of the ending, the field, the finding."""

    reason: str
    limit: str
    detail: str


def describe_means(*, adopting: bool, group: Group | None) -> dict[str, str]:
    """Each limit -> how it is held here."""
    tree = (
        "every descendant (child subreaper)"
        if adopting
        else "descendants seen by polling; one that detaches between two polls may escape"
    )
    memory = f"polled sum over {tree}"
    if group is not None:
        memory = f"control group version {group.version}, bound by the kernel; and {memory}"
    return {
        "wall_s": "monotonic clock of the supervisor; SIGTERM, then SIGKILL after grace_s",
        "memory_mb": memory,
        "output_mb": "the supervisor reads the job's output and stops at the limit",
        "disk_mb": "polled size of the output folder; files written elsewhere are not counted",
        "processes": tree,
    }


def describe_isolation(launch: Launch, group: Group | None) -> str:
    """What holds the job apart from its runner, in words."""
    parts = ["own session and process group"]
    if launch.run_as is not None:
        parts.append(f"user {launch.run_as}")
    if group is not None:
        parts.append("control group")
    return ", ".join(parts)


class Paced(Generic[T]):
    """A measurement repeated at most every `every_s` seconds, and less often where it is dear."""

    def __init__(self, measure: Callable[[], T], every_s: float) -> None:
        self._measure = measure
        self._every_s = every_s
        self.due_s = 0.0

    def value(self, now: float, *, force: bool = False) -> T | None:
        """A fresh value, or None while it is not due."""
        if now < self.due_s and not force:
            return None
        started = time.monotonic()
        value = self._measure()
        took = time.monotonic() - started
        self.due_s = now + took + max(self._every_s, SHARE * took)
        return value
