"""A run with a bus and a runner of its own, for one call alone."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from bridge import proc
from bridge.cli.main import main
from tests.integration.client_rig import command
from tests.lab import REPO, make_checkout
from tests.waiting import until


def embedded(folder: Path, *words: str) -> tuple[int, Any, bytes]:
    """A command with a bus and a runner of its own: exit code, JSON, talk."""
    env = {**proc.base_env(), "PYTHONPATH": str(REPO)}
    argv = command("run", *words, "--embedded", "--json", "--timeout", "90")
    done = proc.run(argv, cwd=folder, env=env, timeout_s=150)
    return done.code, json.loads(done.stdout or b"null"), done.stderr


def test_an_embedded_run_needs_no_set_up_and_leaves_no_process(tmp_path: Path) -> None:
    project = make_checkout(tmp_path / "project")
    code, told, talk = embedded(project, "noop", "-p", "seconds=0")
    assert code == 0, talk
    assert told["verdict"] == "pass"
    assert (project / ".kakeya" / ".gitignore").read_text() == "*\n"
    alive = [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(project).encode() in _read(path)
    ]
    assert alive == []
    code, told, _ = embedded(project, "noop", "-p", "exit_code=3")
    assert code == 5
    assert told["exit"]["code"] == 3


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_ctrl_c_of_an_embedded_run_ends_job_and_runner(tmp_path: Path) -> None:
    project = make_checkout(tmp_path / "project")
    log = tmp_path / "run.log"
    env = {**proc.base_env(), "PYTHONPATH": str(REPO)}
    argv = command("run", "noop", "-p", "seconds=600", "--embedded")
    process = proc.spawn(argv, cwd=project, env=env, stdout=log)

    def runs() -> bool:
        assert process.poll() is None, log.read_text()
        return b"running" in log.read_bytes()

    until(runs, bound_s=90, what="the job to run")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "the job was cancelled" in log.read_text()
    processes = [_read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not [line for line in processes if str(project).encode() in line]


def test_an_embedded_run_outside_a_checkout_of_presets_takes_the_programs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "noop", "--embedded", "--bus", "x.git", "--dry-run"]) == 2
    assert "exclude each other" in capsys.readouterr().err
