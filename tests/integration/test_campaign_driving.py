"""Campaigns on a real bus: what drives them may die, race, or come back at any step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge import canonical, proc, wire
from bridge.bus.course import Course
from bridge.bus.driving import Driver
from bridge.bus.moves import compose_move
from bridge.bus.remote import Outcome as Swap
from bridge.bus.remote import Update
from bridge.campaigns import Event as Step
from bridge.campaigns import State
from bridge.cli.main import main
from bridge.client.planning import sweep_document
from bridge.client.waiting import sign
from bridge.errors import ExitCode, IntegrityError, ManifestError, UsageError
from bridge.runner.signature import find_signer
from bridge.states import Event
from evidence.record import Material, assemble
from evidence.verify import verify
from presets.binding import render_spec
from tests.actors import open_bus
from tests.integration.client_rig import Rig, open_rig
from tests.lab import REPO, commit_all, make_bare
from tests.servers.child import server_env


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    make_bare(tmp_path / "bus.git")
    found = open_rig(str(tmp_path / "bus.git"), tmp_path)
    source = REPO / "presets" / "noop-sweep.yaml"
    (found.project / "presets" / source.name).write_bytes(source.read_bytes())
    commit_all(found.project, "a preset with a seed")
    found.client.checkout = replace(found.client.checkout, head=found.head)  # type: ignore[type-var]
    found.runner.beat(trusted=found.head)
    yield found
    found.close()


SWEEP = {"seconds": [0, 1]}


def start(rig: Rig, document: dict[str, Any] | None = None) -> str:
    document = document or sweep_document("noop-sweep", {}, SWEEP, 2)
    plan = rig.client.campaigns.plan(document)
    rig.client.campaigns.start(plan)
    return plan.id


def sound_files(rig: Rig, ref: str, slept_s: float = 1.0) -> dict[str, bytes]:
    """The record and samples of a cell, as a runner's judge makes them."""
    chain = rig.client.bus.load(ref)
    assert chain.request is not None
    request = chain.request
    preset = rig.client.presets()[request.preset.name]
    row = {
        "arm": "noop",
        "seed": request.params["seed"],
        "unit": "noop",
        "input": canonical.digest({"seconds": request.params["seconds"]}),
        "measure": "slept_s",
        "score": slept_s,
        "at": {},
        "error": None,
        "warmup": False,
        "t_ms": 1.0,
    }
    samples = canonical.encode(row) + b"\n"
    facts = {
        "id": request.id,
        "request": {"digest": chain.request_digest},
        "execution": {"reason": "exit", "duration_s": "36.0"},
    }
    spec = render_spec(preset, request.params)
    record = assemble(Material(facts, spec, samples)).record
    return {"evidence.json": canonical.encode(record) + b"\n", "samples.jsonl": samples}


def finish(rig: Rig, course: Course, only: Callable[[str], bool] = lambda _: True) -> None:
    """Claim and finish the queued cells that `only` names, with evidence that holds."""
    for (_, cell), job in sorted(course.launched.items()):
        ref = rig.client.find(job)
        chain = rig.client.bus.load(ref)
        if only(cell) and not chain.ended:
            rig.runner.claim(ref)
            files = sound_files(rig, ref)
            digest = canonical.digest_bytes(files["evidence.json"])
            rig.runner.finish(ref, verdict=None, files=files, evidence=digest)


def rewrite(rig: Rig, ref: str, files: dict[str, bytes]) -> None:
    digest = canonical.digest_bytes(files["evidence.json"])
    rig.runner.claim(ref)
    rig.runner.finish(ref, verdict=None, files=files, evidence=digest)


