from __future__ import annotations

import pytest

from bridge.bus.profile import PROFILES
from bridge.client.outcomes import exit_code_of
from bridge.client.queueing import POLICY_REASONS, RunnerWatch
from bridge.clock import Backoff, Clock
from bridge.errors import ExitCode
from bridge.git import RefTip
from bridge.records import Decline, Facts, Heartbeat, Resources, Result
from bridge.states import TERMINAL_STATES

JOB = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
FACTS = Facts(
    ("any",), Resources(), Resources(), "0" * 40, "merged", "process", ("local",), "linux", "1"
)


def result(state: str, verdict: str | None = None) -> Result:
    return Result(state, None, "0" * 40, 1, "r", "0" * 16, verdict=verdict)


def test_every_terminal_state_has_an_exit_code_of_its_own() -> None:
    codes = {state.value: exit_code_of(result(state.value, "pass")) for state in TERMINAL_STATES}
    assert codes == {
        "done": ExitCode.DONE,
        "failed": ExitCode.JOB_FAILED,
        "rejected": ExitCode.USAGE,
        "cancelled": ExitCode.CANCELLED,
        "expired": ExitCode.NO_RUNNER,
        "lost": ExitCode.LOST,
    }
    assert len(set(codes.values())) == len(codes)


@pytest.mark.parametrize("verdict", [None, "fail", "inconclusive", "missing", "error", "great"])
def test_only_a_pass_is_zero(verdict: str | None) -> None:
    assert exit_code_of(result("done", verdict)) is not ExitCode.DONE


def beat(name: str, *declines: Decline) -> Heartbeat:
    return Heartbeat(name, "0" * 16, 1, "0" * 16, 1.0, FACTS, (), declines)


def watch(beats: dict[str, Heartbeat | None]) -> tuple[RunnerWatch, dict[str, RefTip]]:
    tips = {name: RefTip(name, f"{name}-1", "") for name in beats}
    return RunnerWatch(PROFILES["local"], lambda tip: beats[tip.ref]), tips


@pytest.mark.parametrize("reason", sorted(POLICY_REASONS))
def test_a_lone_runner_that_declines_by_policy_refuses(reason: str) -> None:
    runners, tips = watch({"a": beat("a", Decline(JOB, reason, "no"))})
    assert runners.observe(0.0, tips, JOB).refused


def test_a_policy_decline_beside_a_label_decline_refuses() -> None:
    declines = {"a": Decline(JOB, "policy", "no"), "b": Decline(JOB, "label", "no gpu")}
    runners, tips = watch({name: beat(name, item) for name, item in declines.items()})
    assert runners.observe(0.0, tips, JOB).refused


@pytest.mark.parametrize(
    "beats",
    [
        {},
        {"a": beat("a")},
        {"a": None},
        {"a": beat("a", Decline(JOB, "label", "no gpu"))},
        {"a": beat("a", Decline(JOB, "policy", "no")), "b": beat("b")},
        {"a": beat("a", Decline(JOB, "policy", "no")), "b": None},
        {
            "a": beat("a", Decline(JOB, "policy", "no")),
            "b": beat("b", Decline(JOB, "busy", "full")),
        },
        {"a": beat("a", Decline(JOB[::-1], "policy", "another job"))},
    ],
)
def test_what_does_not_refuse(beats: dict[str, Heartbeat | None]) -> None:
    runners, tips = watch(beats)
    assert not runners.observe(0.0, tips, JOB).refused


def test_a_runner_silent_for_its_lease_is_no_longer_live() -> None:
    runners, tips = watch({"a": beat("a"), "b": beat("b")})
    for step in range(20):
        tips["b"] = RefTip("b", f"b-{step}", "")
        queue = runners.observe(step / 2, tips, JOB)
    assert set(queue.live) == {"b"}


def test_a_heartbeat_is_read_once_for_each_move() -> None:
    read: list[str] = []

    def read_beat(tip: RefTip) -> Heartbeat:
        read.append(tip.oid)
        return beat("a")

    runners = RunnerWatch(PROFILES["local"], read_beat)
    for oid in ("1", "1", "2", "2"):
        runners.observe(0.0, {"a": RefTip("a", oid, "")}, JOB)
    assert read == ["1", "2"]


def test_backoff_doubles_up_to_its_bound_and_can_be_cut_or_reset() -> None:
    backoff = Backoff(0.05, 0.5)
    assert [backoff.next_s() for _ in range(6)] == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    assert backoff.next_s(0.01) == 0.01
    assert backoff.next_s(-1.0) == 0.0
    backoff.reset()
    assert backoff.next_s() == 0.05


def test_a_nonce_is_fresh_each_time() -> None:
    clock = Clock()
    assert len(clock.nonce()) == 32
    assert clock.nonce() != clock.nonce()
