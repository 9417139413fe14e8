"""A runner is killed while its job runs elsewhere; the next session finds the job, once."""

from __future__ import annotations

import json
import signal

import pytest

from tests.contracts.executor_rigs import open_rig
from tests.lab import Lab
from tests.waiting import until


@pytest.mark.parametrize("name", ["pueue", "slurm", "ssh"])
def test_a_killed_runner_finds_its_job_again(name: str, lab: Lab) -> None:
    with open_rig(name) as rig:
        executors = {"local": {}, name: dict(rig.options)}
        with lab.runner(executors=executors) as first:
            ref = lab.submit("noop", {"seconds": 8}, executor=name)
            lab.wait(ref, "claimed", "running")
            jobs = lab.folder / "lab-1" / "state" / "jobs"
            until(lambda: list(jobs.glob("*/handle.json")), what="the job's handle")
            first.send_signal(signal.SIGKILL)
            first.wait()
        with lab.runner(executors=executors):
            chain = lab.wait(ref)
        assert chain.state == "done", lab.words()
        assert "adopted" in lab.words()
        assert [link.event.value for link in chain.links].count("claim") == 1
        record = json.loads(lab.bus.read(chain.files["evidence.json"]))
        assert record["runner"]["executor"] == name
        assert record["result"]["gates"] == "pass"
        assert float(record["execution"]["duration_s"]) >= 8