def test_a_sweep_is_launched_once_decided_and_done(rig: Rig, tmp_path: Path) -> None:
    campaign = start(rig)
    desk = rig.client.campaigns
    course = desk.drive(campaign)
    assert len(set(course.launched.values())) == len(course.launched) == 4
    jobs = rig.client.bus.poll().jobs
    assert {job.id for job, _ in jobs.values()} == set(course.launched.values())
    assert desk.drive(campaign).launched == course.launched
    finish(rig, course)
    done = desk.wait(campaign, 60)
    assert (done.state, done.verdict, done.exit_code) == (State.DONE, "pass", ExitCode.DONE)
    desk.download(campaign, tmp_path / "got")
    found = verify(tmp_path / "got")
    assert not found.differences
    assert found.recomputed
    assert found.record["cover"]["missing"] == []
    assert found.record["seeds"] == {"planned": ["0", "1"], "run": ["0", "1"], "excluded": []}
    assert {(row["at"]["seconds"], row["n"]) for row in found.record["metrics"]} == {
        ("0", 2),
        ("1", 2),
    }
    assert (tmp_path / "got" / "report.html").read_text("utf-8").count("seed 1") > 0


def test_two_drivers_that_race_launch_each_cell_once(rig: Rig, tmp_path: Path) -> None:
    campaign = start(rig)
    others = [open_bus(rig.url, tmp_path / f"driver-{n}", init=False) for n in range(3)]
    catalog = rig.client.catalog()[0]
    drivers = [
        Driver(bus, catalog, lambda: sign("someone", rig.client.clock), lambda _: None)
        for bus in others
    ]
    stale = others[0].load_campaign(campaign)
    drivers[1].advance(campaign)
    updates, _ = drivers[0]._next(stale)
    assert others[0].swap(updates, atomic=True)[0] is Swap.LOST
    found = drivers[2].advance(campaign)
    assert len(found.links) == 2
    assert len(rig.client.bus.poll().jobs) == 4
    for bus in others:
        bus.close()


def test_a_cell_that_failed_is_missing_and_named(rig: Rig, tmp_path: Path) -> None:
    campaign = start(rig)
    desk = rig.client.campaigns
    course = desk.drive(campaign)
    bad = "seconds=1,seed=0"
    finish(rig, course, only=lambda cell: cell != bad)
    ref = rig.client.find(course.launched["sweep", bad])
    rig.runner.claim(ref)
    rig.runner.finish(ref, Event.FAILED, verdict=None, message="out of memory")
    done = desk.wait(campaign, 60)
    assert (done.verdict, done.exit_code) == ("missing", ExitCode.INCONCLUSIVE)
    desk.download(campaign, tmp_path / "got")
    record = verify(tmp_path / "got").record
    assert record["cover"]["missing"] == [bad]
    assert "out of memory" in record["non_claims"]
    gate = next(row for row in record["gates"] if row["id"] == "every-cell")
    assert bad in gate["why"]
    assert gate["verdict"] == "missing"


def test_a_record_that_does_not_follow_from_its_samples_is_not_pooled(
    rig: Rig, tmp_path: Path
) -> None:
    campaign = start(rig)
    desk = rig.client.campaigns
    course = desk.drive(campaign)
    bad = "seconds=0,seed=1"
    finish(rig, course, only=lambda cell: cell != bad)
    ref = rig.client.find(course.launched["sweep", bad])
    files = sound_files(rig, ref)
    files["samples.jsonl"] = files["samples.jsonl"].replace(b'"score":1', b'"score":2')
    rewrite(rig, ref, files)
    done = desk.wait(campaign, 60)
    assert done.verdict == "missing"
    desk.download(campaign, tmp_path / "got")
    record = verify(tmp_path / "got").record
    assert record["cover"]["missing"] == [bad]
    row = next(row for row in record["attempts"] if row["cell"] == bad)
    assert row["why"].startswith("integrity: ")
    assert record["samples"]["rows"] == 3


def test_a_record_of_another_request_is_not_pooled(rig: Rig) -> None:
    campaign = start(rig)
    desk = rig.client.campaigns
    course = desk.drive(campaign)
    cells = sorted(course.launched.items())
    finish(rig, course, only=lambda cell: cell != cells[0][0][1])
    borrowed = sound_files(rig, rig.client.find(cells[1][1]))
    rewrite(rig, rig.client.find(cells[0][1]), borrowed)
    done = desk.wait(campaign, 60)
    assert done.verdict == "missing"
    assert done.nodes[0].ran == 3


