"""`setup` on a machine that has nothing yet: an empty home and a bare repository."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge import proc
from tests.actors import open_bus
from tests.lab import git_in
from tests.servers import systemd

KEPT = ("runner.yaml", "key")
SLOW = pytest.mark.timeout(
    1200
)  # two whole set-ups, each with a job, on a machine that may be busy
Call = Callable[[list[str], dict[str, str]], proc.Completed]


def make_machine(folder: Path, checkout: Path) -> tuple[Path, Path]:
    """An empty home, and a clone of the project in it."""
    home = folder / "home"
    home.mkdir()
    git_in(home, "clone", "--quiet", str(checkout), "trusted")
    return home, home / "trusted"


def set_up(call: Call, trusted: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    argv = [sys.executable, "-m", "bridge.cli.main", "setup", "--json", *words]
    done = call(argv, {"PYTHONPATH": str(trusted), "KAKEYA_CACHE": str(trusted.parent / "cache")})
    told = done.stdout.decode()
    assert told.startswith("{"), done.stderr.decode()
    return done.code, json.loads(told), done.stderr.decode()


def states(told: dict[str, Any]) -> dict[str, str]:
    return {step["step"]: step["state"] for step in told["steps"]}


@SLOW
def test_an_empty_home_serves_after_one_command_and_stays_so(
    tmp_path: Path, checkout: Path
) -> None:
    home, trusted = make_machine(tmp_path, checkout)

    def call(argv: list[str], env: dict[str, str]) -> proc.Completed:
        whole = {**proc.base_env(), "HOME": str(home), **env}
        return proc.run(argv, cwd=trusted, env=whole, timeout_s=600)

    named = ("--name", "box-1", "--label", "any")
    words = ("--bus", str(tmp_path / "bus.git"), *named, "--no-service")
    code, first, said = set_up(call, trusted, *words)
    assert code == 0, said
    assert first["verdict"] == "pass"
    assert states(first) == {
        "settings": "done",
        "packages": "kept",
        "bus": "done",
        "key": "done",
        "service": "left",
        "doctor": "done",
        "self-test": "done",
    }
    bus = open_bus(str(tmp_path / "bus.git"), tmp_path / "look", init=False)
    try:
        jobs = bus.poll().jobs
        assert [job.id for job, _ in jobs.values()] == [first["job"]]
        chain = bus.load(next(iter(jobs)))
        assert chain.request is not None
        assert chain.claim is not None
        assert (chain.request.preset.name, chain.claim.runner) == ("probe", "box-1")
    finally:
        bus.close()
    files = {path: path.read_bytes() for path in home.rglob("*") if path.name in KEPT}
    assert len(files) == len(KEPT)
    code, second, said = set_up(call, trusted, *words)
    assert code == 0, said
    assert states(second) == {
        **states(first),
        **dict.fromkeys(("settings", "bus", "key"), "kept"),
    }
    assert second["job"] != first["job"]
    assert {path: path.read_bytes() for path in files} == files


@SLOW
@pytest.mark.real("systemd")
def test_with_a_service_manager_the_job_is_taken_by_the_service(
    tmp_path: Path, checkout: Path
) -> None:
    home, trusted = make_machine(tmp_path, checkout)
    with systemd.running(home) as machine:

        def call(argv: list[str], env: dict[str, str]) -> proc.Completed:
            return machine.call("env", f"--chdir={trusted}", *argv, env=env, timeout_s=600)

        words = ("--bus", str(tmp_path / "bus.git"), "--name", "box-1", "--label", "any")
        for _ in range(2):
            code, told, said = set_up(call, trusted, *words, "--user")
            assert code == 0, said + machine.log.read_text()
            assert states(told)["service"] == "done"
            assert told["verdict"] == "pass"
        shown = machine.show("kakeya-remote-box-1.service")
        assert (shown["ActiveState"], shown["UnitFileState"]) == ("active", "enabled")
        assert not list(home.rglob("self-test.log"))  # no other runner was needed


def test_what_no_python_keeps_is_named_before_anything_is_installed(
    tmp_path: Path, checkout: Path
) -> None:
    home, trusted = make_machine(tmp_path, checkout)
    bare = tmp_path / "bare"
    argv = [sys.executable, "-m", "venv", "--without-pip", str(bare)]
    assert proc.run(argv, cwd=tmp_path, env=proc.base_env(), timeout_s=120).code == 0
    config = tmp_path / "runner.yaml"
    config.write_text(
        json.dumps(
            {
                "name": "box-1",
                "bus": str(tmp_path / "bus.git"),
                "labels": ["any", "h200"],
                "trusted": {"checkout": str(trusted)},
                "python": str(bare / "bin" / "python"),
            }
        )
    )
    program = [sys.executable, "-m", "bridge.cli.main", "setup", "--no-packages", "--no-service"]
    done = proc.run(
        [*program, "--config", str(config)],
        cwd=trusted,
        env={**proc.base_env(), "HOME": str(home), "PYTHONPATH": str(trusted)},
        timeout_s=120,
    )
    assert done.code == 2
    assert b"lacks torch" in done.stderr
    assert not (tmp_path / "bus.git").exists()
