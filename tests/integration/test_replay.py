"""Replay: a run that agrees raises the first one's assurance, a planted difference does not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge import canonical, proc
from bridge.client.replaying import Replayed, judge_replay
from bridge.errors import ExitCode, UsageError
from bridge.runner.key import RunnerKey, load_key
from evidence.record import Material, assemble
from evidence.sign import BUNDLE_NAME, sign_record
from presets.binding import render_spec
from tests.actors import open_bus
from tests.integration.client_rig import Rig, ScriptedRunner, open_rig
from tests.lab import REPO, Lab, commit_all, make_bare
from tests.servers.child import server_env

GATE = """
  - id: long-enough
    rule: {cmp: [{m: slept_s, arm: noop}, ">", "0.5"]}
"""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    make_bare(tmp_path / "bus.git")
    found = open_rig(str(tmp_path / "bus.git"), tmp_path)
    preset = (REPO / "presets" / "noop-sweep.yaml").read_text().rstrip("\n") + GATE
    (found.project / "presets" / "noop-sweep.yaml").write_text(preset)
    commit_all(found.project, "a gate on what was measured")
    found.client.checkout = replace(found.client.checkout, head=found.head)  # type: ignore[type-var]
    found.runner.beat(trusted=found.head)
    yield found
    found.close()


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, RunnerKey]:
    return {name: load_key(tmp_path / f"key-{name}", name) for name in ("mac-m4", "h200")}


@pytest.fixture
def signers(tmp_path: Path, keys: dict[str, RunnerKey]) -> Path:
    path = tmp_path / "signers"
    path.write_text("".join(f"{key.public}\n" for key in keys.values()))
    return path


def finish(rig: Rig, runner: ScriptedRunner, ref: str, slept_s: float, key: RunnerKey) -> None:
    """A result with evidence that holds, signed by its runner."""
    chain = rig.client.bus.load(ref)
    assert chain.request is not None
    request = chain.request
    preset = rig.client.presets()[request.preset.name]
    row = {
        "arm": "noop",
        "seed": 0,
        "unit": "noop",
        "input": canonical.digest("noop"),
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
        "preset": {
            "name": preset.name,
            "digest": preset.digest,
            "params": dict(request.params),
        },
        "code": {"commit": request.code},
        "hardware": {"cpu": f"the cpu of {runner.name}"},
    }
    record = assemble(Material(facts, render_spec(preset, request.params), samples)).record
    evidence = canonical.encode(record) + b"\n"
    files = {
        "evidence.json": evidence,
        "samples.jsonl": samples,
        BUNDLE_NAME: sign_record(evidence, key.private),
    }
    runner.claim(ref)
    runner.finish(
        ref,
        verdict=None,
        files=files,
        evidence=canonical.digest_bytes(evidence),
    )


def replay(
    rig: Rig, tmp_path: Path, keys: dict[str, RunnerKey], signers: Path, slept_s: float
) -> Replayed:
    """The job on one runner with 1 s, its replay on the other with `slept_s`."""
    _, ref = rig.submit("noop-sweep", {"seconds": 1})
    finish(rig, rig.runner, ref, 1.0, keys["mac-m4"])
    again = rig.client.replay(ref.rpartition("/")[2][1:], elsewhere=True)
    assert (again.request.avoid, again.request.replay_of) == ("mac-m4", ref[-26:])
    other = ScriptedRunner(open_bus(rig.url, tmp_path / "other", init=False), "h200")
    finish(rig, other, again.ref, slept_s, keys["h200"])
    other.bus.close()
    return judge_replay(rig.client, rig.client.wait(again.id, 60), signers)


def test_a_replay_that_agrees_makes_the_first_reproduced(
    rig: Rig, tmp_path: Path, keys: dict[str, RunnerKey], signers: Path
) -> None:
    found = replay(rig, tmp_path, keys, signers, 1.1)
    assert found.exit_code is ExitCode.DONE
    assert found.as_json()["reproduced"] is True
    assert found.as_json()["other_hardware"] is True
    assert "h200 agrees" in found.message
    assert found.disagree == ()


def test_a_planted_difference_keeps_it_down_and_shows_the_diff(
    rig: Rig, tmp_path: Path, keys: dict[str, RunnerKey], signers: Path
) -> None:
    found = replay(rig, tmp_path, keys, signers, 0.25)
    assert found.exit_code is ExitCode.GATE_FAILED
    told = found.as_json()
    assert (told["assurance"], told["reproduced"]) == ("self", False)
    assert found.disagree == ("long-enough",)
    (moved,) = told["comparison"]["transitions"]
    assert (moved["case"], moved["change"]) == ("long-enough", "PASS→FAIL")
    (delta,) = [row for row in told["comparison"]["deltas"] if row["name"] == "slept_s"]
    assert float(delta["delta"]) == 0.25 - 1.0
    assert "disagrees on long-enough" in found.message


def test_the_same_runner_again_raises_nothing(
    rig: Rig, keys: dict[str, RunnerKey], signers: Path
) -> None:
    _, ref = rig.submit("noop-sweep", {"seconds": 1})
    finish(rig, rig.runner, ref, 1.0, keys["mac-m4"])
    again = rig.client.replay(ref[-26:], runner="mac-m4")
    assert again.request.runner == "mac-m4"
    finish(rig, rig.runner, again.ref, 1.0, keys["mac-m4"])
    found = judge_replay(rig.client, rig.client.wait(again.id, 60), signers)
    assert found.exit_code is ExitCode.DONE
    assert found.as_json()["assurance"] == "self"


def test_a_job_without_evidence_is_not_replayed(rig: Rig) -> None:
    job, _ = rig.submit()
    with pytest.raises(UsageError, match="has not ended"):
        rig.client.replay(job)
    rig.client.cancel(job)
    with pytest.raises(UsageError, match="left no evidence"):
        rig.client.replay(job)
    outcome = rig.client.wait(job)
    with pytest.raises(UsageError, match="is no replay"):
        judge_replay(rig.client, outcome)


def test_two_real_runners_agree(lab: Lab, tmp_path: Path) -> None:
    with lab.runner("lab-1"):
        first = lab.wait(lab.submit("noop", {"seconds": 0.25}))
        with lab.runner("lab-2"):
            signers = tmp_path / "signers"
            signers.write_text(
                "".join(
                    load_key(lab.folder / name / "state", name).public + "\n"
                    for name in ("lab-1", "lab-2")
                )
            )
            words = ["replay", first.job.id, "--elsewhere", "--signers", str(signers), "--json"]
            done = proc.run(
                [sys.executable, "-m", "bridge.cli.main", *words, "--bus", lab.url],
                cwd=lab.folder,
                env={**server_env(lab.folder), "PYTHONPATH": str(lab.checkout)},
                timeout_s=240,
            )
    assert done.code == 0, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["assurance"], told["disagree"]) == ("reproduced", [])
    chain = lab.bus.load(str(lab.bus.find(told["id"])))
    assert chain.claim is not None
    assert chain.claim.runner == "lab-2"