def decision_document(opens: list[str]) -> dict[str, Any]:
    gate = {"id": "long-enough", "rule": {"cmp": [{"m": "slept_s", "arm": "noop"}, ">", "0.5"]}}
    return {
        "name": "decide",
        "nodes": {
            "first": {"preset": "noop-sweep", "gates": [gate]},
            "second": {
                "preset": "noop-sweep",
                "seeds": 2,
                "after": [{"node": "first", "gate": "long-enough", "opens": opens}],
            },
            "third": {"preset": "noop-sweep", "after": ["second"]},
        },
    }


def test_a_gate_that_passes_opens_the_way(rig: Rig) -> None:
    campaign = start(rig, decision_document(["pass"]))
    desk = rig.client.campaigns
    launched = []
    for _ in range(3):
        course = desk.drive(campaign)
        launched.append(len(course.launched))
        finish(rig, course)
    assert launched == [1, 3, 4]
    assert desk.wait(campaign, 60).verdict == "pass"


def test_a_gate_that_closes_names_what_was_not_run(rig: Rig, tmp_path: Path) -> None:
    campaign = start(rig, decision_document(["fail"]))
    desk = rig.client.campaigns
    finish(rig, desk.drive(campaign))
    done = desk.wait(campaign, 60)
    assert (done.verdict, done.launched) == ("pass", 1)
    standings = {node.id: node.standing for node in done.nodes}
    assert standings == {"first": "decided", "second": "closed", "third": "closed"}
    closed = next(node for node in done.nodes if node.id == "second")
    assert closed.closed_by == ("gate long-enough of first came to pass, fail opens",)
    desk.download(campaign, tmp_path / "got")
    found = verify(tmp_path / "got")
    assert not found.differences
    cover = found.record["cover"]
    assert cover["cells"] == ["first/whole"]
    assert cover["missing"] == ["second/seed=0", "second/seed=1", "third/whole"]
    assert sorted(cover["planned"]) == sorted([*cover["cells"], *cover["missing"]])


def test_a_paused_campaign_launches_nothing_until_it_goes_on(rig: Rig) -> None:
    desk = rig.client.campaigns
    campaign = start(rig, decision_document(["pass"]))
    finish(rig, desk.drive(campaign))
    desk.pause(campaign, "look first")
    course = desk.drive(campaign)
    assert (course.state, len(course.launched), list(course.decisions)) == (
        State.PAUSED,
        1,
        ["first"],
    )
    with pytest.raises(UsageError, match="is paused, not running"):
        desk.pause(campaign)
    status = desk.wait(campaign, 60)
    assert status.exit_code is ExitCode.STILL_RUNNING
    desk.resume(campaign)
    assert len(desk.drive(campaign).launched) == 3


def test_a_budget_of_jobs_pauses_and_an_amendment_lets_it_go_on(rig: Rig) -> None:
    desk = rig.client.campaigns
    document = sweep_document("noop-sweep", {}, SWEEP, 2, budget={"jobs": 3})
    campaign = start(rig, document)
    course = desk.drive(campaign)
    assert (course.state, len(course.launched)) == (State.PAUSED, 3)
    assert course.last is not None
    assert "budget of 3 jobs" in course.last.reason
    amended = desk.amend(campaign, {**document, "budget": {"jobs": 4}}, "one more is fine")
    assert amended.last is not None
    assert len(amended.last.changes) == 1
    assert amended.last.changes[0].startswith("budget: ")
    desk.resume(campaign)
    course = desk.drive(campaign)
    assert len(course.launched) == 4
    finish(rig, course)
    assert desk.wait(campaign, 60).verdict == "pass"


