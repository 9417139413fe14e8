"""A bus with thousands of finished jobs, composed as objects and packed, not run.

The records have the shape that runners and the judge write; only what they say is made up. Ids,
times and numbers follow from the seed, so that two crowds of one seed are the same.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bridge import canonical, proc, wire
from bridge.bus.entry import ENTRY, FILES
from bridge.bus.refs import JobRef, Refs
from bridge.bus.requester import RequesterBus
from bridge.bus.spine import entry_path, graft
from bridge.git import Git
from bridge.objects import GitObject, Identity, build_files, parse_commit, seal_tree
from bridge.records import (
    ArtifactRef,
    Claim,
    Exit,
    LedgerEntry,
    PresetRef,
    Request,
    Resources,
    Result,
    Step,
)
from evidence.judge import JudgeInput, judge
from tests.evidence_world import write_job
from tests.servers.child import server_env

FIRST_MS = 1_760_000_000_000
DAYS = 150
COMMITS = 80
_HARDWARE = {
    "mac-m4": ("Apple M4", 10, []),
    "mac-m2": ("Apple M2", 8, []),
    "h200-1": ("AMD EPYC 9654", 16, [{"name": "NVIDIA H200", "memory_mb": "143771"}]),
    "box": ("Intel Xeon w5-2455X", 24, []),
}
_PRESETS = ("niah-smoke", "restoration-tiny", "kvquant-tiny", "equilibrium-tiny", "routing-small")
_WHO = ("ana", "ben", "chidi", "dana", "nightly", "a cloud agent")
_ENDS = (("done", 0.9), ("failed", 0.05), ("cancelled", 0.025), ("expired", 0.02), ("lost", 0.005))
_VERDICTS = (("pass", 0.82), ("fail", 0.1), ("inconclusive", 0.08))
HOSTILE = "</script><img src=x onerror=alert(1)>"


@dataclass(frozen=True, slots=True)
class _World:
    """What all jobs of a crowd share."""

    bus_id: str
    refs: Refs
    template: dict[str, Any]
    chance: random.Random
    report: bytes

    def oid(self) -> str:
        return f"{self.chance.getrandbits(160):040x}"


def fill_ledger(bus: RequesterBus, bare: Path, jobs: int, *, seed: int = 7) -> list[str]:
    """Put so many ended jobs into the ledger of the bus in the repository `bare`; their ids.

    The last of them was asked for by somebody whose name is a piece of HTML.
    """
    git = Git(bare)
    try:
        tip = git.tip_of(bus.refs.ledger)
        assert tip is not None
        chance = random.Random(seed)
        world = _World(bus.identity().id, bus.refs, _template(), chance, b"<p>report</p>" * 4000)
        objects: dict[str, GitObject] = {}
        leaves: dict[tuple[str, ...], tuple[str, str]] = {}
        ids = []
        for number in range(jobs):
            job_id, tree, made = _make_entry(world, number, jobs)
            ids.append(job_id)
            leaves[entry_path(job_id)] = ("40000", tree)
            objects.update((item.oid, item) for item in made)
        root, trees = graft(parse_commit(git.read(tip)[1])[0], leaves, lambda oid: git.read(oid)[1])
        objects.update((item.oid, item) for item in trees)
        author = Identity("kakeya runner crowd", "crowd@kakeya.invalid")
        message = f"kakeya: fold {jobs} jobs, by crowd\n\n[skip ci]\n"
        commit = seal_tree(root, parents=[tip], message=message, author=author, when_s=_when_s())
        objects[commit.oid] = commit
        _store(bare, list(objects.values()))
        git_at(bare, "update-ref", bus.refs.ledger, commit.oid, tip)
    finally:
        git.close()
    return ids


def git_at(bare: Path, *arguments: str, data: bytes = b"") -> None:
    """Run git in the repository `bare`."""
    env = server_env(bare)
    done = proc.run(["git", *arguments], cwd=bare, env=env, timeout_s=600, input=data)
    assert done.code == 0, done.stderr.decode()


def _when_s() -> int:
    return FIRST_MS // 1000 + DAYS * 86_400


def _template() -> dict[str, Any]:
    """A record as the judge writes it."""
    with tempfile.TemporaryDirectory(prefix="kakeya-crowd-") as scratch:
        folder = Path(scratch)
        paths = write_job(folder / "job")
        judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], folder / "out"))
        found: dict[str, Any] = json.loads((folder / "out" / "evidence.json").read_bytes())
        return found


def _pick(chance: random.Random, shares: tuple[tuple[str, float], ...]) -> str:
    names, weights = zip(*shares, strict=True)
    return str(chance.choices(names, weights)[0])


def _make_entry(world: _World, number: int, jobs: int) -> tuple[str, str, list[GitObject]]:
    chance = world.chance
    asked_ms = FIRST_MS + (number * DAYS * 86_400_000) // jobs
    job_id = canonical.make_ulid(asked_ms, chance.randbytes(10))
    runner = chance.choice(list(_HARDWARE))
    name = chance.choice(_PRESETS)
    last = number == jobs - 1
    state = "done" if last else _pick(chance, _ENDS)
    request = Request(
        id=job_id,
        bus=world.bus_id,
        preset=PresetRef(name, canonical.digest(name)),
        params={"samples": chance.randint(1, 8)},
        code=hashlib.sha1(f"code {(number * COMMITS) // jobs}".encode()).hexdigest(),
        label="any",
        labels=("any",),
        resources=Resources(2, 3000, gpus=1 if runner.startswith("h200") else 0),
        priority=5,
        nonce=f"{chance.getrandbits(64):016x}",
        requested_by=HOSTILE if last else chance.choice(_WHO),
        requested_at=_time(asked_ms / 1000, "%Y-%m-%dT%H:%M:%SZ"),
    )
    files: dict[str, bytes] = {"request.json": wire.to_bytes(request)}
    steps = [Step(world.oid(), "request", f"kakeya: request {name}, by {request.requested_by}")]
    claim_oid = None
    if state != "expired":
        claim_oid = world.oid()
        files["claim.json"] = wire.to_bytes(_claim(world, request, runner))
        steps.append(Step(claim_oid, "claim", f"kakeya: claim, attempt 1, by {runner}"))
    result, more = _result(world, request, steps[0].oid, claim_oid, state, runner, number / jobs)
    files |= {**more, "result.json": wire.to_bytes(result)}
    steps.append(Step(world.oid(), state, f"kakeya: {state}, attempt 1, by {runner}"))
    entry = LedgerEntry(
        id=job_id,
        ref=world.refs.job(JobRef("any", 5, job_id)),
        tip=steps[-1].oid,
        head=steps[-1].oid,
        request_commit=steps[0].oid,
        archive=world.refs.archive(_time(asked_ms / 1000, "%Y-%m-%d")),
        chunks=3,
        steps=tuple(steps),
    )
    laid = {f"{FILES}/{path}": data for path, data in files.items()}
    tree, objects = build_files({ENTRY: wire.to_bytes(entry), **laid}, {})
    return job_id, tree, objects


def _claim(world: _World, request: Request, runner: str) -> Claim:
    return Claim(
        request=wire.digest_of(request),
        attempt=1,
        runner=runner,
        session=f"{world.chance.getrandbits(64):016x}",
        trusted=request.code,
        preset=request.preset.digest,
        executor="local",
        isolation="process",
        lease_s=60.0,
        heartbeat_s=10.0,
        nonce=f"{world.chance.getrandbits(64):016x}",
    )


def _result(
    world: _World,
    request: Request,
    request_commit: str,
    claim: str | None,
    state: str,
    runner: str,
    progress: float,
) -> tuple[Result, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    verdict = digest = end = None
    if state == "done":
        verdict = _pick(world.chance, _VERDICTS)
        record = json.dumps(_record(world, request, runner, verdict, progress)).encode()
        digest = canonical.digest_bytes(record)
        # one report for all: a crowd is asked for its records, and 800 MB of HTML would not be read
        files = {"evidence.json": record, "report.html": world.report}
    if state in ("done", "failed"):
        end = Exit(0 if state == "done" else 1, None, "exit")
    artifacts = (ArtifactRef("model.safetensors", request.preset.digest, 1_048_576),)
    told = Result(
        state=state,
        request=wire.digest_of(request),
        request_commit=request_commit,
        attempt=1,
        by=runner,
        nonce=f"{world.chance.getrandbits(64):016x}",
        message={"failed": "exit code 1", "lost": "silent"}.get(state, ""),
        claim=claim,
        exit=end,
        verdict=verdict,
        evidence=digest,
        artifacts=artifacts if state == "done" else (),
    )
    return told, files


def _record(
    world: _World, request: Request, runner: str, verdict: str, progress: float
) -> dict[str, Any]:
    """The template with this job's own facts, and metrics that drift with the code."""
    chance, record = world.chance, copy.copy(world.template)
    asked_s = canonical.ulid_time_ms(request.id) / 1000
    claimed_s = asked_s + chance.expovariate(1 / 40)
    ended_s = claimed_s + 2 + chance.expovariate(1 / 300)
    cpu, cores, accelerators = _HARDWARE[runner]
    speed = 40 + 12 * progress + 5 * len(accelerators) + chance.gauss(0, 1.5)
    record |= {
        "id": request.id,
        "preset": {"name": request.preset.name, "digest": request.preset.digest, "params": {}},
        "code": {**record["code"], "commit": request.code},
        "runner": {"name": runner},
        "hardware": {
            "cpu": cpu,
            "cores": cores,
            "accelerators": accelerators,
            "fingerprint": canonical.digest(runner),
        },
        "timings": {
            "queued": request.requested_at,
            "claimed": _time(claimed_s),
            "started": _time(claimed_s + 1.5),
            "finished": _time(ended_s),
        },
        "execution": {"reason": "exit", "code": 0, "energy": _energy(chance, runner, ended_s)},
        "result": {**record["result"], "gates": verdict},
        "metrics": [
            {**row, "value": f"{speed:.6f}"} if row["name"] == "speed" else row
            for row in record["metrics"]
        ],
    }
    return record


