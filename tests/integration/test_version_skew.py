"""Programs of two protocol majors on one bus: what the older one cannot read it leaves alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bridge import proc, records, wire
from bridge.bus.chain import Chain
from bridge.bus.commits import compose_step, runner_identity
from bridge.bus.refs import JobRef
from bridge.errors import ExitCode
from bridge.objects import Identity, Prepared, build_commit
from bridge.states import Event, State
from bridge.wire import VersionSkewError
from tests import samples
from tests.actors import WHEN_S, Actor
from tests.integration.test_enrolment import say
from tests.keys import make_hand
from tests.lab import Lab
from tests.rawgit import RawGit
from tests.servers.child import server_env
from tests.waiting import until


def newer(data: bytes, kind: str) -> bytes:
    """A record as the next major would write it: another schema, and a field nobody knows."""
    record = json.loads(data)
    record["schema"] = f"kakeya.{kind}/2"
    record["unheard_of"] = {"since": 2}
    return json.dumps(record).encode()


def submit_newer(lab: Lab) -> str:
    """A request of the next major on the lab's bus; returns its ref."""
    found = lab.catalog.get("noop")
    request = samples.make_request(
        lab.bus.identity().id,
        preset=records.PresetRef(found.name, found.digest),
        code=lab.commit,
    )
    raw = RawGit(Path(lab.url))
    files = {"request.json": newer(wire.to_bytes(request), "request")}
    ref = lab.bus.refs.job(JobRef(request.label, request.priority, request.id))
    raw.point(ref, raw.commit(files, message="kakeya: request noop, by alice"))
    return ref


def step_newer(lab: Lab, chain: Chain, event: Event, kind: str, author: Identity) -> Prepared:
    """A step whose record is of the next major."""
    made = Actor(lab.bus, "lab-9").compose(chain, event)
    name = {"claim": "claim.json", "result": "result.json"}[kind]
    data = next(item.data for item in made.objects if item.oid == made.files[name])
    return build_commit(
        {name: newer(data, kind)},
        kept_files=chain.files,
        parents=(chain.tip,),
        message=f"kakeya: {event.value}, attempt {chain.attempt}, by lab-9\n",
        author=author,
        when_s=WHEN_S,
    )


def plant(lab: Lab, ref: str, made: Prepared) -> None:
    """Put a commit at a ref of the lab's bus, as whoever may push can."""
    raw = RawGit(Path(lab.url))
    for item in made.objects:
        assert raw.store(item.kind, item.data) == item.oid
    raw.point(ref, made.oid)


def test_an_older_runner_declines_a_newer_request_and_why_says_so(lab: Lab) -> None:
    with lab.runner():
        ref = submit_newer(lab)
        tip = lab.bus.load(ref).tip
        job = lab.bus.load(ref).job.id

        def declined() -> bool:
            beat = lab.bus.load_heartbeat(lab.bus.refs.heartbeat("lab-1"))
            return any((item.id, item.reason) == (job, "version") for item in beat.declines)

        until(declined, bound_s=60, what="the runner's decline")
        told = say(lab, "why", job, "--bus", lab.url)
        assert "version" in told
        assert "kakeya.request/2 was written by a newer program" in told
        told = say(lab, "wait", job, "--bus", lab.url, code=int(ExitCode.REFUSED))
        assert "upgrade kakeya_remote" in told
        assert "upgrade kakeya_remote" in say(lab, "cancel", job, "--bus", lab.url, code=4)
        assert "newer" in say(lab, "status", job, "--bus", lab.url)
        assert "(newer)" in say(lab, "list", "--bus", lab.url)
        check = say(lab, "bus", "check", "--bus", lab.url, "--json")
        assert "newer" in {item["kind"] for item in json.loads(check.splitlines()[0])["findings"]}
        # the runner is none the worse for it, and has not touched it
        assert lab.wait(lab.submit("noop")).state == "done"
        assert lab.bus.load(ref).tip == tip


@pytest.mark.parametrize(("event", "kind"), [(Event.CLAIM, "claim"), (Event.DONE, "result")])
def test_an_older_client_and_runner_leave_a_newer_runners_steps_alone(
    lab: Lab, tmp_path: Path, event: Event, kind: str
) -> None:
    hand = make_hand(tmp_path, "lab-9")
    ref = lab.submit("noop")
    chain = lab.bus.load(ref)
    if event is Event.DONE:
        claim = samples.make_claim(chain, "lab-9")
        made = compose_step(chain, Event.CLAIM, claim, author=hand.identity, when_s=WHEN_S)
        plant(lab, ref, made)
        chain = lab.bus.load(ref)
    plant(lab, ref, step_newer(lab, chain, event, kind, hand.identity))
    seen = lab.bus.load(ref)
    assert (seen.state, seen.ended, seen.held) == (chain.state, False, False)
    assert f"kakeya.{kind}/2" in seen.newer
    assert seen.fault is None
    told = say(lab, "wait", seen.job.id, "--bus", lab.url, code=int(ExitCode.REFUSED))
    assert f"kakeya.{kind}/2 was written by a newer program" in told
    with lab.runner():
        assert lab.wait(lab.submit("noop")).state == "done"
    assert lab.bus.load(ref).tip == seen.tip


def test_a_newer_step_that_nobody_signed_stops_no_job(lab: Lab) -> None:
    ref = lab.submit("noop")
    chain = lab.bus.load(ref)
    plant(lab, ref, step_newer(lab, chain, Event.CLAIM, "claim", runner_identity("lab-9")))
    seen = lab.bus.load(ref)
    assert (seen.state, seen.newer) == (State.QUEUED, "")
    assert "newer program" in (seen.fault or "")
    with lab.runner():
        assert lab.wait(ref).state == "done"


@pytest.mark.parametrize(
    "words",
    [("status",), ("list",), ("run", "noop"), ("bus", "check"), ("runner", "once")],
    ids=" ".join,
)
def test_a_newer_bus_is_named_by_every_command(
    lab: Lab, words: tuple[str, ...], tmp_path: Path
) -> None:
    raw = RawGit(Path(lab.url))
    identity = newer(wire.to_bytes(lab.bus.identity()), "bus")
    raw.point(lab.bus.refs.ledger, raw.commit({"bus.json": identity}, message="a bus begins"))
    where = ("--config", str(lab.settings("lab-1"))) if words[0] == "runner" else ("--bus", lab.url)
    done = proc.run(
        [sys.executable, "-m", "bridge.cli.main", *words, *where],
        cwd=lab.checkout,
        env={**server_env(lab.folder), "PYTHONPATH": str(lab.checkout)},
        timeout_s=240,
    )
    said = done.stdout.decode() + done.stderr.decode()
    assert done.code == (1 if words == ("bus", "check") else 4), said
    assert "kakeya.bus/2 was written by a newer program" in said
    assert "upgrade kakeya_remote" in said


def test_a_newer_heartbeat_is_told_apart(lab: Lab) -> None:
    raw = RawGit(Path(lab.url))
    with lab.runner():
        pass
    ref = lab.bus.refs.heartbeat("lab-1")
    beat = newer(wire.to_bytes(lab.bus.load_heartbeat(ref)), "heartbeat")
    raw.point(ref, raw.commit({"heartbeat.json": beat}, message="kakeya: heartbeat"))
    with pytest.raises(VersionSkewError):
        lab.bus.load_heartbeat(ref)
    assert "unreadable" in say(lab, "status", "--bus", lab.url)
    ref = lab.submit("noop")
    told = say(lab, "why", lab.bus.load(ref).job.id, "--bus", lab.url)
    assert "compare versions" in told
