from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.bus.lease import MIN_HEARTBEATS, SilenceWatch, lease_of, sign_of_life
from bridge.records import Claim, Facts, Heartbeat, Held, Resources

DIGEST = "sha256:" + "0" * 64
CLAIM = Claim(
    request=DIGEST,
    attempt=1,
    runner="mac-m4",
    session="a" * 16,
    trusted="1" * 40,
    preset=DIGEST,
    executor="local",
    isolation="process",
    lease_s=8.0,
    heartbeat_s=1.0,
    nonce="b" * 16,
)
FACTS = Facts(
    labels=("any",),
    resources=Resources(),
    free=Resources(),
    trusted="1" * 40,
    code_policy="merged",
    isolation="process",
    executors=("local",),
    os="linux",
    version="0.1.0",
)
BEAT = Heartbeat("mac-m4", "a" * 16, 1, "c" * 16, 1.0, FACTS)
CLAIM_OID = "2" * 40


def test_first_sight_is_no_silence() -> None:
    assert SilenceWatch(1.0).observe(100.0, "claim", "beat", "tip") == 0.0


def test_silence_adds_up_over_close_polls() -> None:
    watch = SilenceWatch(1.0)
    seen = [watch.observe(step / 2, "claim", "beat", "tip") for step in range(5)]
    assert seen == [0.0, 0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("marks", [("other", "tip"), ("beat", "other"), (None, "tip")])
def test_any_change_begins_again(marks: tuple[str | None, ...]) -> None:
    watch = SilenceWatch(1.0)
    watch.observe(0.0, "claim", "beat", "tip")
    assert watch.observe(0.9, "claim", "beat", "tip") == 0.9
    assert watch.observe(1.0, "claim", *marks) == 0.0
    assert watch.observe(1.5, "claim", *marks) == 0.5


def test_a_gap_longer_than_a_heartbeat_counts_nothing_but_keeps_the_count() -> None:
    watch = SilenceWatch(1.0)
    watch.observe(0.0, "claim", "beat")
    watch.observe(1.0, "claim", "beat")
    assert watch.observe(3600.0, "claim", "beat") == 1.0
    assert watch.observe(3600.5, "claim", "beat") == 1.5


def test_a_slow_watcher_that_proves_freshness_counts_one_heartbeat_for_each_poll() -> None:
    watch = SilenceWatch(1.0)
    seen = [
        watch.observe(now_s, "claim", "beat", fresh_s=now_s - 3.0) for now_s in (10.0, 20.0, 30.0)
    ]
    assert seen == [0.0, 1.0, 2.0]


def test_polls_that_prove_nothing_new_count_nothing() -> None:
    watch = SilenceWatch(1.0)
    for now_s in (10.0, 10.5, 11.0):
        assert watch.observe(now_s, "claim", "beat", fresh_s=10.0) == 0.0
    assert watch.observe(11.5, "claim", "beat", fresh_s=float("-inf")) == 0.0
    assert watch.observe(12.0, "claim", "beat", fresh_s=10.5) == 0.5


def test_what_changed_before_the_first_sight_is_not_counted() -> None:
    watch = SilenceWatch(5.0)
    watch.observe(10.0, "claim", "beat", fresh_s=6.0)
    assert watch.observe(12.0, "claim", "beat", fresh_s=9.0) == 0.0
    assert watch.observe(14.0, "claim", "beat", fresh_s=13.0) == 3.0


def test_a_clock_that_runs_backwards_counts_nothing() -> None:
    watch = SilenceWatch(1.0)
    watch.observe(5.0, "claim", "beat")
    assert watch.observe(4.0, "claim", "beat") == 0.0


def test_keys_are_counted_apart_and_can_be_forgotten() -> None:
    watch = SilenceWatch(1.0)
    for now_s in (0.0, 1.0):
        watch.observe(now_s, "one", "beat")
    watch.observe(1.0, "two", "beat")
    watch.keep({"two"})
    assert watch.observe(1.5, "one", "beat") == 0.0
    assert watch.observe(1.5, "two", "beat") == 0.5


def test_each_key_may_have_its_own_heartbeat() -> None:
    watch = SilenceWatch(1.0)
    watch.observe(0.0, "slow", "beat", gap_s=60.0)
    assert watch.observe(50.0, "slow", "beat", gap_s=60.0) == 50.0


@given(
    st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["a", "b"])), max_size=30),
    st.floats(0.1, 10),
)
def test_silence_never_exceeds_the_time_since_the_last_change(
    steps: list[tuple[float, str]], gap_s: float
) -> None:
    watch, now_s, changed_s, last = SilenceWatch(gap_s), 0.0, 0.0, None
    for step_s, mark in steps:
        now_s += step_s
        if mark != last:
            changed_s, last = now_s, mark
        silent_s = watch.observe(now_s, "claim", mark)
        assert 0.0 <= silent_s <= now_s - changed_s + 1e-9


def test_a_beat_counts_only_while_it_lists_the_claim() -> None:
    held = (Held("01ARZ3NDEKTSV4RRFFQ69G5FAV", CLAIM_OID),)
    assert sign_of_life(CLAIM_OID, "beat1", replace(BEAT, claims=held)) == "beat1"
    assert sign_of_life(CLAIM_OID, "beat2", BEAT) == "unlisted"
    assert sign_of_life(CLAIM_OID, "beat3", BEAT) == "unlisted"


def test_no_heartbeat_and_an_unreadable_one() -> None:
    assert sign_of_life(CLAIM_OID, None, None) is None
    assert sign_of_life(CLAIM_OID, "beat1", None) == "beat1"


def test_a_lease_is_never_shorter_than_five_heartbeats() -> None:
    assert lease_of(CLAIM) == 8.0
    assert lease_of(replace(CLAIM, lease_s=0.05)) == MIN_HEARTBEATS * CLAIM.heartbeat_s
