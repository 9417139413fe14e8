"""Which refs of artifacts and checkpoints go, which stay, and what `bus check` says of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.bus.chain import Chain
from bridge.bus.refs import JobRef
from bridge.canonical import digest_bytes
from bridge.client.api import Client
from bridge.client.check import Finding
from bridge.records import ArtifactRef, Source
from bridge.states import Event
from tests import samples
from tests.actors import WHEN_S, Actor, open_bus
from tests.contracts.test_art_store import make_store, put
from tests.integration.client_rig import Listener, TurnedClock, make_project, open_client
from tests.lab import make_bare
from tests.rawgit import RawGit

_DAY_S = 86_400


class Scene:
    """A bus with a runner's moves, a client, and artifacts of any job."""

    def __init__(self, folder: Path) -> None:
        self.raw = make_bare(folder / "bus.git")
        self.url, self.folder = str(folder / "bus.git"), folder
        self.runner = Actor(open_bus(self.url, folder / "runner"))
        project = make_project(folder / "project")
        self.clock = TurnedClock()
        self.client: Client = open_client(
            self.url, project, folder / "client", self.clock.clock, Listener()
        )
        self.store = make_store(self.url, folder / "store")

    def put(self, chain: Chain, data: bytes, kind: str = "artifact") -> str:
        """An art ref of a job; its name."""
        detail = "attempt 1, step 3" if kind == "checkpoint" else ""
        return put(self.store, self.folder, data, kind=kind, job=chain.job.id, detail=detail).ref

    def arts(self) -> set[str]:
        names = self.raw.run("for-each-ref", "--format=%(refname)", "refs/heads/kakeya/art/")
        return set(names.split())

    def findings(self) -> list[Finding]:
        return [item for item in self.client.check().findings if item.kind == "artifact"]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.client.close()
    made.runner.bus.close()


def _job(scene: Scene, *events: Event) -> Chain:
    return scene.runner.advance(scene.runner.submit(), *events)


def _ref_named(data: bytes) -> str:
    return f"refs/heads/kakeya/art/{digest_bytes(data)[7:]}"


def test_checkpoints_go_with_the_end_of_their_job(scene: Scene) -> None:
    running = scene.put(_job(scene, Event.CLAIM), b"running", "checkpoint")
    queued = scene.put(_job(scene, Event.CLAIM, Event.REQUEUE), b"queued", "checkpoint")
    over = _job(scene, Event.CLAIM, Event.DONE)
    ended = scene.put(over, b"ended", "checkpoint")
    stays = scene.put(over, b"an artifact of it")
    assert scene.runner.bus.sweep(None) == (ended,)
    assert scene.arts() == {running, queued, stays}
    scene.put(over, b"ended again", "checkpoint")
    folded = scene.client.fold()
    assert folded.swept == (_ref_named(b"ended again"),)
    assert scene.arts() == {running, queued, stays}


def test_a_subject_that_lies_takes_no_checkpoint_away(scene: Scene) -> None:
    chain = _job(scene, Event.CLAIM)
    kept = scene.put(chain, b"running", "checkpoint")
    forged = scene.raw.commit({}, message="kakeya: done, attempt 1", parents=[chain.tip])
    scene.raw.point(chain.ref, forged)
    assert scene.runner.bus.sweep(None) == ()
    assert scene.arts() == {kept}


def test_artifacts_expire_once_folded_and_named_by_nobody(scene: Scene) -> None:
    over = _job(scene, Event.CLAIM, Event.DONE)
    for data in (b"old", b"asked for", b"left again"):
        scene.put(over, data)
    live = scene.put(_job(scene, Event.CLAIM, Event.DONE), b"of a live job")
    late = WHEN_S + 40 * _DAY_S
    keep = scene.client.fold(artifacts_days=30)  # the clock stands where they were pushed
    assert over.job.id in keep.ids
    assert len(scene.arts()) == 4
    wanted = Source(digest_bytes(b"asked for"), over.job.id, "x")
    scene.runner.submit(sources=(wanted,))
    again = _job(scene, Event.CLAIM)
    item = ArtifactRef("x", digest_bytes(b"left again"), 10)
    record = samples.make_result(again, by="mac-m4", artifacts=(item,))
    scene.runner.step(again, Event.DONE, record)
    scene.put(_job(scene, Event.CLAIM, Event.DONE), b"of a job that is not folded")
    swept = scene.runner.bus.sweep(late)
    assert set(swept) == {_ref_named(b"old"), live}
    assert scene.arts() == {
        _ref_named(b"asked for"),
        _ref_named(b"left again"),
        _ref_named(b"of a job that is not folded"),
    }


def test_the_check_names_what_is_wrong_with_an_art_ref(scene: Scene) -> None:
    over = _job(scene, Event.CLAIM, Event.DONE)
    scene.put(over, b"as it should be")
    assert scene.findings() == []
    wrong = scene.put(over, b"right at first")
    scene.raw.point(wrong, scene.raw.commit({"x": b"y"}, message="rubbish"))
    gone = Chain("", JobRef("any", 5, samples.make_id()), "")
    orphan = scene.put(gone, b"of no job")
    found = {item.ref: item for item in scene.findings()}
    assert found.keys() == {wrong, orphan}
    assert (found[wrong].level, found[orphan].level) == ("fault", "warning")
    assert "no artifact lies there" in found[wrong].text
    assert gone.job.id in found[orphan].text
    assert wrong in found[wrong].remedy
    assert RawGit(scene.raw.path).tip(wrong)  # nothing is changed by a check


def test_the_check_reads_the_content(scene: Scene) -> None:
    good = scene.put(_job(scene, Event.CLAIM, Event.DONE), b"good")
    tree = scene.raw.run("rev-parse", f"{good}^{{tree}}")
    other = _ref_named(b"another")
    lie = scene.raw.commit(tree, message="kakeya: artifact of nobody")
    scene.raw.point(other, lie)
    (finding,) = scene.findings()
    assert (finding.ref, finding.level) == (other, "fault")
    assert "speaks of" in finding.text
