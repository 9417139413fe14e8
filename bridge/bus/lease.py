"""How long a claim has shown no sign of life, on the watcher's own monotonic clock. Pure.

Wall clocks are never compared. Time counts only between two successful polls that lie at most one
heartbeat apart: a watcher that slept, or that could not reach the bus, has seen nothing and may
not call the other silent (the same outage may have kept the other from beating). A watcher that
beats itself can prove how fresh a poll is, by its own beat in it; then a longer gap counts as one
heartbeat, so that a watcher that is slow, and not blind, still sees a dead runner.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bridge.records import Claim, Heartbeat

MIN_HEARTBEATS = 5
"""A lease is at least this many heartbeats, whatever a claim says."""


@dataclass(frozen=True, slots=True)
class _Sight:
    marks: tuple[str | None, ...]
    at_s: float
    silent_s: float


class SilenceWatch:
    """Counts, for each key, the seconds in which nothing that is watched has changed.

    Args:
        gap_s: the most that can count between two polls; the heartbeat of what is watched.
    """

    def __init__(self, gap_s: float) -> None:
        self.gap_s = gap_s
        self._sights: dict[str, _Sight] = {}

    def observe(
        self,
        now_s: float,
        key: str,
        *marks: str | None,
        gap_s: float | None = None,
        fresh_s: float | None = None,
    ) -> float:
        """Note one successful poll; returns for how many seconds `key` has been silent.

        Args:
            now_s: this process's monotonic clock when the poll ended.
            key: what is watched, such as a claim's oid.
            marks: every sign of life of it (the heartbeat's oid, the job's tip), None for absent;
                any change of any of them begins the count again.
            gap_s: the heartbeat of this one, where it differs from the watch's.
            fresh_s: the poll shows the bus as it was then or later, which is proven; None where
                nothing proves it, and a gap longer than a heartbeat counts nothing.
        """
        last = self._sights.get(key)
        if last is None or last.marks != marks:
            self._sights[key] = _Sight(marks, now_s, 0.0)
            return 0.0
        limit_s = self.gap_s if gap_s is None else gap_s
        if fresh_s is not None:
            step_s = min(fresh_s - last.at_s, limit_s)
        else:
            step_s = now_s - last.at_s if now_s - last.at_s <= limit_s else 0.0
        silent_s = last.silent_s + max(step_s, 0.0)
        at_s = now_s if fresh_s is None else max(last.at_s, fresh_s)
        self._sights[key] = _Sight(marks, at_s, silent_s)
        return silent_s

    def keep(self, keys: Collection[str]) -> None:
        """Forget every key but these."""
        self._sights = {key: sight for key, sight in self._sights.items() if key in keys}


def sign_of_life(claim_oid: str, beat_oid: str | None, beat: Heartbeat | None) -> str | None:
    """The mark that a runner's heartbeat makes for one of its claims.

    Beats that do not list the claim say nothing of it: its runner was restarted and lost it, or
    never learnt that its claim had won. A lease gives it time to be listed.

    Args:
        claim_oid: the commit of the hold in force.
        beat_oid: tip of the runner's heartbeat ref, None where it has none.
        beat: the record there, None where it cannot be read.
    """
    if beat is None or any(held.claim == claim_oid for held in beat.claims):
        return beat_oid
    return "unlisted"


def lease_of(claim: Claim) -> float:
    """Seconds of silence after which `claim` may be reaped: its lease, five heartbeats at least."""
    return max(claim.lease_s, MIN_HEARTBEATS * claim.heartbeat_s)