def test_a_budget_of_hours_counts_what_the_records_say(rig: Rig) -> None:
    desk = rig.client.campaigns
    document = sweep_document("noop-sweep", {}, SWEEP, 2, parallel=1, budget={"hours": 0.015})
    campaign = start(rig, document)
    for wanted in (1, 2):
        course = desk.drive(campaign)
        assert len(course.launched) == wanted
        finish(rig, course)  # each of them took 36 s, by its record
    course = desk.drive(campaign)
    assert (course.state, len(course.launched)) == (State.PAUSED, 2)
    assert course.last is not None
    assert "0.02 used" in course.last.reason


def test_what_has_begun_cannot_be_amended(rig: Rig) -> None:
    desk = rig.client.campaigns
    document = decision_document(["pass"])
    campaign = start(rig, document)
    desk.drive(campaign)
    changed = json.loads(json.dumps(document))
    changed["nodes"]["first"]["params"] = {"seconds": 3}
    with pytest.raises(ManifestError) as caught:
        desk.amend(campaign, changed, "longer")
    assert caught.value.problems[0].startswith("$.nodes.first: it has begun")
    with pytest.raises(UsageError, match="changes nothing"):
        desk.amend(campaign, document, "nothing")
    later = json.loads(json.dumps(document))
    later["nodes"]["second"]["seeds"] = 3
    del later["nodes"]["third"]
    course = desk.amend(campaign, later, "three seeds")
    assert course.last is not None
    assert [line.partition(":")[0] for line in course.last.changes] == [
        "node third",
        "node second, axes",
    ]
    finish(rig, course)
    course = desk.drive(campaign)
    assert len(course.launched) == 4
    for job in course.launched.values():  # also those of the amended plan are cells of it
        assert rig.client.status(job).problems == ()
    finish(rig, course)
    assert desk.wait(campaign, 60).verdict == "pass"


def test_a_forged_step_on_top_is_written_over(rig: Rig) -> None:
    desk = rig.client.campaigns
    campaign = start(rig)
    course = desk.drive(campaign)
    again = replace(course, launched={})
    cells = [
        wire.parse("move", wire.to_bytes(course.last)).cells[0]  # launched already
    ]
    hand = sign("mallory", rig.client.clock)
    forged = compose_move(again, Step.LAUNCH, hand, cells=cells)
    assert rig.client.bus.swap([Update(course.ref, course.tip, forged)]) == (Swap.WON,)
    seen = rig.client.bus.load_campaign(campaign)
    assert seen.fault is not None
    assert "a second time" in seen.fault
    assert (seen.state, seen.launched) == (State.RUNNING, course.launched)
    finish(rig, course)
    assert desk.wait(campaign, 60).verdict == "pass"


def test_a_job_that_is_gone_is_missing(rig: Rig) -> None:
    desk = rig.client.campaigns
    campaign = start(rig)
    course = desk.drive(campaign)
    gone = "seconds=0,seed=0"
    finish(rig, course, only=lambda cell: cell != gone)
    ref = rig.client.find(course.launched["sweep", gone])
    tip = rig.client.bus.peek(ref)
    assert tip is not None
    assert rig.client.bus.swap([Update(ref, tip.oid, None)]) == (Swap.WON,)
    done = desk.wait(campaign, 60)
    assert (done.verdict, done.nodes[0].ran) == ("missing", 3)


def test_folded_cells_are_read_from_the_ledger(rig: Rig) -> None:
    desk = rig.client.campaigns
    campaign = start(rig)
    course = desk.drive(campaign)
    finish(rig, course)
    assert len(rig.client.fold(keep=0).ids) == 4
    assert desk.wait(campaign, 60).verdict == "pass"


# -- signatures ------------------------------------------------------------------------------------


def make_key(folder: Path, name: str) -> Path:
    path = folder / name
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
    done = proc.run(argv, cwd=folder, env=server_env(folder), timeout_s=30)
    assert done.code == 0, done.stderr
    return path


