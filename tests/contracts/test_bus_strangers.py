"""What somebody with push rights and no manners leaves on a bus: it is named, and stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bridge import wire
from bridge.bus.chain import Chain
from bridge.bus.endings import Signer, compose_end
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome, Update
from bridge.errors import IntegrityError, UsageError
from bridge.objects import Identity
from bridge.states import Event, State
from tests import samples
from tests.actors import WHEN_S, Actor, open_bus
from tests.rawgit import RawGit
from tests.servers.transport import Transport


@dataclass
class Scene:
    """A bus with an honest actor on it, and raw git in its repository."""

    actor: Actor
    raw: RawGit
    other: Actor

    def job_ref(self) -> str:
        return self.actor.bus.refs.job(JobRef("any", 5, samples.make_id()))

    def plant(self, oid: str) -> str:
        ref = self.job_ref()
        self.raw.point(ref, oid)
        return ref


@pytest.fixture(scope="module")
def scene(
    serve: Callable[[str], Transport], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """One bus for all these tests: what each leaves there must not disturb the next."""
    remote, folder = serve("file").create(), tmp_path_factory.mktemp("caches")
    here = Actor(open_bus(remote.url, folder / "here"), "here")
    there = Actor(open_bus(remote.url, folder / "there", init=False), "there")
    yield Scene(here, RawGit(remote.path), there)
    for actor in (here, there):
        actor.bus.close()


# -- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "job/any/readme",
        "job/any/5{id}x",
        "job/any/{id}",
        "job/5{id}",
        "job/any/5{id}/more",
        "job/ANY/5{id}",
        "job/-any/5{id}",
        "job/any/x/5{id}",
        "job/größe/5{id}",
        "job/any/5{lower}",
        "job/" + "a" * 65 + "/5{id}",
    ],
)
def test_a_foreign_name_is_listed_and_left_alone(scene: Scene, name: str) -> None:
    honest = scene.actor.submit()
    job_id = samples.make_id()
    ref = f"{scene.actor.bus.refs.root}/{name.format(id=job_id, lower=job_id.lower())}"
    scene.raw.point(ref, scene.raw.tip(honest))
    snapshot = scene.actor.bus.poll()
    assert ref in snapshot.foreign
    assert ref not in snapshot.jobs
    assert honest in snapshot.jobs
    assert scene.actor.bus.find(job_id) is None
    with pytest.raises(UsageError, match="no job of this bus"):
        scene.actor.bus.load(ref)


# -- commits that are no request -----------------------------------------------------------


def _file(raw: RawGit, data: bytes = b"{}") -> tuple[str, str]:
    return ("100644", raw.store("blob", data))


def _twice(raw: RawGit) -> str:
    entry = b"100644 request.json\0" + bytes.fromhex(_file(raw)[1])
    return raw.store("tree", entry * 2)


def _deep(raw: RawGit) -> str:
    tree = raw.tree({"request.json": _file(raw)})
    for _ in range(10):
        tree = raw.tree({"d": ("40000", tree)})
    return tree


def _wide(raw: RawGit) -> str:
    _, oid = _file(raw)
    return raw.tree({f"f{number:05}": ("100644", oid) for number in range(5_001)})


LFS_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"
)
TREES: dict[str, tuple[Callable[[RawGit], str], str]] = {
    "empty": (lambda raw: raw.tree({}), "holds no request.json"),
    "symlink": (
        lambda raw: raw.tree({"request.json": ("120000", _file(raw, b"/etc/passwd")[1])}),
        "'request.json' has mode 120000",
    ),
    "submodule": (
        lambda raw: raw.tree({"request.json": ("160000", "1" * 40)}),
        "'request.json' has mode 160000",
    ),
    "executable": (
        lambda raw: raw.tree({"request.json": ("100755", _file(raw)[1])}),
        "has mode 100755",
    ),
    "odd mode": (lambda raw: raw.tree({"a": ("100777", _file(raw)[1])}), "has mode 100777"),
    "padded mode": (
        lambda raw: raw.tree({"a": ("040000", raw.tree({"b": _file(raw)}))}),
        "has mode 040000",
    ),
    "folder": (
        lambda raw: raw.tree({"request.json": ("40000", raw.tree({"a": _file(raw)}))}),
        "holds no request.json",
    ),
    "named twice": (_twice, "names 'request.json' twice"),
    ".git": (
        lambda raw: raw.tree({".git": ("40000", raw.tree({"config": _file(raw)}))}),
        "'.git' cannot be the name",
    ),
    ".GIT": (lambda raw: raw.tree({".GIT": _file(raw)}), "'.GIT' cannot be the name"),
    "git~1": (lambda raw: raw.tree({"git~1": _file(raw)}), "'git~1' cannot be the name"),
    "parent": (lambda raw: raw.tree({"..": _file(raw)}), "'..' cannot be the name"),
    "path": (lambda raw: raw.tree({"../../x": _file(raw)}), "'../../x' cannot be the name"),
    "newline": (lambda raw: raw.tree({"a\nb": _file(raw)}), "cannot be the name"),
    "bidi": (lambda raw: raw.tree({"a\u202eb": _file(raw)}), "cannot be the name"),
    "deep": (_deep, "nested deeper than 8"),
    "wide": (_wide, "more than 5000 files"),
    "names that differ in case alone": (
        lambda raw: raw.tree({"REQUEST.json": _file(raw), "request.json": _file(raw, b"[]")}),
        "$.schema",
    ),
    "LFS pointer": (
        lambda raw: raw.tree({"request.json": _file(raw, LFS_POINTER)}),
        "not JSON",
    ),
    "no JSON": (lambda raw: raw.tree({"request.json": _file(raw, b"{")}), "not JSON"),
    "no object": (lambda raw: raw.tree({"request.json": _file(raw, b"[]")}), "$.schema"),
    "large": (
        lambda raw: raw.tree({"request.json": _file(raw, b" " * 65_537)}),
        "at most 65536",
    ),
    "huge": (
        lambda raw: raw.tree({"request.json": _file(raw, b" " * 400_000)}),
        "is not here",
    ),
}


@pytest.mark.parametrize("kind", TREES)
def test_a_commit_that_is_no_request_can_be_rejected_for_good(scene: Scene, kind: str) -> None:
    make_tree, problem = TREES[kind]
    ref = scene.plant(scene.raw.commit(make_tree(scene.raw), message="run this please"))
    assert ref in scene.actor.bus.poll().jobs
    chain = scene.actor.bus.load(ref)
    assert (chain.state, chain.request, chain.fault) == (State.QUEUED, None, None)
    assert problem in "\n".join(chain.problems)
    _reject(scene, chain)


def _reject(scene: Scene, chain: Chain) -> None:
    """Write the one terminal record, and see that it stands for everybody."""
    signer = Signer("here", Identity("here", "here@example.invalid"), samples.make_nonce(), WHEN_S)
    commit = compose_end(chain, Event.REJECTED, "malformed", signer, chain.problems)
    update = Update(chain.ref, chain.tip, commit)
    assert scene.actor.bus.swap([update]) == (Outcome.WON,)
    seen = scene.other.bus.load(chain.ref)
    assert (seen.state, seen.fault) == (State.REJECTED, None)
    assert seen.result is not None
    assert seen.result.request_commit == chain.request_oid


def test_a_branch_of_somebody_can_be_rejected_for_good(scene: Scene) -> None:
    raw, parent = scene.raw, ()
    for number in range(4):
        message = f"work {number}"
        parent = (raw.commit({"a.py": b"%d" % number}, message=message, parents=parent),)
    chain = scene.actor.bus.load(scene.plant(parent[0]))
    assert (chain.state, chain.request) == (State.QUEUED, None)
    assert chain.fault is not None
    assert "foreign commit" in chain.fault
    _reject(scene, chain)


@pytest.mark.parametrize("subject", ["kakeya: claim, attempt 1", "kakeya: done", ""])
def test_a_chain_that_begins_in_the_middle_is_a_request(scene: Scene, subject: str) -> None:
    chain = scene.actor.bus.load(scene.plant(scene.raw.commit({}, message=subject)))
    assert (chain.state, chain.request) == (State.QUEUED, None)
    _reject(scene, chain)


def test_a_request_pushed_by_hand_is_a_request(scene: Scene) -> None:
    request = samples.make_request(scene.actor.bus.identity().id)
    files = {"request.json": wire.to_bytes(request)}
    ref = scene.actor.bus.refs.job(JobRef("any", 5, request.id))
    scene.raw.point(ref, scene.raw.commit(files, message="please"))
    chain = scene.actor.advance(ref, Event.CLAIM, Event.DONE)
    assert (chain.state, chain.request, chain.fault) == (State.DONE, request, None)


def test_a_request_on_top_of_a_branch_begins_there(scene: Scene) -> None:
    raw = scene.raw
    branch = raw.commit({"a.py": b"1", "b.py": b"2"}, message="work")
    request = samples.make_request(scene.actor.bus.identity().id)
    files = {**raw.files(branch), "request.json": wire.to_bytes(request)}
    ref = scene.actor.bus.refs.job(JobRef("any", 5, request.id))
    commit = raw.commit(files, message="kakeya: request noop, by alice", parents=[branch])
    raw.point(ref, commit)
    chain = scene.actor.advance(ref, Event.CLAIM)
    assert (chain.state, chain.fault, chain.request_oid) == (State.CLAIMED, None, commit)


@pytest.mark.parametrize("field", ["id", "bus", "label", "priority"])
def test_a_request_for_another_ref_or_bus_is_refused(scene: Scene, field: str) -> None:
    other: dict[str, object] = {
        "id": samples.make_id(),
        "bus": samples.make_id(),
        "label": "gpu",
        "priority": 9,
    }
    request = samples.make_request(scene.actor.bus.identity().id)
    ref = scene.actor.bus.refs.job(JobRef(request.label, request.priority, request.id))
    moved = replace(request, **{field: other[field]})
    scene.raw.point(ref, scene.raw.commit({"request.json": wire.to_bytes(moved)}, message="m"))
    chain = scene.actor.bus.load(ref)
    assert chain.request is None
    assert [line.split(":")[0] for line in chain.problems] == [f"$.{field}"]


def test_a_newer_request_is_told_apart_from_a_bad_one(scene: Scene) -> None:
    request = samples.make_request(scene.actor.bus.identity().id)
    data = wire.to_bytes(request).replace(b"kakeya.request/1", b"kakeya.request/2")
    ref = scene.actor.bus.refs.job(JobRef("any", 5, request.id))
    scene.raw.point(ref, scene.raw.commit({"request.json": data}, message="m"))
    chain = scene.actor.bus.load(ref)
    assert (chain.state, chain.request, chain.problems) == (State.QUEUED, None, ())
    assert "newer program" in chain.newer


# -- objects that git itself would not write ----------------------------------------------------


@pytest.mark.parametrize(
    "subject",
    [
        "kakeya: \u2028 and \u2029",
        "kakeya: \x0b\x0c\x1c\x1d\x1e\x85",
        "kakeya: \x1b[2J\x1b]0;owned\x07",
        "kakeya: \u202egnp.exe",
        "k" * 20_000,
    ],
)
def test_no_subject_stops_the_poll(scene: Scene, subject: str) -> None:
    honest = scene.actor.submit()
    ref = scene.plant(scene.raw.commit({}, message=subject))
    jobs = scene.actor.bus.poll().jobs
    assert honest in jobs
    shown = jobs[ref][1].subject
    assert shown.isprintable()
    assert len(shown) < 400


def test_no_malformed_commit_stops_the_poll(scene: Scene) -> None:
    honest = scene.actor.submit()
    tree = scene.raw.tree({})
    data = f"tree {tree}\nauthor nobody\ncommitter\n\nhi\xff\n".encode("latin-1")
    ref = scene.plant(scene.raw.store("commit", data))
    assert {honest, ref} <= set(scene.actor.bus.poll().jobs)
    chain = scene.actor.bus.load(ref)
    assert chain.problems == ("the commit holds no request.json",)
    assert scene.actor.bus.load(honest).state is State.QUEUED
    _reject(scene, chain)


@pytest.mark.parametrize("kind", ["blob", "tree", "tag"])
def test_a_ref_that_points_at_no_commit_is_named(
    serve: Callable[[str], Transport], tmp_path: Path, kind: str
) -> None:
    remote = serve("file").create()
    raw, actor = RawGit(remote.path), Actor(open_bus(remote.url, tmp_path, root="refs/kakeya"))
    honest = actor.submit()
    rest = f"object {raw.tip(honest)}\ntype commit\ntag x\ntagger a <b> 1 +0000\n\nkakeya: done\n"
    oid = raw.store(kind, rest.encode() if kind == "tag" else b"")
    ref = actor.bus.refs.job(JobRef("any", 5, samples.make_id()))
    raw.point(ref, oid)
    snapshot = actor.bus.poll()
    assert snapshot.jobs[ref][1].oid == oid
    assert honest in snapshot.jobs
    with pytest.raises(IntegrityError, match=f"is a {kind}, expected a commit"):
        actor.bus.load(ref)
    actor.bus.close()


# -- forged steps --------------------------------------------------------------------------


def _forge(
    scene: Scene,
    chain: Chain,
    subject: str,
    changes: dict[str, bytes | None],
    parents: tuple[str, ...] = (),
) -> str:
    """A commit on the tip with the files of the job, some changed, some dropped (None)."""
    files = {path: scene.actor.bus.read(oid) for path, oid in chain.files.items()}
    kept = {path: data for path, data in {**files, **changes}.items() if data is not None}
    oid = scene.raw.commit(kept, message=subject, parents=(chain.tip, *parents))
    scene.raw.point(chain.ref, oid)
    return oid


def _json(record: object) -> bytes:
    return wire.to_bytes(record)


FORGERIES: dict[str, tuple[Callable[[Chain], tuple[str, dict[str, bytes | None]]], str]] = {
    "a foreign subject": (lambda _: ("Merge branch 'main'", {}), "foreign commit"),
    "a new request": (
        lambda chain: ("kakeya: request noop, by mallory", {"request.json": b"{}"}),
        "no request may follow the state claimed",
    ),
    "a second claim": (
        lambda chain: (
            "kakeya: claim, attempt 1",
            {"claim.json": _json(samples.make_claim(chain, "mallory"))},
        ),
        "no claim may follow the state claimed",
    ),
    "an expiry": (
        lambda chain: (
            "kakeya: expired",
            {"result.json": _json(samples.make_result(chain, Event.EXPIRED))},
        ),
        "no expired may follow the state claimed",
    ),
    "a rewritten request": (
        lambda chain: (
            "kakeya: log, attempt 1, part 1",
            {"log.json": _json(samples.make_log(chain)), "request.json": b"{}"},
        ),
        "rewrites or drops request.json",
    ),
    "a dropped request": (
        lambda chain: (
            "kakeya: log, attempt 1, part 1",
            {"log.json": _json(samples.make_log(chain)), "request.json": None},
        ),
        "rewrites or drops request.json",
    ),
    "a log without its record": (lambda _: ("kakeya: log", {}), "without log.json"),
    "a record that is no JSON": (
        lambda _: ("kakeya: log", {"log.json": b"\xff"}),
        "not JSON",
    ),
    "a record of another kind": (
        lambda chain: ("kakeya: log", {"log.json": _json(samples.make_requeue(chain))}),
        "$.schema",
    ),
    "a record of a newer protocol": (
        lambda chain: (
            "kakeya: log",
            {"log.json": _json(samples.make_log(chain)).replace(b"log/1", b"log/2")},
        ),
        "newer program",
    ),
    "a log of another request": (
        lambda chain: (
            "kakeya: log",
            {"log.json": _json(samples.make_log(chain, request=samples.SOME_DIGEST))},
        ),
        "bound to another request",
    ),
    "a log of another claim": (
        lambda chain: (
            "kakeya: log",
            {"log.json": _json(samples.make_log(chain, claim=samples.NOBODY))},
        ),
        "answers the claim 000000000000, which is not in force",
    ),
    "a log of another attempt": (
        lambda chain: ("kakeya: log", {"log.json": _json(samples.make_log(chain, attempt=2))}),
        "attempt 2, expected 1",
    ),
    "a result of another request": (
        lambda chain: (
            "kakeya: done",
            {"result.json": _json(samples.make_result(chain, request=samples.SOME_DIGEST))},
        ),
        "bound to another request",
    ),
    "a result of another request's commit": (
        lambda chain: (
            "kakeya: done",
            {"result.json": _json(samples.make_result(chain, request_commit=samples.NOBODY))},
        ),
        "bound to another request",
    ),
    "a result of no claim": (
        lambda chain: (
            "kakeya: done",
            {"result.json": _json(samples.make_result(chain, claim=None))},
        ),
        "answers a claim that is not in force",
    ),
    "a result that its subject belies": (
        lambda chain: (
            "kakeya: done",
            {"result.json": _json(samples.make_result(chain, Event.FAILED))},
        ),
        "the subject says done, the record failed",
    ),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_step_changes_nothing_and_is_written_over(scene: Scene, kind: str) -> None:
    forge, why = FORGERIES[kind]
    before = scene.actor.advance(scene.actor.submit(), Event.CLAIM)
    subject, changes = forge(before)
    forged = _forge(scene, before, subject, changes)
    seen = scene.other.bus.load(before.ref)
    assert seen.fault is not None
    assert seen.fault.startswith(forged[:12])
    assert why in seen.fault
    assert seen.faults == (seen.fault,)
    unmoved = replace(seen, tip=before.tip, fault=None, fault_kind=None, faults=())
    assert unmoved == before
    ended = scene.actor.advance(before.ref, Event.DONE)
    assert (ended.state, ended.fault) == (State.DONE, None)
    assert [link.event for link in ended.links] == [Event.REQUEST, Event.CLAIM, Event.DONE]


def test_a_forged_tree_or_merge_changes_nothing(scene: Scene) -> None:
    before = scene.actor.advance(scene.actor.submit(), Event.CLAIM)
    log = {"log.json": _json(samples.make_log(before))}
    stray = scene.raw.commit({}, message="stray")
    _forge(scene, before, "kakeya: log, attempt 1", log, parents=(stray,))
    seen = scene.other.bus.load(before.ref)
    assert seen.fault is not None
    assert "not the child of the commit before it" in seen.fault
    link = scene.raw.tree({"log.json": ("120000", scene.raw.store("blob", b"/dev/zero"))})
    scene.raw.point(before.ref, scene.raw.commit(link, message="kakeya: log", parents=[before.tip]))
    seen = scene.other.bus.load(before.ref)
    assert seen.fault is not None
    assert "has mode 120000" in seen.fault
    assert scene.actor.advance(before.ref, Event.DONE).state is State.DONE


def test_logs_do_not_run_backwards(scene: Scene) -> None:
    before = scene.actor.advance(scene.actor.submit(), Event.CLAIM, Event.LOG, Event.LOG)
    again = samples.make_log(before, sequence=2)
    _forge(scene, before, "kakeya: log, attempt 1, part 2", {"log.json": _json(again)})
    seen = scene.other.bus.load(before.ref)
    assert seen.fault is not None
    assert "log 2 comes after log 2" in seen.fault


@pytest.mark.parametrize(
    "event", [Event.REQUEST, Event.CLAIM, Event.LOG, Event.REQUEUE, Event.FAILED]
)
def test_nothing_follows_the_end(scene: Scene, event: Event) -> None:
    before = scene.actor.advance(scene.actor.submit(), Event.CLAIM, Event.DONE)
    _forge(scene, before, f"kakeya: {event}, attempt 1", {})
    seen = scene.other.bus.load(before.ref)
    assert (seen.state, seen.result) == (State.DONE, before.result)
    assert seen.fault is not None
    assert f"no {event} may follow the state done" in seen.fault
