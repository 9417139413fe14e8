"""A live runner on a real bus: what it runs, what it leaves alone, what survives its death."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil

from bridge.bus.commits import compose_note, requester_identity
from bridge.bus.remote import Outcome, Update
from bridge.records import CancelWish
from tests import samples
from tests.actors import WHEN_S
from tests.lab import Lab
from tests.rawgit import RawGit
from tests.waiting import until


def wish(lab: Lab, ref: str) -> None:
    """Wish a held job cancelled."""
    chain = lab.bus.load(ref)
    record = CancelWish(chain.job.id, chain.request_digest or "", "alice", samples.make_nonce())
    commit = compose_note("cancel.json", record, "cancel", requester_identity("alice"), WHEN_S)
    update = Update(lab.bus.refs.wish(chain.job.id), None, commit)
    assert lab.bus.swap([update]) == (Outcome.WON,)


def test_a_job_crosses_the_bus_and_its_branch_tells_the_story(lab: Lab) -> None:
    with lab.runner():
        ref = lab.submit("noop")
        chain = lab.wait(ref)
    assert chain.state == "done", lab.words()
    assert chain.fault is None
    assert chain.result is not None
    assert chain.result.verdict == "pass"
    assert [link.event.value for link in chain.links][:2] == ["request", "claim"]
    assert {"request.json", "claim.json", "result.json", "evidence.json", "report.md"} <= set(
        chain.files
    )
    subjects = [link.subject for link in chain.links]
    assert subjects[0].startswith("kakeya: request noop")
    assert subjects[-1] == "kakeya: done, attempt 1, by lab-1"


def test_exit_code_of_a_failed_job_is_kept(lab: Lab) -> None:
    with lab.runner():
        chain = lab.wait(lab.submit("noop", {"exit_code": 7}))
    assert chain.state == "failed"
    assert chain.result is not None
    assert chain.result.exit is not None
    assert (chain.result.exit.code, chain.result.exit.reason) == (7, "exit")


def test_unmerged_code_is_declined_with_its_reason(lab: Lab) -> None:
    with lab.runner():
        ref = lab.submit("noop", code="1" * 40)
        heartbeat = lab.bus.refs.heartbeat("lab-1")

        def declined() -> str:
            declines = lab.bus.load_heartbeat(heartbeat).declines
            return "".join(item.detail for item in declines if item.id in ref)

        assert "not merged" in until(declined, what="a decline")
    assert lab.bus.load(ref).state == "queued"


def test_another_preset_digest_is_declined_and_both_are_named(lab: Lab) -> None:
    other = "sha256:" + "ab" * 32
    with lab.runner():
        ref = lab.submit("noop", preset=samples.PresetRef("noop", other))
        heartbeat = lab.bus.refs.heartbeat("lab-1")

        def declined() -> str:
            declines = lab.bus.load_heartbeat(heartbeat).declines
            return "".join(item.detail for item in declines if item.id in ref)

        detail = until(declined, what="a decline")
    assert other[:19] in detail
    assert lab.catalog.get("noop").digest[:19] in detail


def test_cancel_before_the_claim(lab: Lab) -> None:
    ref = lab.submit("noop")
    wish(lab, ref)
    with lab.runner():
        assert lab.wait(ref).state == "cancelled"


def test_cancel_of_a_running_job_ends_its_process(lab: Lab) -> None:
    with lab.runner():
        ref = lab.submit("noop", {"seconds": 300})
        chain = lab.wait(ref, "running")
        wish(lab, ref)
        chain = lab.wait(ref)
        assert chain.state == "cancelled"
        assert chain.result is not None
        assert chain.result.exit is not None
        assert chain.result.exit.reason == "cancelled"
    assert not _processes_below(lab.folder)


def test_queue_timeout_runs_on_the_runners_own_first_sight(lab: Lab) -> None:
    with lab.runner():
        ref = lab.submit("noop", code="1" * 40, queue_timeout_s=1)
        # left alone by policy, yet it ends
        assert lab.wait(ref).state == "expired"


def test_a_restarted_runner_adopts_what_runs(lab: Lab) -> None:
    with lab.runner() as first:
        ref = lab.submit("noop", {"seconds": 6})
        lab.wait(ref, "running")
        first.send_signal(signal.SIGKILL)
        first.wait()
    with lab.runner():
        chain = lab.wait(ref)
    assert chain.state == "done"
    assert [link.event.value for link in chain.links].count("claim") == 1
    assert "adopted" in lab.words()


def test_a_dead_runners_claim_is_reaped_and_run_by_another(lab: Lab) -> None:
    with lab.runner("lab-1") as first:
        ref = lab.submit("noop", {"seconds": 2})
        lab.wait(ref, "running")
        first.send_signal(signal.SIGKILL)
        first.wait()
        with lab.runner("lab-2"):
            chain = lab.wait(ref)
    assert chain.state == "done"
    events = [link.event.value for link in chain.links]
    assert events.count("claim") == 2
    assert events.count("requeue") == 1
    assert chain.result is not None
    assert (chain.result.attempt, chain.result.by) == (2, "lab-2")


def test_a_stopped_runner_learns_that_it_lost(lab: Lab) -> None:
    with lab.runner("lab-1") as first:
        ref = lab.submit("noop", {"seconds": 4})
        lab.wait(ref, "running")
        first.send_signal(signal.SIGSTOP)
        with lab.runner("lab-2"):
            until(lambda: _holder(lab, ref) == "lab-2", what="the reaping")
            first.send_signal(signal.SIGCONT)
            chain = lab.wait(ref)
            until(lambda: "fenced off" in lab.words("lab-1"), what="the fence")
    assert chain.state == "done"
    assert chain.result is not None
    assert chain.result.by == "lab-2"


def test_a_second_session_of_one_name_stops(lab: Lab, tmp_path: Path) -> None:
    with lab.runner("lab-1"):
        settings = lab.settings("lab-1", state_dir=str(tmp_path / "elsewhere"))
        second = lab.start(settings.rename(tmp_path / "second.yaml"))
        assert second.wait(timeout=60) == 4
    said = (tmp_path / "second.log").read_text()
    assert "another live session has the name lab-1" in said


def test_drain_finishes_what_is_held_and_claims_no_more(lab: Lab) -> None:
    with lab.runner() as runner:
        ref = lab.submit("noop", {"seconds": 2})
        lab.wait(ref, "running")
        runner.send_signal(signal.SIGTERM)
        later = lab.submit("noop")
        assert runner.wait(timeout=60) == 0
    assert lab.bus.load(ref).state == "done"
    assert lab.bus.load(later).state == "queued"


def test_a_runner_that_is_told_to_stop_now_leaves_its_job_to_the_next_session(lab: Lab) -> None:
    with lab.runner() as first:
        ref = lab.submit("noop", {"seconds": 15})
        lab.wait(ref, "running")
        first.send_signal(signal.SIGQUIT)
        assert first.wait(timeout=60) == 0
    assert lab.bus.load(ref).state == "running"
    with lab.runner():
        chain = lab.wait(ref)
    assert chain.state == "done"
    assert [link.event.value for link in chain.links].count("claim") == 1


def test_a_foreign_commit_is_written_over_and_named(lab: Lab) -> None:
    raw = RawGit(Path(lab.url))
    with lab.runner():
        ref = lab.submit("noop", {"seconds": 3})
        chain = lab.wait(ref, "running")
        forged = raw.commit(
            {"result.json": b"{}"}, message="kakeya: done, attempt 1", parents=(chain.tip,)
        )
        raw.point(ref, forged)
        chain = lab.wait(ref)
    assert chain.state == "done"
    assert chain.result is not None
    assert chain.result.by == "lab-1"
    assert "writing over a foreign commit" in lab.words()


def _holder(lab: Lab, ref: str) -> str | None:
    claim = lab.bus.load(ref).claim
    return claim.runner if claim else None


def _processes_below(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line and "bootstrap" in line:
            found.append(line)
    return found


def test_a_forged_subject_hides_nothing(lab: Lab) -> None:
    """Whoever may push may write any subject; what decides is what the commit holds."""
    raw = RawGit(Path(lab.url))
    waiting = lab.submit("noop")
    tip = lab.bus.load(waiting).tip
    forged = raw.commit({"x": b"1"}, message="kakeya: done, attempt 1", parents=(tip,))
    raw.point(waiting, forged)
    with lab.runner():
        assert lab.wait(waiting).state == "done"
