"""`bus check` against a bus on which each thing is wrong that it knows, one at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.bus.commits import compose_note, compose_request, requester_identity
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome, Update
from bridge.cli.main import main
from bridge.client.check import FAULT, WARNING, Check, Finding
from bridge.records import Decline, KeyNote
from bridge.states import Event
from tests import samples
from tests.actors import WHEN_S
from tests.integration.client_rig import Rig
from tests.rawgit import RawGit


def raw_of(rig: Rig) -> RawGit:
    return RawGit(Path(rig.url))


def write_ref(rig: Rig, ref: str, content: str) -> Path:
    """Put a ref's file on the server by hand, as a power cut or an editor leaves it."""
    path = Path(rig.url) / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def only(check: Check) -> Finding:
    """The one finding; everything that is found says what to do."""
    (finding,) = check.findings
    assert finding.remedy
    return finding


def test_a_sound_bus(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    done, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.finish(ref)
    keyed = rig.client.submit("noop", key="nightly")
    waiting, _ = rig.submit()
    check = rig.client.check()
    assert (check.healthy, check.findings) == (True, ())
    assert check.refs == 6  # the ledger, a heartbeat, three jobs, a key
    assert {done, keyed.id, waiting} == {job.id for job in rig.client.list()}
    rig.client.fold()
    assert rig.client.check().healthy
    for job in (keyed.id, waiting):  # the command's clock is a real one: the runner is silent by it
        rig.client.cancel(job)
    assert main(["--bus", rig.url, "bus", "check"]) == 0
    assert "no fault" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "hello\n"], ids=["zero-length", "junk"])
def test_a_ref_that_the_server_cannot_read(rig: Rig, content: str) -> None:
    job, _ = rig.submit()
    _, ref = rig.submit()
    path = write_ref(rig, ref, content)
    finding = only(rig.client.check())
    assert (finding.kind, finding.level, finding.ref) == ("zero-length", FAULT, ref)
    assert f"delete the file {ref}" in finding.remedy
    path.unlink()
    assert rig.client.check().healthy
    assert [row.id for row in rig.client.list()] == [job]


def test_a_ref_that_points_at_nothing(rig: Rig) -> None:
    rig.submit()
    _, ref = rig.submit()
    write_ref(rig, ref, "1" * 40 + "\n")
    finding = only(rig.client.check())
    assert (finding.kind, finding.level, finding.ref) == ("broken", FAULT, ref)
    assert f"git update-ref -d {ref}" in finding.remedy


def test_a_ref_that_is_no_commit(rig: Rig) -> None:
    ref = rig.runner.bus.refs.job(JobRef("any", 5, samples.make_id()))
    write_ref(rig, ref, raw_of(rig).store("blob", b"x") + "\n")
    finding = only(rig.client.check())
    assert (finding.kind, finding.ref) == ("broken", ref)


@pytest.mark.parametrize(
    "name", ["job/Any/5x", "job/any", "hb/UPPER", "ctl/x", "notes", "archive/today", "key/abc"]
)
def test_a_name_outside_the_grammar(rig: Rig, name: str) -> None:
    ref = f"{rig.runner.bus.refs.root}/{name}"
    raw_of(rig).point(ref, raw_of(rig).commit({"x": b"x"}, message="x"))
    finding = only(rig.client.check())
    assert (finding.kind, finding.level, finding.ref) == ("grammar", FAULT, ref)
    assert f"--delete {ref}" in finding.remedy


def test_a_name_that_a_shell_would_read_is_quoted(rig: Rig) -> None:
    ref = f"{rig.runner.bus.refs.root}/x;$(reboot)"
    raw_of(rig).point(ref, raw_of(rig).commit({"x": b"x"}, message="x"))
    assert f"--delete '{ref}'" in only(rig.client.check()).remedy


def test_a_request_of_another_bus(rig: Rig) -> None:
    request = samples.make_request(samples.make_id())
    ref = rig.runner.bus.refs.job(JobRef(request.label, request.priority, request.id))
    update = Update(ref, None, compose_request(request, when_s=WHEN_S))
    assert rig.runner.bus.swap([update]) == (Outcome.WON,)
    finding = only(rig.client.check())
    assert (finding.kind, finding.level, finding.ref) == ("other-bus", FAULT, ref)


