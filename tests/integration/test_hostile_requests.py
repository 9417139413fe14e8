"""Hostile manifests pushed by raw git past every client, at a live runner."""

from __future__ import annotations

from pathlib import Path

from bridge.canonical import make_ulid
from tests import hostile
from tests.lab import Lab
from tests.rawgit import RawGit

BOUND_S = 240


def test_every_hostile_manifest_is_rejected_and_the_runner_lives_on(lab: Lab) -> None:
    raw = RawGit(Path(lab.url))
    preset = lab.catalog.get("noop")
    valid = hostile.make_valid(
        preset,
        bus=lab.bus.identity().id,
        code=lab.commit,
        resources={"cpus": 1, "memory_mb": 128, "gpus": 0, "gpu_memory_mb": 0},
    )
    corpus = hostile.make_corpus(valid)
    assert len(corpus) >= 40
    refs = {}
    for number, manifest in enumerate(corpus):
        job_id = manifest.id or make_ulid(1_760_000_000_000 + number, bytes(10))
        ref = f"refs/heads/kakeya/job/any/5{job_id}"
        commit = raw.commit({"request.json": manifest.data}, message="kakeya: request noop, by m")
        raw.point(ref, commit)
        refs[manifest.name] = ref
    with lab.runner() as runner:
        for name, ref in refs.items():
            chain = lab.wait(ref, bound_s=BOUND_S)
            assert chain.state == "rejected", (name, chain.state, lab.words()[-2000:])
            assert chain.result is not None
            assert chain.result.problems, name
            assert [link.event.value for link in chain.links] == ["request", "rejected"], name
        # it lives, and still does honest work
        assert lab.wait(lab.submit("noop")).state == "done"
        assert runner.poll() is None
    jobs = lab.folder / "lab-1" / "state" / "jobs"
    assert len(list(jobs.iterdir())) == 1, "something of the hostile requests was run"
