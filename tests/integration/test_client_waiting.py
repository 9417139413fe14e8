"""A waiting client against a scripted runner on a real bus; the test turns the clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bridge.bus.commits import compose_step, runner_identity
from bridge.bus.remote import Outcome as Swap
from bridge.bus.remote import Update
from bridge.errors import BusError, ExitCode, IntegrityError, UsageError
from bridge.objects import Identity, build_commit
from bridge.records import Decline, Held, Progress
from bridge.states import Event, State
from tests import samples
from tests.actors import WHEN_S, open_bus
from tests.integration.client_rig import Rig, ScriptedRunner


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        ("pass", ExitCode.DONE),
        ("fail", ExitCode.GATE_FAILED),
        ("inconclusive", ExitCode.INCONCLUSIVE),
        ("missing", ExitCode.INCONCLUSIVE),
        ("error", ExitCode.INTERNAL),
        (None, ExitCode.INCONCLUSIVE),
    ],
)
def test_the_verdict_is_the_exit_code(rig: Rig, verdict: str | None, code: ExitCode) -> None:
    job, ref = rig.submit()
    outcome = rig.wait_with(
        job,
        lambda: rig.runner.claim(ref),
        lambda: rig.runner.log(ref, b"hello\n", Progress(1, 3)),
        lambda: rig.runner.finish(ref, verdict=verdict),
    )
    assert outcome.exit_code is code
    assert outcome.status.state is State.DONE
    assert rig.listener.states == ["queued", "claimed", "running", "done"]
    assert not rig.listener.open


@pytest.mark.parametrize(
    ("event", "code"),
    [(Event.FAILED, ExitCode.JOB_FAILED), (Event.LOST, ExitCode.LOST)],
)
def test_a_bad_end_has_its_own_code(rig: Rig, event: Event, code: ExitCode) -> None:
    job, ref = rig.submit()
    outcome = rig.wait_with(
        job,
        lambda: rig.runner.claim(ref),
        lambda: rig.runner.finish(ref, event, message="out of memory"),
    )
    assert outcome.exit_code is code
    assert "out of memory" in outcome.message


def test_a_rejection_is_exit_2_and_names_each_problem(rig: Rig) -> None:
    job, ref = rig.submit()
    outcome = rig.wait_with(
        job,
        lambda: rig.runner.finish(ref, Event.REJECTED, problems=("$.params.seconds: no",)),
    )
    assert outcome.exit_code is ExitCode.USAGE
    assert outcome.details == ("$.params.seconds: no",)


def test_the_end_of_the_wait_is_not_the_end_of_the_job(rig: Rig) -> None:
    job, _ = rig.submit()
    before_s = rig.clock.now_s
    outcome = rig.client.wait(job, 3.0)
    assert outcome.exit_code is ExitCode.STILL_RUNNING
    assert outcome.resume == f"kakeya_remote wait {job}"
    assert rig.clock.now_s - before_s == pytest.approx(3.0)
    assert rig.client.status(job).state is State.QUEUED


def test_progress_reaches_the_watcher(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.wait_with(
        job,
        lambda: rig.runner.claim(ref),
        lambda: rig.runner.log(ref, b"", Progress(2, 5, 7.5, "rung 512")),
        timeout_s=1.0,
    )
    progress = rig.client.status(job).progress
    assert progress == Progress(2, 5, 7.5, "rung 512")


# -- the queue timeout --------------------------------------------------------------------


def test_the_queue_timeout_expires_the_job_and_is_exit_7(rig: Rig) -> None:
    job, _ = rig.submit(queue_timeout_s=5)
    before_s = rig.clock.now_s
    outcome = rig.client.wait(job, 60.0)
    assert outcome.exit_code is ExitCode.NO_RUNNER
    assert 5.0 <= rig.clock.now_s - before_s <= 6.0
    status = rig.client.status(job)
    assert status.state is State.EXPIRED
    assert status.result is not None
    assert status.result.by != "mac-m4"


def test_a_claim_that_comes_first_beats_the_queue_timeout(rig: Rig) -> None:
    job, ref = rig.submit(queue_timeout_s=1)
    claimed: list[bool] = []

    def claim_late() -> None:
        if rig.clock.now_s >= 1_001.0 and not claimed:  # the client's next look is too late
            claimed.append(True)
            rig.runner.claim(ref)
            rig.runner.finish(ref)

    rig.clock.every = claim_late
    outcome = rig.client.wait(job, 60.0)
    assert outcome.exit_code is ExitCode.DONE


def test_the_queue_timeout_begins_again_with_each_attempt(rig: Rig) -> None:
    job, ref = rig.submit(queue_timeout_s=5)
    requeued_s: list[float] = []

    def requeue() -> None:
        requeued_s.append(rig.clock.now_s)
        rig.runner.step(rig.runner.bus.load(ref), Event.REQUEUE)

    waits = [lambda: None] * 8
    outcome = rig.wait_with(job, *waits, lambda: rig.runner.claim(ref), *waits[:3], requeue)
    assert outcome.exit_code is ExitCode.NO_RUNNER
    assert rig.clock.now_s - requeued_s[0] >= 5.0


# -- who declines -------------------------------------------------------------------------


def decline(job: str, reason: str) -> Decline:
    return Decline(job, reason, f"because of {reason}")


def test_every_live_runner_declining_by_policy_is_exit_4(rig: Rig) -> None:
    job, _ = rig.submit()
    outcome = rig.wait_with(job, lambda: rig.runner.beat(declines=[decline(job, "policy")]))
    assert outcome.exit_code is ExitCode.REFUSED
    assert "because of policy" in outcome.details[0]
    assert rig.client.status(job).state is State.QUEUED


@pytest.mark.parametrize("reason", ["busy", "draining", "label", "resources"])
def test_declines_that_are_no_policy_are_waited_out(rig: Rig, reason: str) -> None:
    job, _ = rig.submit()
    outcome = rig.wait_with(
        job, lambda: rig.runner.beat(declines=[decline(job, reason)]), timeout_s=3.0
    )
    assert outcome.exit_code is ExitCode.STILL_RUNNING
    assert any(f"declines ({reason})" in note for note in rig.listener.notes)


def test_one_runner_that_may_take_it_keeps_the_wait_alive(rig: Rig) -> None:
    other = ScriptedRunner(open_bus(rig.url, rig.folder / "other", init=False), "h200")
    job, _ = rig.submit()
    rig.clock.every = other.beat
    outcome = rig.wait_with(
        job, lambda: rig.runner.beat(declines=[decline(job, "policy")]), timeout_s=12.0
    )
    assert outcome.exit_code is ExitCode.STILL_RUNNING
    other.bus.close()


def test_a_runner_silent_for_a_lease_does_not_keep_the_wait_alive(rig: Rig) -> None:
    ghost = ScriptedRunner(open_bus(rig.url, rig.folder / "ghost", init=False), "ghost")
    ghost.beat()
    job, _ = rig.submit()
    rig.clock.every = lambda: rig.runner.beat(declines=[decline(job, "policy")])
    before_s = rig.clock.now_s
    outcome = rig.client.wait(job, 60.0)
    assert outcome.exit_code is ExitCode.REFUSED
    assert rig.clock.now_s - before_s >= 8.0
    ghost.bus.close()


# -- reaping ------------------------------------------------------------------------------


def test_a_silent_runners_claim_is_requeued_after_its_lease(rig: Rig) -> None:
    job, ref = rig.submit()
    before_s = rig.clock.now_s
    rig.wait_with(job, lambda: rig.runner.claim(ref), timeout_s=12.0)
    chain = rig.runner.bus.load(ref)
    assert [link.event for link in chain.links] == [Event.REQUEST, Event.CLAIM, Event.REQUEUE]
    assert chain.attempt == 2
    assert rig.clock.now_s - before_s >= 8.0
    assert any("mac-m4 was silent" in note for note in rig.listener.notes)


def test_a_beating_runner_is_never_reaped(rig: Rig) -> None:
    job, ref = rig.submit()
    held: list[Held] = []

    def claim() -> None:
        chain = rig.runner.claim(ref)
        held.append(Held(job, chain.claim_oid or ""))
        rig.clock.every = lambda: rig.runner.beat(claims=held)

    rig.wait_with(job, claim, timeout_s=12.0)
    assert rig.client.status(job).state is State.CLAIMED


def test_a_claim_that_its_runner_no_longer_lists_is_reaped(rig: Rig) -> None:
    job, ref = rig.submit()

    def claim() -> None:
        rig.runner.claim(ref)
        rig.clock.every = rig.runner.beat

    rig.wait_with(job, claim, timeout_s=12.0)
    assert rig.client.status(job).attempt == 2


def test_the_last_attempt_that_dies_is_lost_and_exit_9(rig: Rig) -> None:
    request = replace(rig.client.draft({"preset": "noop"}), max_attempts=1)
    submission = rig.client.send(request)
    outcome = rig.wait_with(submission.id, lambda: rig.runner.claim(submission.ref))
    assert outcome.exit_code is ExitCode.LOST
    assert outcome.status.state is State.LOST


def test_a_dead_runners_job_with_a_wish_is_cancelled_not_requeued(rig: Rig) -> None:
    job, ref = rig.submit()

    def claim_and_wish() -> None:
        chain = rig.runner.claim(ref)
        wish = build_commit(
            {"cancel.json": b"{}"},
            kept_files={},
            parents=(),
            message="kakeya: cancel wish\n",
            author=Identity("a", "b"),
            when_s=WHEN_S,
        )
        update = Update(rig.runner.bus.refs.wish(chain.job.id), None, wish)
        assert rig.runner.bus.swap([update]) == (Swap.WON,)

    outcome = rig.wait_with(job, claim_and_wish)
    assert outcome.exit_code is ExitCode.CANCELLED


def test_a_zombies_result_is_refused_after_the_reaping(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.wait_with(job, lambda: rig.runner.claim(ref), timeout_s=12.0)
    chain = rig.runner.bus.load(ref)
    zombie = rig.runner.compose(
        replace(chain, claim_oid="9" * 40),
        Event.DONE,
        samples.make_result(replace(chain, claim_oid="9" * 40), by="mac-m4"),
    )
    rig.runner.push(ref, zombie, chain.tip)
    after = rig.runner.bus.load(ref)
    assert after.state is State.QUEUED
    assert after.fault is not None


# -- what is broken -----------------------------------------------------------------------


def test_a_ref_that_is_gone_is_an_integrity_error(rig: Rig) -> None:
    job, ref = rig.submit()

    def delete() -> None:
        tip = rig.runner.bus.peek(ref)
        assert tip is not None
        assert rig.runner.bus.swap([Update(ref, tip.oid, None)]) == (Swap.WON,)

    with pytest.raises(IntegrityError, match="ref is gone"):
        rig.wait_with(job, delete)
    assert not rig.listener.open


def test_a_foreign_commit_is_named_and_the_wait_goes_on(rig: Rig) -> None:
    job, ref = rig.submit()

    def vandalize() -> None:
        chain = rig.runner.bus.load(ref)
        foreign = build_commit(
            {"note.txt": b"hi"},
            kept_files=chain.files,
            parents=(chain.tip,),
            message="just passing by",
            author=Identity("Mallory", "m@example.invalid"),
            when_s=WHEN_S,
        )
        rig.runner.push(ref, foreign, chain.tip)

    def claim_over() -> None:
        chain = rig.runner.bus.load(ref)
        step = compose_step(
            chain,
            Event.CLAIM,
            samples.make_claim(chain),
            author=runner_identity("mac-m4"),
            when_s=WHEN_S,
        )
        rig.runner.push(ref, step, chain.tip)

    outcome = rig.wait_with(job, vandalize, claim_over, lambda: rig.runner.finish(ref))
    assert outcome.exit_code is ExitCode.DONE
    assert any("does not count" in note for note in rig.listener.notes)


def test_a_job_that_is_not_there_is_a_usage_error(rig: Rig) -> None:
    with pytest.raises(UsageError, match="no job"):
        rig.client.wait(samples.make_id())
    with pytest.raises(UsageError, match="is no job id"):
        rig.client.wait("../../etc/passwd")


def test_an_outage_is_told_and_waited_out(rig: Rig, tmp_path: Path) -> None:
    job, ref = rig.submit()
    bus, away = tmp_path / "bus.git", tmp_path / "away.git"
    outcome = rig.wait_with(
        job,
        lambda: bus.rename(away),
        lambda: None,
        lambda: away.rename(bus),
        lambda: rig.runner.claim(ref),
        lambda: rig.runner.finish(ref),
    )
    assert outcome.exit_code is ExitCode.DONE
    assert any("does not answer" in note for note in rig.listener.notes)


def test_an_outage_without_end_ends_the_wait(rig: Rig, tmp_path: Path) -> None:
    job, _ = rig.submit()
    rig.clock.every = lambda: setattr(rig.clock, "now_s", rig.clock.now_s + 100.0)
    bus = tmp_path / "bus.git"
    rig.clock.script = [lambda: bus.rename(tmp_path / "away.git")]
    with pytest.raises(BusError, match="no answer for 600 s") as caught:
        rig.client.wait(job)
    assert f"kakeya_remote wait {job}" in caught.value.remedy


def test_a_bus_that_never_answered_is_an_error_at_once(rig: Rig, tmp_path: Path) -> None:
    job, _ = rig.submit()
    (tmp_path / "bus.git").rename(tmp_path / "away.git")
    with pytest.raises(BusError):
        rig.client.wait(job)
