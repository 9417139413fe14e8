"""Cancelling, logs, results, founding a bus and the doctor, against a scripted runner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge import canonical, findings
from bridge.bus.remote import Update
from bridge.client import doctor
from bridge.client.api import Client
from bridge.client.founding import SERVER_SETTINGS, prepare_server
from bridge.client.results import check_paths, write_below
from bridge.clock import Clock
from bridge.errors import IntegrityError, UsageError
from bridge.records import ArtifactRef
from bridge.states import Event, State
from tests.integration.client_rig import Listener, Rig, make_project, open_client
from tests.rawgit import RawGit

# -- cancel -------------------------------------------------------------------------------


def test_a_queued_job_is_cancelled_at_once(rig: Rig) -> None:
    job, _ = rig.submit()
    before_s = rig.clock.now_s
    status = rig.client.cancel(job, "wrong seed")
    assert status.state is State.CANCELLED
    assert status.result is not None
    assert "wrong seed" in status.result.message
    assert rig.clock.now_s == before_s


def test_a_held_job_is_asked_to_end_and_its_runner_answers(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)

    def answer() -> None:
        wish = rig.runner.bus.load_wish(rig.runner.bus.refs.wish(job))
        assert wish.reason == "enough"
        rig.runner.finish(ref, Event.CANCELLED, message="cancelled on request")

    rig.clock.script = [answer]
    status = rig.client.cancel(job, "enough")
    assert status.state is State.CANCELLED
    assert status.result is not None
    assert status.result.by == "mac-m4"


def test_a_runner_that_does_not_answer_is_overruled_after_two_heartbeats(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    before_s = rig.clock.now_s
    status = rig.client.cancel(job)
    assert status.state is State.CANCELLED
    assert status.result is not None
    assert status.result.by != "mac-m4"
    assert 2.0 <= rig.clock.now_s - before_s <= 3.0


def test_a_runner_that_only_logs_is_overruled_too(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.clock.every = lambda: rig.runner.log(ref, b"still here\n")
    assert rig.client.cancel(job).state is State.CANCELLED


def test_a_wish_that_stands_already_is_no_hindrance(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.clock.script = [lambda: None]
    rig.client.cancel(job)
    again = rig.client.cancel(job)
    assert again.state is State.CANCELLED


def test_a_job_that_has_ended_otherwise_cannot_be_cancelled(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.finish(ref)
    with pytest.raises(UsageError, match="ended already: done"):
        rig.client.cancel(job)


def test_a_result_that_comes_before_the_wish_is_read_stands(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.clock.script = [lambda: rig.runner.finish(ref)]
    with pytest.raises(UsageError, match="ended already: done"):
        rig.client.cancel(job)
    assert rig.client.status(job).state is State.DONE


# -- logs ---------------------------------------------------------------------------------


def test_logs_come_in_order_and_by_attempt(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.log(ref, b"one\n")
    rig.runner.log(ref, b"\xfftwo\x1b[31m\n")
    rig.runner.advance(ref, Event.REQUEUE)
    rig.runner.claim(ref)
    rig.runner.log(ref, b"three\n")
    assert b"".join(chunk.data for chunk in rig.client.logs(job)) == (
        b"one\n\xfftwo\x1b[31m\nthree\n"
    )
    assert [chunk.data for chunk in rig.client.logs(job, attempt=2)] == [b"three\n"]


def test_following_logs_ends_with_the_job(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.clock.script = [
        lambda: rig.runner.claim(ref),
        lambda: rig.runner.log(ref, b"one\n"),
        lambda: None,
        lambda: rig.runner.log(ref, b"two\n"),
        lambda: rig.runner.finish(ref),
    ]
    found = [chunk.data for chunk in rig.client.logs(job, follow=True)]
    assert found == [b"one\n", b"two\n"]


# -- results ------------------------------------------------------------------------------

BIG = os.urandom(400_000)  # more than comes with a chain


def finished(rig: Rig, **options: object) -> tuple[str, str]:
    """A job that is done."""
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.finish(ref, **options)  # type: ignore[arg-type]
    return job, ref


def test_results_are_written_and_named_by_digest(rig: Rig, tmp_path: Path) -> None:
    job, _ = finished(
        rig,
        artifacts={"plots/heat.png": b"png", "weights.bin": BIG},
        files={"report.md": b"# report\n", "samples.jsonl": b"{}\n"},
    )
    results = rig.client.results(job, tmp_path / "out")
    written = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert written["artifacts/weights.bin"] == BIG
    assert written["artifacts/plots/heat.png"] == b"png"
    assert set(written) >= {"request.json", "claim.json", "result.json", "evidence.json"}
    assert {path: canonical.digest_bytes(data) for path, data in written.items()} == {
        path: digest for path, (digest, _) in results.files.items()
    }
    assert results.evidence is not None
    assert results.evidence["result"]["gates"] == "pass"
    again = rig.client.results(job, tmp_path / "out")
    assert again.files == results.files


def test_a_job_that_goes_on_has_no_results(rig: Rig, tmp_path: Path) -> None:
    job, _ = rig.submit()
    with pytest.raises(UsageError, match="has not ended"):
        rig.client.results(job, tmp_path / "out")


def test_an_artifact_that_is_not_what_the_result_says_is_refused(rig: Rig, tmp_path: Path) -> None:
    said = (ArtifactRef("a.txt", canonical.digest_bytes(b"other"), 5),)
    job, _ = finished(rig, files={"artifacts/a.txt": b"these"}, artifacts={}, problems=())
    with pytest.raises(IntegrityError, match="differ from what the result says") as caught:
        rig.client.results(job, tmp_path / "out")
    assert "artifacts/a.txt: the result does not list it" in caught.value.problems
    assert not (tmp_path / "out").exists()
    job, ref = rig.submit()
    rig.runner.claim(ref)
    values = {"artifacts": said}
    rig.runner.step(
        rig.runner.bus.load(ref),
        Event.DONE,
        _result(rig, ref, values),
        files={"artifacts/a.txt": b"these"},
    )
    with pytest.raises(IntegrityError) as caught:
        rig.client.results(job, tmp_path / "out")
    assert caught.value.problems[0].startswith("artifacts/a.txt: sha256:")


def _result(rig: Rig, ref: str, values: Mapping[str, object]) -> object:
    from tests import samples

    return samples.make_result(rig.runner.bus.load(ref), **values)


def test_evidence_that_is_not_what_the_result_says_is_refused(rig: Rig, tmp_path: Path) -> None:
    job, _ = finished(rig, evidence=canonical.digest("something else"))
    with pytest.raises(IntegrityError, match="the result says"):
        rig.client.results(job, tmp_path / "out")
    with pytest.raises(IntegrityError, match="the result says"):
        rig.client.evidence(job)


def test_a_failed_job_has_files_and_no_evidence(rig: Rig, tmp_path: Path) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.finish(ref, Event.FAILED)
    assert rig.client.evidence(job) is None
    assert rig.client.results(job, tmp_path / "out").evidence is None


@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        "a/../../b",
        "/etc/passwd",
        "a//b",
        "./a",
        "a\\..\\b",
        ".git/hooks/post-checkout",
        "sub/.GIT/config",
        "git~1/config",
        "a\nb",
        "a\x1b[2J",
        "a\u202eb",
        "x" * 1_001,
    ],
)
def test_paths_that_escape_are_refused(path: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        check_paths({path: "", "fine.txt": ""})
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "paths", [("A.txt", "a.txt"), ("dir/a", "Dir/b")], ids=["files", "folders"]
)
def test_names_that_differ_in_case_alone_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(IntegrityError):
        check_paths(dict.fromkeys(paths, ""))


def test_nothing_is_written_through_a_symlink(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "artifacts").symlink_to(outside)
    with pytest.raises(UsageError, match="is a symlink"):
        write_below(tmp_path / "out", "artifacts/a.txt", b"x")
    (tmp_path / "secret").write_bytes(b"mine")
    (tmp_path / "out" / "b.txt").symlink_to(tmp_path / "secret")
    write_below(tmp_path / "out", "b.txt", b"x")
    assert (tmp_path / "secret").read_bytes() == b"mine"
    assert (tmp_path / "out" / "b.txt").read_bytes() == b"x"
    assert list(outside.iterdir()) == []


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "out" / "a.txt").mkdir(parents=True)
    with pytest.raises(UsageError, match="is a folder"):
        write_below(tmp_path / "out", "a.txt", b"x")


# -- a bus begins -------------------------------------------------------------------------


def test_a_folder_becomes_a_bus_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bus.git"
    prepare_server(path)
    client = open_client(str(path), None, tmp_path / "client", Clock(), Listener())
    with client:
        first = client.found()
        second = client.found()
    assert first.created
    assert not second.created
    assert first.identity == second.identity
    prepare_server(path)
    raw = RawGit(path)
    for name, value in SERVER_SETTINGS:
        assert raw.run("config", "--get", name) == value


def test_a_folder_with_other_files_becomes_no_bus(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("do not lose me")
    with pytest.raises(UsageError, match="holds other files"):
        prepare_server(tmp_path / "full")
    with pytest.raises(UsageError, match="no bare repository"):
        prepare_server(make_project(tmp_path / "project"))


def test_a_push_larger_than_the_bus_takes_is_refused(tmp_path: Path) -> None:
    raw = RawGit(tmp_path / "bus.git")
    prepare_server(raw.path)
    assert int(raw.run("config", "--get", "receive.maxInputSize")) > 32 * 2**20


# -- the doctor ---------------------------------------------------------------------------


def levels(client: Client) -> dict[str, str]:
    """The worst level of each check."""
    order = [findings.OK, findings.WARNING, findings.FAULT]
    found: dict[str, str] = {}
    for finding in doctor.examine(client):
        worse = max(finding.level, found.get(finding.check, findings.OK), key=order.index)
        found[finding.check] = worse
        assert finding.level == findings.OK or finding.remedy
    return found


def test_a_healthy_bus(rig: Rig) -> None:
    rig.clock.every = lambda: rig.runner.beat(trusted=rig.head)
    found = levels(rig.client)
    assert set(found.values()) == {findings.OK}
    assert set(found) == {"git", "settings", "presets", "bus", "push", "runner", "code"}
    refs = RawGit(Path(rig.url)).run("for-each-ref", "--format=%(refname)")
    assert "/ctl/" not in refs


def test_a_silent_runner_and_edits_are_warnings(rig: Rig) -> None:
    (rig.project / "README.md").write_text("edited\n")
    found = levels(rig.client)
    assert found["runner"] == findings.WARNING
    assert found["code"] == findings.WARNING


def test_no_runner_and_code_out_of_reach(rig: Rig) -> None:
    ref = rig.runner.bus.refs.heartbeat("mac-m4")
    tip = rig.runner.bus.peek(ref)
    assert tip is not None
    rig.runner.bus.swap([Update(ref, tip.oid, None)])
    found = levels(rig.client)
    assert found["runners"] == findings.WARNING
    assert found["code"] == findings.FAULT


def test_a_bus_out_of_reach_is_one_fault(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "bus.git").rename(tmp_path / "away.git")
    found = levels(rig.client)
    assert found["bus"] == findings.FAULT
    assert "push" not in found


def test_a_bus_that_may_not_be_pushed_to(rig: Rig, tmp_path: Path) -> None:
    hook = tmp_path / "bus.git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho read only >&2\nexit 1\n")
    hook.chmod(0o755)
    assert levels(rig.client)["push"] == findings.FAULT


def test_no_bus_named_is_a_fault_with_a_remedy(tmp_path: Path) -> None:
    client = Client.open(folder=make_project(tmp_path / "project"))
    found = doctor.examine(client)
    assert findings.as_json(found)["healthy"] is False
    assert any("--embedded" in finding.remedy for finding in found)
