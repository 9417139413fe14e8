"""Ten thousand ended jobs in the ledger of a bus, without running them."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.scene import Scene
from bridge import proc
from bridge.bus.commits import requester_identity
from bridge.bus.entry import ENTRY, FILES, kept_files, make_entry
from bridge.bus.refs import JobRef
from bridge.bus.spine import entry_path, graft
from bridge.canonical import make_ulid
from bridge.git import Git
from bridge.git.pktline.pack import build_pack
from bridge.objects import GitObject, build_files, parse_commit, seal_tree
from bridge.wire import to_bytes
from tests.rawgit import RawGit

_APART_MS = 250_000  # ten thousand jobs lie a month apart


def fill_ledger(scene: Scene, jobs: int) -> None:
    """Enter so many jobs, like one that really ended, straight into the server's repository.

    Args:
        scene: a bus with a runner.
        jobs: how many.
    """
    request = scene.make_request()
    scene.run_job(request)
    chain = scene.bus.load(scene.ref_of(request))
    raw, ledger = RawGit(scene.remote.path), scene.bus.refs.ledger
    old = raw.run("rev-parse", ledger).strip()
    leaves: dict[tuple[str, ...], tuple[str, str]] = {}
    objects: dict[str, GitObject] = {}
    entry = make_entry(chain, scene.bus.refs.archive("2026-01-02"))
    files = {f"{FILES}/{path}": oid for path, oid in kept_files(chain).items()}
    for number in range(jobs):
        job_id = make_ulid(1_700_000_000_000 + number * _APART_MS, number.to_bytes(10, "big"))
        ref = scene.bus.refs.job(JobRef(chain.job.label, chain.job.priority, job_id))
        tree, inner = build_files({ENTRY: to_bytes(replace(entry, id=job_id, ref=ref))}, files)
        objects.update({item.oid: item for item in inner})
        leaves[entry_path(job_id)] = ("40000", tree)
    server = Git(scene.remote.path)
    root, trees = graft(
        parse_commit(server.read(old)[1])[0], leaves, lambda oid: server.read(oid)[1]
    )
    server.close()
    author = requester_identity("bench")
    commit = seal_tree(root, parents=[old], message="many jobs", author=author, when_s=0)
    objects.update({item.oid: item for item in (*trees, commit)})
    done = proc.run(
        ["git", "index-pack", "--stdin"],
        cwd=scene.remote.path,
        env=proc.base_env(),
        timeout_s=300,
        input=build_pack(list(objects.values())),
    )
    assert done.code == 0, done.stderr
    raw.run("update-ref", ledger, commit.oid, old)
