"""A job goes on where it was: on the same machine, and on another one by way of the bus."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bridge.bus.chain import Chain
from bridge.states import State
from tests.lab import Lab, make_bare, open_lab
from tests.rawgit import RawGit
from tests.relay import make_relay_checkout
from tests.waiting import until

_STEPS = 24
_SLOW = {"steps": _STEPS, "step_s": 0.25}


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_relay_checkout(tmp_path_factory.mktemp("relay") / "trusted")


@pytest.fixture
def lab(relay: Path, tmp_path: Path) -> Iterator[Lab]:
    make_bare(tmp_path / "bus.git")
    found = open_lab(relay, str(tmp_path / "bus.git"), tmp_path / "lab")
    yield found
    found.bus.close()


def _art_refs(lab: Lab) -> list[str]:
    raw = RawGit(Path(lab.url))
    return raw.run("for-each-ref", "--format=%(refname)", "refs/heads/kakeya/art/").split()


def _samples(lab: Lab, chain: Chain) -> list[dict[str, Any]]:
    lines = lab.bus.read(chain.files["samples.jsonl"]).splitlines()
    return [json.loads(line) for line in lines]


def _kill_with_job(lab: Lab, name: str, runner: Any) -> None:
    """As when the machine's power is cut: the runner, its job, and what watches over it."""
    folder = str(lab.folder / name)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    for process in psutil.process_iter():
        try:
            if any(folder in word for word in process.cmdline()):
                process.kill()
        except psutil.Error:
            continue


def _kept(lab: Lab, ref: str, *, step: int) -> Chain:
    """Until the chain names a checkpoint of at least `step`."""

    def named() -> Chain | None:
        chain = lab.bus.load(ref)
        return chain if chain.checkpoint and chain.checkpoint.step >= step else None

    chain = until(named, bound_s=120, what="a checkpoint on the bus")
    assert chain is not None
    return chain


def _check_counted_once(lab: Lab, chain: Chain, *, first: int) -> None:
    """Every step is there once, in order; the first ones were done by attempt 1."""
    rows = _samples(lab, chain)
    assert [row["unit"] for row in rows] == [f"step-{step}" for step in range(_STEPS)]
    attempts = [int(row["score"]) for row in rows]
    assert attempts == sorted(attempts)
    assert attempts.count(1) >= first
    assert attempts[-1] == chain.attempt > 1


def test_another_runner_goes_on_at_the_step(lab: Lab) -> None:
    with lab.runner("lab-a") as first:
        ref = lab.submit("relay", _SLOW)
        kept = _kept(lab, ref, step=4)
        _kill_with_job(lab, "lab-a", first)
    with lab.runner("lab-b"):
        chain = lab.wait(ref)
    assert chain.state is State.DONE, lab.words("lab-b")
    assert chain.claim is not None
    assert (chain.claim.runner, chain.attempt) == ("lab-b", 2)
    assert kept.checkpoint is not None
    _check_counted_once(lab, chain, first=kept.checkpoint.step)
    record = json.loads(lab.bus.read(chain.files["evidence.json"]))
    assert [row["n"] for row in record["attempts"]] == [1, 2]
    resumed = record["attempts"][1]["resumed"]
    assert (resumed["by"], resumed["attempt"]) == ("bus", 1)
    assert resumed["step"] >= kept.checkpoint.step
    assert "resumed" not in record["attempts"][0]
    assert "resumes from step" in lab.words("lab-b")
    until(lambda: not _art_refs(lab), what="the checkpoints of the ended job to be gone")
    assert not list((lab.folder / "lab-b" / "state" / "checkpoints").iterdir())


def test_the_same_machine_goes_on_with_what_it_has(lab: Lab) -> None:
    with lab.runner("lab-a") as first:
        ref = lab.submit("relay", _SLOW)
        _kept(lab, ref, step=4)
        _kill_with_job(lab, "lab-a", first)
    with lab.runner("lab-a"):
        chain = lab.wait(ref)
    assert chain.state is State.DONE, lab.words("lab-a")
    _check_counted_once(lab, chain, first=4)
    record = json.loads(lab.bus.read(chain.files["evidence.json"]))
    assert record["attempts"][-1]["resumed"]["by"] == "runner"


def test_checkpoints_that_no_record_needs_leave_the_bus_while_the_job_runs(lab: Lab) -> None:
    with lab.runner("lab-a"):
        ref = lab.submit("relay", _SLOW | {"steps": 60})
        first = _kept(lab, ref, step=1).checkpoint
        assert first is not None
        digest = first.sha256.removeprefix("sha256:")
        assert any(art.endswith(digest) for art in _art_refs(lab))
        until(
            lambda: not any(art.endswith(digest) for art in _art_refs(lab)),
            what="the first checkpoint to go once later ones are named",
        )
        assert not lab.bus.load(ref).ended
        assert lab.wait(ref).state is State.DONE
        until(lambda: not _art_refs(lab), what="the checkpoints of the ended job to be gone")


@pytest.mark.parametrize("harm", ["other content", "another request", "gone"])
def test_a_checkpoint_that_is_not_its_own_is_not_used(harm: str, lab: Lab, tmp_path: Path) -> None:
    with lab.runner("lab-a") as first:
        ref = lab.submit("relay", _SLOW)
        kept = _kept(lab, ref, step=4)
        _kill_with_job(lab, "lab-a", first)
    raw = RawGit(Path(lab.url))
    assert kept.checkpoint is not None
    for art in _art_refs(lab):
        if harm == "gone":
            raw.run("update-ref", "-d", art)
        else:
            raw.point(art, raw.commit({"x": b"y"}, message="kakeya: checkpoint of nobody"))
    with lab.runner("lab-b"):
        chain = lab.wait(ref)
    assert chain.state is State.DONE
    rows = _samples(lab, chain)
    assert [int(row["score"]) for row in rows] == [2] * _STEPS  # all of it was done again
    assert "is not used" in lab.words("lab-b")
    record = json.loads(lab.bus.read(chain.files["evidence.json"]))
    assert "resumed" not in record["attempts"][1]
