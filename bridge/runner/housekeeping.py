"""Folding by a runner: now and then, when nothing else is to be pushed, a batch at a time."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bridge.bus.endings import Signer
from bridge.bus.interface import Bus
from bridge.bus.retention import EndedWatch, Retention
from bridge.bus.view import Snapshot
from bridge.errors import BusError, KakeyaError

BATCH = 64  # a fold may not keep the heart from beating
_EXPIRE_EVERY_S = 6 * 3600.0
_AFTER_FAULT_S = 600.0


class Housekeeping:
    """Keeps the bus small; costs nothing while there is nothing to fold.

    Every runner may fold, and a lost race changes nothing; that they do not all try at once, each
    waits a random while, longer the more runners there are.

    Args:
        bus: the bus.
        retention: this runner's policy.
        sign: a fresh hand under what is pushed.
        chance: spreads the tries of several runners.
        say: told each fold in one line.
    """

    def __init__(
        self,
        bus: Bus,
        retention: Retention,
        sign: Callable[[], Signer],
        chance: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._bus, self._retention, self._sign = bus, retention, sign
        self._chance, self._say = chance, say
        self._watch = EndedWatch()
        self._from_s: float | None = None
        self._runners = 1
        self._lost: list[str] = []
        self._expire_from_s = float("-inf")

    def observe(self, snapshot: Snapshot, now_s: float) -> None:
        """Note one poll."""
        self._watch.observe(snapshot.jobs, now_s)
        self._runners = max(1, len(snapshot.heartbeats))

    def tidy(self, now_s: float) -> bool:
        """Fold a batch where one is due; whether anything was pushed.

        Raises:
            BusError: the remote does not answer.
        """
        if now_s >= self._expire_from_s:
            self._expire_from_s = now_s + _EXPIRE_EVERY_S
            return self._expire()
        refs = self._watch.choose(self._retention, now_s, grace_s=self._bus.profile.lease_s)[:BATCH]
        if not refs:
            self._from_s = None
            return False
        if self._from_s is None:
            self._from_s = now_s + self._wait_s()
        if now_s < self._from_s:
            return False
        self._from_s = now_s + self._wait_s()
        return self._fold(refs, now_s)

    def _wait_s(self) -> float:
        return self._chance.uniform(0, self._runners * self._bus.profile.heartbeat_s)

    def _fold(self, refs: list[str], now_s: float) -> bool:
        try:
            ids = self._bus.fold(refs, self._sign())
        except BusError:
            self._from_s = now_s + _AFTER_FAULT_S
            raise
        except KakeyaError as error:  # the ledger holds what no program of ours wrote
            self._from_s = now_s + _AFTER_FAULT_S
            self._say(f"bus: cannot fold: {error}")
            return False
        if ids:
            self._say(f"folded {len(ids)} ended jobs into the ledger")
        # what a fold left twice in a row was no race: `bus check` says what is wrong with it
        left = [ref for ref in refs if not any(ref.endswith(job_id) for job_id in ids)]
        self._watch.leave([ref for ref in left if ref in self._lost])
        self._lost = left
        return True

    def _expire(self) -> bool:
        """Delete what is older than the policy keeps, and checkpoints of ended jobs."""
        now_s, policy = self._sign().when_s, self._retention
        shelves: tuple[str, ...] = ()
        if policy.logs_days is not None:
            day = datetime.fromtimestamp(now_s, UTC) - timedelta(days=policy.logs_days)
            shelves = self._bus.expire(f"{day:%Y-%m-%d}")
        if shelves:
            self._say(f"expired the logs of {len(shelves)} days")
        days = policy.artifacts_days
        arts = self._bus.sweep(None if days is None else now_s - days * 86_400)
        if arts:
            self._say(f"deleted {len(arts)} artifacts and checkpoints that nobody needs")
        return bool(shelves or arts)
