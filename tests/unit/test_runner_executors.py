"""The executors that a runner lends to its jobs."""

from __future__ import annotations

import time
from pathlib import Path

from bridge.bus.remote import GitBus
from bridge.runner.attempt import Attempt
from bridge.runner.config import parse_config
from bridge.runner.held import HeldJobs
from bridge.runner.steps import Steps


def test_every_job_is_given_the_same_executor_of_a_name(tmp_path: Path) -> None:
    config = parse_config(
        {
            "name": "mac-m4",
            "bus": "bus.git",
            "trusted": {"checkout": "code"},
            "executors": {"local": {}, "slurm": {"partition": "long"}},
        },
        where="test",
        base=tmp_path,
    )
    bus = GitBus(config.bus, tmp_path / "cache", refs=config.refs, profile=config.profile)
    told: list[str] = []
    held = HeldJobs(config, bus, Steps(config, time.time), told.append, Attempt)
    try:
        assert held.executor("slurm") is held.executor("slurm")
        assert held.executor("slurm").name == "slurm"
        assert held.executor("local") is not held.executor("slurm")
    finally:
        held.close()
