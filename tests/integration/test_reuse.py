"""Reuse: finished evidence answers the same work, and nothing else."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bridge import canonical
from bridge.bus.chain import Chain
from bridge.git import Git
from bridge.records import PresetRef, Request, Resources
from bridge.runner.config import RunnerConfig, parse_config
from bridge.runner.trust import open_trust
from bridge.runner.work import Work, describe_work, seal_work
from bridge.states import State
from evidence.verify import verify
from presets.binding import bind
from presets.catalog import Catalog, parse_catalog
from tests import samples
from tests.lab import Lab, commit_all, git_in, make_checkout, open_lab


def record_of(lab: Lab, chain: Chain, folder: Path) -> dict[str, Any]:
    """The record of an ended job, found sound."""
    for name in ("evidence.json", "samples.jsonl"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(lab.bus.read(chain.files[name]))
    found = verify(folder)
    assert found.recomputed
    assert not found.differences
    return dict(found.record)


def origin_of(chain: Chain) -> str | None:
    assert chain.result is not None
    assert (chain.state, chain.result.verdict) == (State.DONE, "pass"), chain.result
    return chain.result.reused_from


def test_the_same_work_is_answered_with_the_evidence_of_then(lab: Lab, tmp_path: Path) -> None:
    with lab.runner("lab-1"):
        first = lab.wait(lab.submit("noop", {"seconds": 0.5}, reuse=True))
        second = lab.wait(lab.submit("noop", {"seconds": 0.5}, reuse=True))
        other = lab.wait(lab.submit("noop", {"seconds": 0.25}, reuse=True))
        fresh = lab.wait(lab.submit("noop", {"seconds": 0.5}))
    assert [origin_of(chain) for chain in (first, other, fresh)] == [None, None, None]
    assert origin_of(second) == first.job.id
    then, now = (record_of(lab, c, tmp_path / c.job.id) for c in (first, second))
    assert now["samples"] == then["samples"]
    assert now["metrics"] == then["metrics"]
    assert now["request"]["digest"] == second.request_digest != then["request"]["digest"]
    assert now["request"]["reused_from"] == {
        "job": first.job.id,
        "evidence": first.result.evidence if first.result else None,
    }
    assert now["execution"]["reason"] == "reused"
    assert "evidence.bundle.json" in second.files
    # another runner of the same machine finds it on the bus
    with lab.runner("lab-2"):
        third = lab.wait(lab.submit("noop", {"seconds": 0.5}, reuse=True))
    assert origin_of(third) in {chain.job.id for chain in (first, second, fresh)}


def test_what_has_just_ended_elsewhere_is_reused(lab: Lab) -> None:
    with ExitStack() as stack:
        for name in ("lab-1", "lab-2"):
            stack.enter_context(lab.runner(name, labels=["any", name]))
        wanted = {"seconds": 0.5}
        first = lab.wait(lab.submit("noop", wanted, reuse=True, labels=("any", "lab-1")))
        # the other runner has had no second in which it would have read this by itself
        second = lab.wait(lab.submit("noop", wanted, reuse=True, labels=("any", "lab-2")))
    assert origin_of(first) is None
    assert origin_of(second) == first.job.id


def test_evidence_that_does_not_hold_is_not_reused(lab: Lab) -> None:
    with lab.runner("lab-1"):
        first = lab.wait(lab.submit("noop", reuse=True))
        assert origin_of(first) is None
        (place,) = (lab.folder / "lab-1" / "state" / "reuse").iterdir()
        kept = (place / "samples.jsonl").read_bytes()
        row = json.loads(kept)
        (place / "samples.jsonl").write_bytes(
            canonical.encode({**row, "score": row["score"] + 1}) + b"\n"
        )
        second = lab.wait(lab.submit("noop", reuse=True))
        assert origin_of(second) is None
        assert "not reused" in lab.words("lab-1")
        # what ran instead is kept in its place
        assert origin_of(lab.wait(lab.submit("noop", reuse=True))) == second.job.id


def test_the_gates_are_judged_again(lab: Lab, tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "trusted")
    before = open_lab(checkout, lab.url, tmp_path / "before")
    with before.runner("lab-1"):
        first = before.wait(before.submit("noop", reuse=True))
        assert origin_of(first) is None
    preset = checkout / "presets" / "noop.yaml"
    preset.write_text(preset.read_text().replace('"==", "1"', '"==", "2"'))
    commit_all(checkout, "a stricter gate")
    after = open_lab(checkout, lab.url, tmp_path / "before")
    with after.runner("lab-1"):
        chain = after.wait(after.submit("noop", reuse=True))
    assert chain.result is not None
    assert (chain.result.reused_from, chain.result.verdict) == (first.job.id, "fail")
    for one in (before, after):
        one.bus.close()


# -- what makes it other work ----------------------------------------------------------------------

PRESET = """
name: small
description: reads a file
argv: ["{python}", -m, workloads, small, --job, "{job}"]
config: {count: "{count}"}
inputs: {text: "${ENV:SMALL_TEXT}"}
params: {count: {kind: int, min: 0, max: 9, default: 1, doc: how many}}
labels: [any]
resources: {cpus: 1, memory_mb: 128}
limits: {wall_s: 10, memory_mb: 512, output_mb: 4, disk_mb: 64}
executors: [local, ssh]
"""


class Desk:
    """A trusted checkout, a preset and a runner's settings, each to be changed."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        for name in ("small/__init__.py", "shared/job.py", "other/__init__.py", "__main__.py"):
            path = self.checkout / "workloads" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x = 1\n")
        (self.checkout / "docs.md").write_text("words\n")
        git_in(self.checkout, "init", "--quiet")
        self.commit = commit_all(self.checkout, "begin")
        self.text = folder / "text.txt"
        self.text.write_text("hello")
        self.packages = folder / "packages"
        self.packages.mkdir()
        self.source = make_checkout(folder / "trusted")
        document = {
            "name": "r",
            "bus": "b.git",
            "trusted": {"checkout": str(self.source)},
            "env": {"SMALL_TEXT": str(self.text), "PYTHONPATH": str(self.packages)},
            "state_dir": str(folder / "state"),
            "cache_dir": str(folder / "cache"),
        }
        self.config: RunnerConfig = parse_config(document, where="test", base=folder)
        self.trust = open_trust(self.source, None, folder / "state", allow_edits=True)
        self.catalog: Catalog = parse_catalog({"small.yaml": PRESET.encode()})

    def work(self, source: str = PRESET, **changes: Any) -> Work | None:
        preset = parse_catalog({"small.yaml": source.encode()}).get("small")
        values: dict[str, Any] = {
            "preset": PresetRef(preset.name, preset.digest),
            "params": bind(preset, {}),
            "code": self.commit,
            "resources": Resources(1, 128),
            **changes,
        }
        request: Request = samples.make_request(samples.make_id(), **values)
        return describe_work(
            request, preset, self.config, self.trust, lambda _: Git(self.checkout), lambda _: None
        )

    def edit(self, name: str) -> None:
        path = self.checkout / name
        path.write_text(path.read_text() + "# changed\n")
        self.commit = commit_all(self.checkout, f"edit {name}")

    def install(self, name: str) -> None:
        folder = self.packages / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


