"""Which ended jobs are folded, and when: what a runner and `bus fold` decide by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.bus.chain import subject_event
from bridge.bus.refs import JobRef
from bridge.git import RefTip
from bridge.states import TERMINAL_EVENTS

Jobs = Mapping[str, tuple[JobRef, RefTip]]


@dataclass(frozen=True, slots=True)
class Retention:
    """A runner's policy on ended jobs.

    Attributes:
        keep: fold once so many jobs are on the bus, down to half of that.
        after_s: fold what has been seen ended for longer.
        logs_days: days that folded logs are kept, None for ever.
        artifacts_days: days that artifacts at refs of their own are kept once their job is folded,
            None for ever.
    """

    keep: int = 200
    after_s: float = 86_400.0
    logs_days: int | None = None
    artifacts_days: int | None = None


def ended_refs(jobs: Jobs) -> list[str]:
    """The jobs whose tip says that they ended, oldest id first; a fold makes sure of it."""
    ended = [ref for ref, (_, tip) in jobs.items() if subject_event(tip.subject) in TERMINAL_EVENTS]
    return sorted(ended, key=lambda ref: jobs[ref][0].id)


class EndedWatch:
    """For how long each ended job has been seen ended, on this process's own monotonic clock."""

    def __init__(self) -> None:
        self._since_s: dict[tuple[str, str], float] = {}
        self._left: frozenset[tuple[str, str]] = frozenset()
        self._live = 0

    def observe(self, jobs: Jobs, now_s: float) -> None:
        """Note one poll."""
        seen = [(ref, jobs[ref][1].oid) for ref in ended_refs(jobs)]
        self._since_s = {key: self._since_s.get(key, now_s) for key in seen}
        self._left &= frozenset(seen)
        self._live = len(jobs)

    def choose(self, retention: Retention, now_s: float, *, grace_s: float) -> list[str]:
        """The jobs to fold now, oldest first.

        Args:
            retention: the policy.
            now_s: the clock of `observe`.
            grace_s: what ended more recently stays, so that its requester finds it at its ref.
        """
        ripe = [
            (ref, now_s - since_s)
            for (ref, oid), since_s in self._since_s.items()
            if now_s - since_s >= grace_s and (ref, oid) not in self._left
        ]
        excess = self._live - retention.keep // 2 if self._live > retention.keep else 0
        return [
            ref
            for index, (ref, ended_s) in enumerate(ripe)
            if index < excess or ended_s >= retention.after_s
        ]

    def leave(self, refs: list[str]) -> None:
        """Do not choose these again until they move: a fold has refused them."""
        self._left |= {key for key in self._since_s if key[0] in refs}
