"""Folding on a person's request: every ended job but the newest few, batch after batch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.bus.folding import BATCH
from bridge.bus.remote import Update
from bridge.bus.requester import RequesterBus
from bridge.bus.retention import ended_refs
from bridge.client.waiting import Watcher, sign
from bridge.clock import Clock

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Folded:
    """What a fold did.

    Attributes:
        ids: the jobs that went into the ledger.
        left: jobs that were chosen and could not be folded; `bus check` says why.
        live: jobs that are still on refs of their own.
        expired: archives whose logs were deleted.
        swept: refs of artifacts and checkpoints that were deleted.
    """

    ids: tuple[str, ...]
    left: tuple[str, ...]
    live: int
    expired: tuple[str, ...]
    swept: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The fold as `--json` prints it."""
        return {
            "schema": "kakeya.folded/1",
            "folded": list(self.ids),
            "left": list(self.left),
            "live": self.live,
            "expired": list(self.expired),
            "swept": list(self.swept),
        }


def fold_jobs(
    bus: RequesterBus,
    clock: Clock,
    watcher: Watcher,
    *,
    by: str,
    keep: int = 0,
    older_than_s: float = 0.0,
    logs_days: int | None = None,
    artifacts_days: int | None = None,
) -> Folded:
    """Fold the ended jobs of a bus.

    Args:
        bus: the bus.
        clock: time and randomness.
        watcher: told after each batch.
        by: who folds.
        keep: so many of the newest ended jobs stay at their refs.
        older_than_s: so do those whose last commit is dated less long ago, by this machine's clock.
        logs_days: delete the logs of jobs that were folded longer ago; None keeps them.
        artifacts_days: delete artifacts at refs of their own that folded jobs left longer ago; None
            keeps them.

    Raises:
        BusError: the bus does not answer, or refuses.
    """
    ids: list[str] = []
    tries = 0
    while True:
        jobs = bus.poll().jobs
        ended = ended_refs(jobs)
        now_s = clock.wall_s()
        chosen = [
            ref
            for ref in ended[: max(0, len(ended) - keep)]
            if older_than_s <= 0 or now_s - bus.dated_s(jobs[ref][1]) >= older_than_s
        ]
        if not chosen or tries == _TRIES:
            break
        folded = bus.fold(chosen[:BATCH], sign(by, clock))
        tries = 0 if folded else tries + 1
        ids += folded
        if folded:
            watcher.note(f"{len(ids)} folded, {len(chosen) - len(folded)} to go")
    _drop_wishes(bus)
    expired: tuple[str, ...] = ()
    if logs_days is not None:
        day = datetime.fromtimestamp(int(now_s), UTC) - timedelta(days=logs_days)
        expired = bus.expire(f"{day:%Y-%m-%d}")
    before_s = None if artifacts_days is None else int(now_s) - artifacts_days * 86_400
    swept = bus.sweep(before_s)
    left = tuple(jobs[ref][0].id for ref in chosen)
    return Folded(tuple(ids), left, len(jobs), expired, swept)


def _drop_wishes(bus: RequesterBus) -> None:
    """Delete the cancel wishes of jobs that are not there, such as those of a probe."""
    snapshot = bus.poll()
    wanted = {bus.refs.wish(job.id) for job, _ in snapshot.jobs.values()}
    strays = [tip for ref, tip in snapshot.wishes.items() if ref not in wanted]
    bus.swap([Update(tip.ref, tip.oid, None) for tip in strays])