def _energy(chance: random.Random, runner: str, ended_s: float) -> dict[str, Any]:
    if runner.startswith("mac"):
        return {"joules": None, "why": "this machine tells none"}
    joules = f"{chance.uniform(500, 90_000):.3f}"
    return {"joules": joules, "by": {"rapl:package-0": joules}, "scope": "machine"}


def _time(when_s: float, shape: str = "%Y-%m-%dT%H:%M:%S.%fZ") -> str:
    return datetime.fromtimestamp(when_s, UTC).strftime(shape)


_KIND_NUMBERS = {"commit": 1, "tree": 2, "blob": 3}


def _store(bare: Path, objects: list[GitObject]) -> None:
    """Put the objects into the repository as one pack (gitformat-pack(5), no deltas)."""
    pack = b"".join(_packed(objects))
    seal = hashlib.sha1(pack, usedforsecurity=False).digest()
    git_at(bare, "index-pack", "--stdin", data=pack + seal)


def _packed(objects: list[GitObject]) -> Iterator[bytes]:
    yield b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big")
    for item in objects:
        size = len(item.data)
        byte = (_KIND_NUMBERS[item.kind] << 4) | (size & 15)
        size >>= 4
        head = bytearray()
        while size:
            head.append(byte | 0x80)
            byte, size = size & 0x7F, size >> 7
        head.append(byte)
        yield bytes(head) + zlib.compress(item.data, level=6)