def test_what_is_other_work_and_what_is_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    seen = [desk.work()]
    assert seen[0] is not None

    def is_other(found: Work | None) -> bool:
        assert found is not None
        fresh = found not in seen
        seen.append(found)
        return fresh

    assert not is_other(desk.work())  # another id, nonce and time
    assert not is_other(desk.work(priority=0, requested_by="bob"))
    desk.edit("docs.md")
    desk.edit("workloads/other/__init__.py")
    assert not is_other(desk.work())  # code that this workload cannot import
    gates = (
        PRESET + "metrics: [{name: m, reducer: mean}]\ngates: [{id: g, rule: {cover: {x: 1}}}]\n"
    )
    assert not is_other(desk.work(gates))  # gates are judged again
    for name in ("workloads/small/__init__.py", "workloads/shared/job.py", "workloads/__main__.py"):
        desk.edit(name)
        assert is_other(desk.work()), name
    assert is_other(desk.work(params={"count": 2}))
    desk.text.write_text("another")
    assert is_other(desk.work())
    desk.install("something")
    assert is_other(desk.work())
    assert is_other(desk.work(PRESET.replace("wall_s: 10", "wall_s: 20")))
    assert is_other(desk.work(PRESET.replace('"{count}"}', '"{count}", more: 1}')))
    assert is_other(desk.work(resources=Resources(2, 128)))


def test_other_hardware_is_other_work(tmp_path: Path) -> None:
    preset = parse_catalog({"small.yaml": PRESET.encode()}).get("small")
    config = parse_config(
        {
            "name": "r",
            "bus": "b",
            "trusted": {"checkout": "."},
            "env": {"SMALL_TEXT": "x"},
        },
        where="test",
        base=tmp_path,
    )
    request = samples.make_request(samples.make_id(), params=bind(preset, {}))
    env = dict.fromkeys(("python", "implementation", "machine", "system", "packages"), "x")

    def seal(fingerprint: str) -> str:
        return seal_work(request, preset, config, {}, {}, env, fingerprint).digest

    assert seal("one") == seal("one") != seal("two")


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        (PRESET + "secrets: [TOKEN]\n", {}),
        (PRESET, {"executor": "ssh"}),
    ],
)
def test_work_that_cannot_be_told_whole_is_not_reused(
    tmp_path: Path, source: str, changes: dict[str, Any]
) -> None:
    desk = Desk(tmp_path)
    assert desk.work(source, **changes) is None


def test_a_program_of_its_own_depends_on_the_whole_commit(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    own = PRESET.replace("workloads, small", "docs, small")
    first = desk.work(own)
    desk.edit("docs.md")
    assert desk.work(own) != first
