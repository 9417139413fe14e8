"""Why a job does not move: for every known runner, the reason that it has not taken it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bridge.client.fleet import RunnerView, shortage, tell_age
from bridge.client.outcomes import JobStatus
from bridge.records import Heartbeat, Request
from bridge.states import State

HOPEFUL = frozenset({"free", "busy"})
"""Reasons with which a job is taken in the end, if nothing changes but time."""


@dataclass(frozen=True, slots=True)
class Reason:
    """What keeps one runner from a job.

    Attributes:
        runner: its name.
        reason: free, busy, holds, elsewhere, draining, label, policy, preset, version, resources,
            silent or unreadable.
        detail: for a person.
    """

    runner: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a job stands, and what each runner has to do with it.

    Attributes:
        message: one line.
        stuck: nobody will move the job as things are.
        reasons: one for each known runner.
    """

    status: JobStatus
    message: str
    stuck: bool
    reasons: tuple[Reason, ...]

    def as_json(self) -> dict[str, Any]:
        """The explanation as `--json` prints it."""
        return {
            "schema": "kakeya.why/1",
            "id": self.status.id,
            "state": self.status.state.value if self.status.state else None,
            "message": self.message,
            "stuck": self.stuck,
            "runners": [
                {"runner": item.runner, "reason": item.reason, "detail": item.detail}
                for item in self.reasons
            ],
        }


def explain(status: JobStatus, fleet: Sequence[RunnerView]) -> Explanation:
    """Why `status` is what it is, from what the runners of the bus say of themselves.

    Args:
        status: the job.
        fleet: every runner that is known.
    """
    if status.ended:
        return Explanation(status, f"it has ended: {status.state}", False, ())
    if status.state is None:
        return Explanation(status, f"it cannot be read: {status.fault}", True, ())
    if status.state is not State.QUEUED:
        return _explain_held(status, fleet)
    reasons = tuple(_reason(status, runner) for runner in fleet)
    return Explanation(status, *_sum_up(reasons), reasons)


def _sum_up(reasons: Sequence[Reason]) -> tuple[str, bool]:
    if not reasons:
        return "queued; no runner has ever beaten on this bus", True
    free = [item.runner for item in reasons if item.reason == "free"]
    if free:
        return f"queued; {', '.join(free)} may take it", False
    busy = [item.runner for item in reasons if item.reason == "busy"]
    if busy:
        return f"queued; it waits for room on {', '.join(busy)}", False
    return f"queued; none of {len(reasons)} known runners will take it as things are", True


def _explain_held(status: JobStatus, fleet: Sequence[RunnerView]) -> Explanation:
    assert status.state is not None
    holder = next((runner for runner in fleet if runner.name == status.runner), None)
    reasons = tuple(
        Reason(runner.name, "holds", _tell_hold(status, runner))
        if runner is holder
        else Reason(runner.name, "elsewhere", f"{status.runner} holds it")
        for runner in fleet
    )
    words = f"{status.state.value}, attempt {status.attempt}, by {status.runner}"
    if holder is None:
        return Explanation(status, f"{words}, which has never beaten here", True, reasons)
    if holder.silent:
        silence = f"silent since {tell_age(holder.age_s)}; its lease is {holder.lease_s:g} s"
        cure = "any live runner, or kakeya_remote wait, gives the job back to the queue"
        return Explanation(status, f"{words}, {silence}: {cure}", True, reasons)
    return Explanation(status, words, False, reasons)


def _tell_hold(status: JobStatus, runner: RunnerView) -> str:
    last = f"last beat {tell_age(runner.age_s)} ago"
    if runner.beat is None:
        return f"{last}, which cannot be read"
    listed = any(held.id == status.id for held in runner.beat.claims)
    return last if listed else f"{last}, which does not list this job"


def _reason(status: JobStatus, runner: RunnerView) -> Reason:
    beat = runner.beat
    if beat is None:
        return Reason(runner.name, "unreadable", "its heartbeat cannot be read; compare versions")
    found = _declined(status, beat) or _unsuited(status.request, beat)
    if found is None and status.newer:
        found = ("version", f"it has not said; this program cannot tell: {status.newer}")
    if runner.silent:
        also = f"; besides: {found[1]}" if found and found[0] not in HOPEFUL else ""
        return Reason(runner.name, "silent", f"since {tell_age(runner.age_s)}{also}")
    if beat.facts.draining:
        return Reason(runner.name, "draining", "it finishes what it holds and takes nothing new")
    if found:
        return Reason(runner.name, *found)
    return Reason(runner.name, "free", "nothing speaks against it; it has not looked yet")


def _declined(status: JobStatus, beat: Heartbeat) -> tuple[str, str] | None:
    for decline in beat.declines:
        if decline.id == status.id:
            return decline.reason, decline.detail
    return None


def _unsuited(request: Request | None, beat: Heartbeat) -> tuple[str, str] | None:
    """What the runner's own facts say against a job that it does not list as declined."""
    if request is None:
        return None  # malformed: the first runner to look rejects it
    facts = beat.facts
    lacking = [label for label in (request.label, *request.labels) if label not in facts.labels]
    if lacking:
        return "label", f"it has no label {', '.join(dict.fromkeys(lacking))}"
    short = shortage(request.resources, facts.resources)
    if short:
        return "resources", f"it has {short}"
    if request.executor is not None and request.executor not in facts.executors:
        return "policy", f"it has no executor {request.executor}"
    short = shortage(request.resources, facts.free)
    return ("busy", f"free now: {short}") if short else None