@pytest.mark.real("ssh-keygen")
def test_a_signature_over_the_plan_covers_its_cells(rig: Rig, tmp_path: Path) -> None:
    desk = rig.client.campaigns
    keys = {name: make_key(tmp_path, name) for name in ("alice", "mallory")}
    allowed = tmp_path / "allowed"
    public = keys["alice"].with_suffix(".pub").read_text()
    allowed.write_text(f'alice namespaces="kakeya-request" {public}')
    found = {}
    for name, key in keys.items():
        plan = desk.plan(sweep_document("noop-sweep", {}, SWEEP, 2))
        desk.start(plan, signing_key=key)
        found[name] = desk.drive(plan.id)
    bus = rig.client.bus
    for job in found["alice"].launched.values():
        chain = bus.load(rig.client.find(job))
        assert find_signer(chain, bus.read, allowed) == "alice"
        assert chain.request is not None
        changed = replace(chain, request=replace(chain.request, code="1" * 40))
        with pytest.raises(IntegrityError, match="differs from the cell"):
            find_signer(changed, bus.read, allowed)
        stranger = replace(chain, request=replace(chain.request, campaign=None))
        with pytest.raises(IntegrityError, match="no cell of this plan"):
            find_signer(stranger, bus.read, allowed)
    forged = bus.load(rig.client.find(next(iter(found["mallory"].launched.values()))))
    with pytest.raises(IntegrityError, match="not listed"):
        find_signer(forged, bus.read, allowed)


def test_cells_of_an_unsigned_plan_are_unsigned(rig: Rig, tmp_path: Path) -> None:
    course = rig.client.campaigns.drive(start(rig))
    chain = rig.client.bus.load(rig.client.find(next(iter(course.launched.values()))))
    with pytest.raises(IntegrityError, match="is not signed"):
        find_signer(chain, rig.client.bus.read, tmp_path)


# -- the command -----------------------------------------------------------------------------------


def run_main(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, Any]:
    monkeypatch.chdir(rig.project)
    code = main([*words, "--bus", rig.url, "--json"])
    return code, json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_the_commands_of_a_campaign(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> tuple[int, Any]:
        return run_main(rig, monkeypatch, capsys, *words)

    sweep = ("run", "noop-sweep", "--matrix", "seconds=0,1", "--seeds", "2")
    code, plan = run(*sweep, "--dry-run")
    assert (code, len(plan["cells"]["sweep"])) == (0, 4)
    assert not rig.client.bus.campaigns()
    code, status = run(*sweep)
    assert (code, status["state"], status["cells"]["launched"]) == (0, "running", 4)
    campaign = status["id"]
    assert run("campaign", "pause", campaign, "--reason", "look")[1]["state"] == "paused"
    code, status = run("campaign", "status", campaign, "--wait", "--timeout", "5")
    assert (code, status["message"]) == (8, "paused: look")
    assert run("campaign", "resume", campaign)[1]["state"] == "running"
    finish(rig, rig.client.bus.load_campaign(campaign))
    code, status = run("campaign", "status", campaign, "--wait", "--timeout", "60")
    assert (code, status["state"], status["verdict"]) == (0, "done", "pass")
    code, found = run("campaign", "results", campaign, "--out", str(rig.folder / "got"))
    assert code == 0
    assert str(rig.folder / "got" / "evidence.json") in found["files"]
    code, listed = run("campaign", "status")
    assert [row["id"] for row in listed["campaigns"]] == [campaign]


def test_the_command_refuses_with_every_fault(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> tuple[int, Any]:
        return run_main(rig, monkeypatch, capsys, *words)

    code, told = run("run", "noop-sweep", "--matrix", "seconds=soon", "--matrix", "speed=1")
    assert code == 2
    assert len(told["problems"]) == 2
    code, told = run("run", "noop-sweep", "--seeds", "2", "--id", "key")
    assert (code, told["message"]) == (2, "a sweep takes no --id")
    path = rig.folder / "bad.yaml"
    path.write_text("name: bad\nnodes:\n  a: {preset: noop, after: [a]}\n")
    code, told = run("campaign", "validate", str(path))
    assert code == 2
    assert "in a circle" in told["problems"][0]
    assert run("campaign", "status", "0" * 26)[0] == 2
