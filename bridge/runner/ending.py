"""What an attempt came to, and when: the end's fields, whether it is tried again, its marks."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bridge.errors import KakeyaError
from bridge.records import ArtifactRef, Exit, clean_text
from bridge.runner.judging import Judgement
from bridge.runner.outbox import write_synced
from bridge.runner.workspace import read_json
from presets.definition import Preset

RETRIED = frozenset({"vanished", "launch"})
"""Ends that are the machine's fault, not the job's: the next attempt may do better."""
_MARKS = "timings.json"


@dataclass(frozen=True, slots=True)
class Ended:
    """What an attempt came to: the terminal event's fields and the files of its commit.

    `again` says why the job deserves another attempt, where it does.
    """

    state: str
    exit: Exit | None
    message: str
    verdict: str | None = None
    evidence: str | None = None
    artifacts: tuple[ArtifactRef, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    again: str = ""
    work: str | None = None
    reused_from: str | None = None


@dataclass(slots=True)
class Timings:
    """Wall-clock marks of one attempt, Unix seconds, for the record alone."""

    claimed: float = field(default_factory=time.time)
    launched: float | None = None
    ended: float | None = None

    def write(self, folder: Path) -> None:
        """Keep the marks in the attempt's folder."""
        with contextlib.suppress(OSError):  # a full disk may not end the runner for a mark
            write_synced(folder / _MARKS, json.dumps(asdict(self)).encode())

    def read(self, folder: Path) -> None:
        """Take the marks that an earlier session kept."""
        marks = read_json(folder / _MARKS)
        for name in asdict(self):
            mark = marks.get(name)
            if isinstance(mark, float):
                setattr(self, name, mark)

    def marks(self, queued: str) -> dict[str, str | float | None]:
        """The marks as the record names them."""
        return {
            "queued": queued,
            "claimed": self.claimed,
            "started": self.launched,
            "finished": self.ended,
        }


def end_unlaunched(error: BaseException) -> Ended:
    """The end of an attempt that was never launched."""
    detail = clean_text(describe(error), 2000)
    message = f"not launched: {detail}"
    return Ended("failed", Exit(None, None, "launch", detail), message, again=message)


def end_answered(answer: Judgement) -> Ended:
    """The end of a request that finished evidence answers."""
    return Ended(
        "done",
        None,
        clean_text(answer.message, 2000),
        answer.verdict,
        answer.evidence,
        answer.artifacts,
        answer.files,
        work=answer.work,
        reused_from=answer.reused_from,
    )


def end_judged(
    end: Exit,
    judged: Judgement,
    error: BaseException | None,
    *,
    cancelled: bool,
    preset: Preset,
) -> Ended:
    """The end of an attempt that ran.

    Args:
        end: how its process ended.
        judged: what the judge made of it.
        error: why the judge failed, None where it did not.
        cancelled: whether somebody wished it ended.
        preset: says which exit codes are tried again.
    """
    verdict: str | None = judged.verdict
    if cancelled or end.reason == "cancelled":
        state, message, verdict = "cancelled", "cancelled while it ran", None
    elif end.reason != "exit" or end.code != 0:
        # gates may pass over what a failed job left behind: that is no verdict on the job
        state, message, verdict = "failed", _tell_end(end), None
    elif error is not None:
        state, message, verdict = "done", f"the judge failed: {describe(error)}", "error"
    else:
        state, message = "done", judged.message
    return Ended(
        state,
        end,
        clean_text(message, 2000),
        verdict,
        judged.evidence,
        judged.artifacts,
        judged.files,
        again="" if cancelled else reason_to_retry(end, preset),
        work=judged.work if state == "done" else None,
    )


def reason_to_retry(end: Exit, preset: Preset) -> str:
    """Why a job that ended so deserves another attempt; empty where it does not."""
    if end.reason in RETRIED:
        return f"the job's process {end.reason}: {end.detail}"
    if end.reason == "exit" and end.code in preset.retry_exit_codes:
        return f"exit code {end.code}, which the preset says to retry"
    return ""


def _tell_end(end: Exit) -> str:
    how = f"signal {end.signal}" if end.signal is not None else f"exit code {end.code}"
    told = how if end.reason in ("exit", "signal") else f"ended for {end.reason}"
    return f"{told}: {end.detail}" if end.detail else told


def describe(error: BaseException) -> str:
    """An error in one line, with what to do."""
    if isinstance(error, KakeyaError):
        remedy = f" ({error.remedy})" if error.remedy else ""
        return f"{error}{remedy}"
    return f"{type(error).__name__}: {error}"
