"""Why a job does not move: each reason by itself, and what they come to together. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.bus.refs import JobRef
from bridge.client.fleet import RunnerView, shortage, tell_age
from bridge.client.outcomes import JobStatus
from bridge.client.why import explain
from bridge.records import Decline, Facts, Heartbeat, Held, Request, Resources
from bridge.states import State
from tests import samples

BUS = samples.make_id()
REQUEST = samples.make_request(BUS, labels=("any", "gpu"), resources=Resources(2, 1024, 1, 80_000))
FACTS = Facts(
    labels=("any", "gpu"),
    resources=Resources(8, 8192, 1, 80_000),
    free=Resources(8, 8192, 1, 80_000),
    trusted=samples.NOBODY,
    code_policy="merged",
    isolation="process",
    executors=("local",),
    os="linux",
    version="0.1.0",
)


def make_status(state: State | None = State.QUEUED, **changes: Any) -> JobStatus:
    job = JobRef(REQUEST.label, REQUEST.priority, REQUEST.id)
    status = JobStatus(
        id=job.id,
        ref=f"refs/heads/kakeya/job/any/5{job.id}",
        state=state,
        request=REQUEST,
        attempt=1,
        runner=None,
        progress=None,
        result=None,
        problems=(),
        fault=None,
        story=(),
        tip=samples.NOBODY,
    )
    return replace(status, **changes)


def make_runner(
    name: str = "h200",
    *,
    age_s: float = 1.0,
    declines: tuple[Decline, ...] = (),
    claims: tuple[Held, ...] = (),
    **facts: Any,
) -> RunnerView:
    beat = Heartbeat(
        name,
        samples.make_nonce(),
        1,
        samples.make_nonce(),
        1.0,
        replace(FACTS, **facts),
        claims,
        declines,
    )
    return RunnerView(name, beat, age_s, 8.0)


CASES: dict[str, tuple[RunnerView, str, str]] = {
    "free": (make_runner(), "free", "nothing speaks against it"),
    "label": (make_runner(labels=("any",)), "label", "no label gpu"),
    "resources": (
        make_runner(resources=Resources(1, 512)),
        "resources",
        "1 CPU slots, not 2, 512 MiB of memory, not 1024, 0 GPUs, not 1",
    ),
    "busy": (make_runner(free=Resources(1, 8192, 1, 80_000)), "busy", "1 CPU slots, not 2"),
    "draining": (make_runner(draining=True), "draining", "nothing new"),
    "silent": (make_runner(age_s=200.0), "silent", "since 3 min"),
    "silent and unfit": (
        make_runner(age_s=20.0, labels=("any",)),
        "silent",
        "since 20 s; besides: it has no label gpu",
    ),
    "unreadable": (RunnerView("old", None, 1.0, 8.0), "unreadable", "compare versions"),
    "its own word": (
        make_runner(declines=(Decline(REQUEST.id, "policy", "code is not merged"),)),
        "policy",
        "code is not merged",
    ),
    "its own word on another": (
        make_runner(declines=(Decline(samples.make_id(), "policy", "no"),)),
        "free",
        "",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_reason(case: str) -> None:
    runner, reason, detail = CASES[case]
    found = explain(make_status(), [runner])
    assert [(item.runner, item.reason) for item in found.reasons] == [(runner.name, reason)]
    assert detail in found.reasons[0].detail
    assert found.stuck == (reason not in ("free", "busy"))


def test_an_executor_that_the_runner_lacks() -> None:
    asked: Request = replace(REQUEST, executor="slurm")
    found = explain(make_status(request=asked), [make_runner()])
    assert found.reasons[0].reason == "policy"
    assert "no executor slurm" in found.reasons[0].detail


@pytest.mark.parametrize(
    ("cases", "words", "stuck"),
    [
        ([], "no runner has ever beaten", True),
        (["label", "silent"], "none of 2 known runners", True),
        (["label", "busy"], "waits for room on h200", False),
        (["busy", "free"], "h200 may take it", False),
    ],
)
def test_what_the_reasons_come_to(cases: list[str], words: str, stuck: bool) -> None:
    found = explain(make_status(), [CASES[case][0] for case in cases])
    assert words in found.message
    assert found.stuck is stuck


def test_a_held_job_names_its_holder() -> None:
    status = make_status(State.RUNNING, runner="h200")
    holder = make_runner(claims=(Held(REQUEST.id, samples.NOBODY),))
    found = explain(status, [holder, make_runner("mac-m4")])
    assert found.message == "running, attempt 1, by h200"
    assert [item.reason for item in found.reasons] == ["holds", "elsewhere"]
    assert not found.stuck
    unlisted = explain(status, [make_runner()])
    assert "does not list this job" in unlisted.reasons[0].detail


def test_a_job_held_by_a_silent_runner_is_stuck() -> None:
    status = make_status(State.CLAIMED, runner="h200")
    found = explain(status, [make_runner(age_s=90.0)])
    assert found.stuck
    assert "silent since 90 s; its lease is 8 s" in found.message
    nobody = explain(status, [])
    assert nobody.stuck
    assert "never beaten" in nobody.message


def test_an_ended_and_an_unreadable_job() -> None:
    request_job = make_status(State.DONE)
    assert request_job.result is None
    broken = explain(make_status(None, fault="abc: not a record"), [make_runner()])
    assert broken.stuck
    assert "abc: not a record" in broken.message
    assert explain(make_status(request=None), [make_runner()]).reasons[0].reason == "free"


def test_the_json() -> None:
    data = explain(make_status(), [make_runner()]).as_json()
    assert (data["schema"], data["state"], data["stuck"]) == ("kakeya.why/1", "queued", False)
    assert data["runners"][0]["reason"] == "free"


def test_words() -> None:
    assert shortage(Resources(1, 1), Resources(1, 1)) == ""
    assert [tell_age(s) for s in (0.4, 119, 120, 7_199, 7_200, 172_800)] == [
        "0 s",
        "119 s",
        "2 min",
        "120 min",
        "2 h",
        "2 d",
    ]
    assert [make_runner(age_s=age).state for age in (1.0, 9.0)] == ["alive", "silent"]
