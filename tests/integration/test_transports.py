"""The same presets through a daemon, smart HTTP and ssh, by the commands a person types."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from bridge import proc
from tests.lab import open_lab
from tests.servers.transport import Transport

BOUND_S = 240.0


def command(cwd: Path, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    """A `kakeya_remote --json` command in a process of its own: code, objects, talk."""
    done = proc.run(
        [sys.executable, "-m", "bridge.cli.main", *words, "--json"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(cwd)},
        timeout_s=BOUND_S,
    )
    lines = done.stdout.decode().splitlines()
    return done.code, [json.loads(line) for line in lines], done.stderr.decode()


def test_run_wait_results_and_verify(transport: Transport, checkout: Path, tmp_path: Path) -> None:
    remote = transport.create()
    lab = open_lab(checkout, remote.url, tmp_path / "lab")
    bus = ("--bus", remote.url)
    with lab.runner(extra_env=transport.client_env):
        for preset in ("noop", "probe"):
            code, said, talk = command(checkout, "run", preset, "--wait", *bus)
            assert code == 0, talk + lab.words()
            assert said[0]["schema"].startswith("kakeya.")
            job_id = said[0]["id"]
            assert said[-1]["verdict"] == "pass"
            folder = tmp_path / preset
            code, _, talk = command(checkout, "results", job_id, "--out", str(folder), *bus)
            assert code == 0, talk
            code, _, talk = command(checkout, "evidence", "verify", str(folder))
            assert code == 0, talk
    lab.bus.close()