def test_a_malformed_request_is_no_fault(rig: Rig) -> None:
    raw = raw_of(rig)
    ref = rig.runner.bus.refs.job(JobRef("any", 5, samples.make_id()))
    raw.point(ref, raw.commit({"request.json": b"{}"}, message="kakeya: request x"))
    finding = only(rig.client.check())
    assert (finding.kind, finding.level) == ("malformed", WARNING)


def test_commits_that_do_not_count(rig: Rig) -> None:
    _, ref = rig.submit()
    raw = raw_of(rig)
    raw.point(ref, raw.commit({"x": b"x"}, message="passing by", parents=[raw.tip(ref)]))
    finding = only(rig.client.check())
    assert (finding.kind, finding.ref) == ("foreign", ref)
    assert "passing by" in finding.text


def test_one_id_on_two_refs(rig: Rig) -> None:
    job, ref = rig.submit()
    twin = rig.runner.bus.refs.job(JobRef("mac", 5, job))
    raw_of(rig).point(twin, raw_of(rig).tip(ref))
    found = {(item.kind, item.ref) for item in rig.client.check().findings}
    assert ("twice", twin) in found


def test_a_job_that_came_back(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.finish(ref)
    tip = raw_of(rig).tip(ref)
    rig.client.fold()
    raw_of(rig).point(ref, tip)
    finding = only(rig.client.check())
    assert (finding.kind, finding.ref) == ("came-back", ref)
    assert rig.client.fold().left == (job,)


def test_a_queued_job_that_nobody_takes(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.beat(declines=[Decline(job, "policy", "no")])
    finding = only(rig.client.check())
    assert (finding.kind, finding.level, finding.ref) == ("stuck", FAULT, ref)
    assert f"why {job}" in finding.remedy


def test_a_job_held_by_a_silent_runner(rig: Rig) -> None:
    _, ref = rig.submit()
    rig.runner.claim(ref)
    assert rig.client.check().healthy
    rig.clock.now_s += 60
    finding = only(rig.client.check())
    assert finding.kind == "stuck"
    assert "silent since 60 s" in finding.text


def test_what_lies_beside_the_jobs(rig: Rig) -> None:
    bus, alice = rig.runner.bus, requester_identity("alice")
    note = KeyNote(samples.make_id(), samples.SOME_DIGEST, samples.make_nonce())
    lost_key, odd_key = bus.refs.key("ab" * 32), bus.refs.key("cd" * 32)
    commit = compose_note("key.json", note, f"key of {note.id}, by alice", alice, WHEN_S)
    bus.swap([Update(lost_key, None, commit)])
    raw = raw_of(rig)
    stray = raw.commit({"x": b"x"}, message="x")
    wish, beat = bus.refs.wish(samples.make_id()), bus.refs.heartbeat("ghost")
    for ref in (odd_key, wish, beat):
        raw.point(ref, stray)
    found = {item.ref: (item.kind, item.level) for item in rig.client.check().findings}
    assert found == {
        lost_key: ("key", FAULT),
        odd_key: ("key", FAULT),
        wish: ("wish", WARNING),
        beat: ("heartbeat", WARNING),
    }
    rig.client.fold()
    assert wish not in {item.ref for item in rig.client.check().findings}


def test_a_ledger_that_is_none(rig: Rig) -> None:
    rig.submit()
    raw, ledger = raw_of(rig), rig.runner.bus.refs.ledger
    raw.point(ledger, raw.commit({"x": b"x"}, message="x"))
    assert main(["--bus", rig.url, "bus", "check"]) == 1
    found = {item.kind for item in rig.client.check().findings}
    assert found <= {"ledger"}


def test_the_command_ends_1_and_its_json_names_each(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    _, ref = rig.submit()
    rig.runner.finish(ref, Event.REJECTED)
    raw = raw_of(rig)
    raw.point(f"{rig.runner.bus.refs.root}/notes", raw.tip(ref))
    assert main(["--bus", rig.url, "bus", "check", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["schema"], data["healthy"]) == ("kakeya.check/1", False)
    assert [item["kind"] for item in data["findings"]] == ["grammar"]
    assert main(["--bus", rig.url, "bus", "check"]) == 1
    shown = capsys.readouterr()
    assert "grammar" in shown.out
    assert "--delete" in shown.err
