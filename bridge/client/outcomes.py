"""What a client tells of a job: where it stands, how it ended, and the exit code for it. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from bridge.bus.chain import Chain
from bridge.bus.standing import Standing, Word
from bridge.errors import ExitCode
from bridge.records import Exit, Progress, Request, Result
from bridge.states import State
from bridge.wire import to_json

_STATE_CODES: dict[str, ExitCode] = {
    "failed": ExitCode.JOB_FAILED,
    "rejected": ExitCode.USAGE,
    "cancelled": ExitCode.CANCELLED,
    "expired": ExitCode.NO_RUNNER,
    "lost": ExitCode.LOST,
}
VERDICT_CODES: dict[str | None, ExitCode] = {
    "pass": ExitCode.DONE,
    "fail": ExitCode.GATE_FAILED,
    "inconclusive": ExitCode.INCONCLUSIVE,
    "missing": ExitCode.INCONCLUSIVE,
    "error": ExitCode.INTERNAL,  # the judgement itself broke: no verdict on the job at all
    None: ExitCode.INCONCLUSIVE,  # done, and nobody judged it: absent data never passes
}


def exit_code_of(result: Result) -> ExitCode:
    """The exit code that a terminal record stands for (docs/cli.md)."""
    if result.state == "done":
        return VERDICT_CODES.get(result.verdict, ExitCode.INTERNAL)
    return _STATE_CODES[result.state]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where one job stands.

    Attributes:
        id, ref: the job, and its ref on the bus.
        state: see `bridge.states.State`; None where not even the request can be read.
        request: what was asked, None where it is malformed.
        attempt: the attempt that runs now, ran last, or comes next.
        runner: who holds it now, or wrote the result.
        progress: what the job itself last said.
        result: the terminal record, where there is one.
        problems: why the request is malformed.
        fault: why the commits at the tip do not count.
        faults: every commit of the chain that did not count, those written over too.
        standing: who vouches for the runner's claim, or for the result; None where no runner
            wrote either.
        newer: what a newer program wrote here, "" where this one reads all of it.
        story: subject of every valid commit, oldest first.
        tip: oid of the ref's tip.
    """

    id: str
    ref: str
    state: State | None
    request: Request | None
    attempt: int
    runner: str | None
    progress: Progress | None
    result: Result | None
    problems: tuple[str, ...]
    fault: str | None
    story: tuple[str, ...]
    tip: str
    faults: tuple[str, ...] = ()
    standing: Standing | None = None
    newer: str = ""

    @property
    def ended(self) -> bool:
        """Whether the job has its terminal record."""
        return self.result is not None

    @property
    def verdict(self) -> str | None:
        """The overall verdict of the gates, where the job was judged."""
        return self.result.verdict if self.result else None

    @property
    def exit(self) -> Exit | None:
        """How the job's own process ended, where it did."""
        return self.result.exit if self.result else None

    def as_json(self) -> dict[str, Any]:
        """The status as `--json` prints it."""
        return {"schema": "kakeya.status/1", **_job_json(self)}


def status_of(chain: Chain) -> JobStatus:
    """The status that a chain of commits tells."""
    result = chain.result
    runner = chain.claim.runner if chain.claim else None
    return JobStatus(
        id=chain.job.id,
        ref=chain.ref,
        state=chain.state,
        request=chain.request,
        attempt=result.attempt if result else chain.attempt,
        runner=runner or (result.by if result else None),
        progress=chain.progress,
        result=result,
        problems=chain.problems,
        fault=chain.fault,
        story=tuple(link.subject for link in chain.links),
        tip=chain.tip,
        faults=chain.faults or ((chain.fault,) if chain.fault else ()),
        standing=chain.standing,
        newer=chain.newer,
    )


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that is on the bus.

    Attributes:
        created: False where an earlier submission under the same key was found instead.
        edits: paths of the checkout that differ from HEAD; none of them is part of the job.
        notes: what a person should know, one line each.
    """

    id: str
    ref: str
    bus: str
    request: Request
    created: bool
    edits: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """The submission as `--json` prints it."""
        return {
            "schema": "kakeya.submission/1",
            "id": self.id,
            "ref": self.ref,
            "bus": self.bus,
            "created": self.created,
            "request": to_json(self.request),
            "edits_left_out": list(self.edits),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a wait ended.

    Attributes:
        status: where the job stands.
        exit_code: what the command exits with.
        message: one line for a person.
        details: further lines, such as why each runner declines.
        resume: the command that goes on waiting, empty where the job has ended.
        waited_s: seconds of waiting.
    """

    status: JobStatus
    exit_code: ExitCode
    message: str
    details: tuple[str, ...] = ()
    resume: str = ""
    waited_s: float = 0.0

    @property
    def verdict(self) -> str | None:
        """The overall verdict of the gates, where the job was judged."""
        return self.status.verdict

    def as_json(self) -> dict[str, Any]:
        """The outcome as `--json` prints it."""
        return {
            "schema": "kakeya.outcome/1",
            **_job_json(self.status),
            "exit_code": int(self.exit_code),
            "message": self.message,
            "details": list(self.details),
            "resume": self.resume,
            "waited_s": round(self.waited_s, 3),
        }


def outcome_of(status: JobStatus, waited_s: float, *, require_enrolled: bool = False) -> Outcome:
    """The outcome of a job that has ended.

    Where only enrolled runners count, an old result that none of them signed ends as refused.
    """
    assert status.result is not None
    result = status.result
    words = result.state if result.verdict is None else f"{result.state}, verdict {result.verdict}"
    message = f"{words}: {result.message}" if result.message else words
    if result.state == "done" and result.verdict is None:
        message += " (not judged: the runner wrote no verdict)"
    code = exit_code_of(result)
    standing = status.standing
    if require_enrolled and standing is not None and standing.word is not Word.ENROLLED:
        code = ExitCode.REFUSED
        message += " (not signed by an enrolled runner, as require_enrolled demands)"
    return Outcome(status, code, message, details=result.problems, waited_s=waited_s)


def standing_json(standing: Standing | None) -> dict[str, Any] | None:
    """Who vouches for a result, as `--json` prints it."""
    if standing is None:
        return None
    return {
        "standing": standing.word.value,
        "runner": standing.runner,
        "key": standing.key,
        "text": str(standing),
    }


def _job_json(status: JobStatus) -> dict[str, Any]:
    return {
        "id": status.id,
        "ref": status.ref,
        "state": status.state.value if status.state else None,
        "preset": status.request.preset.name if status.request else None,
        "attempt": status.attempt,
        "runner": status.runner,
        "verdict": status.verdict,
        "exit": None if status.exit is None else dataclasses.asdict(status.exit),
        "progress": None if status.progress is None else dataclasses.asdict(status.progress),
        "request": to_json(status.request) if status.request else None,
        "result": to_json(status.result) if status.result else None,
        "problems": list(status.problems),
        "fault": status.fault,
        "faults": list(status.faults),
        "signed": standing_json(status.standing),
        "newer": status.newer,
        "story": list(status.story),
        "tip": status.tip,
    }
