"""The command line before any bus is reached: help, start-up, errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bridge import proc
from bridge.cli.main import COMMANDS, main
from tests.lab import REPO

HEAVY = (
    "torch",
    "transformers",
    "paramiko",
    "matplotlib",
    "git",
    "gitdb",
    "jsonschema",
    "rich",
    "yaml",
    "psutil",
    "cryptography",
)


def run_python(*arguments: str, **environment: str) -> proc.Completed:
    """A Python process that knows this checkout."""
    env = {**proc.base_env(), "PYTHONPATH": str(REPO), **environment}
    return proc.run([sys.executable, *arguments], cwd=REPO, env=env, timeout_s=60)


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("--version",), ("bus", "--help")])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    done = run_python("-X", "importtime", "-m", "bridge.cli.main", *words)
    assert done.code == 0
    names = {line.rpartition(b"|")[2].strip().decode() for line in done.stderr.splitlines()}
    assert "click" in names
    assert not [name for name in names if name.split(".")[0] in HEAVY]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_loads_and_its_help_has_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example" in out
    assert f"kakeya_remote {name}" in out


def test_help_lists_every_command_and_every_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in out
    for code in ("0 done", "6 gate failed", "9 lost", "130 interrupted"):
        assert code in out


@pytest.mark.parametrize(
    "words",
    [["frobnicate"], ["run", "--frobnicate"], ["wait"], ["run", "noop", "--priority", "12"]],
)
def test_usage_errors_are_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_usage_errors_are_json_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wait", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)
    assert error["schema"] == "kakeya.error/1"
    assert error["exit_code"] == 2
    assert "ID" in error["message"]


def test_an_error_says_what_where_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["list"]) == 2
    told = capsys.readouterr().err
    assert "no bus is named" in told
    assert "what to do: " in told
    assert main(["list", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)
    assert error["remedy"]
    assert error["code"] == "usage"


def test_a_bus_that_is_not_there_is_exit_1_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--bus", "none.git", "list"]) == 1
    told = capsys.readouterr().err
    assert str(tmp_path / "none.git") in told
    assert "kakeya_remote bus init" in told


def test_the_unexpected_is_exit_1_short_and_whole_on_demand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    words = ("-m", "bridge.cli.main", "list", "--bus", str(tmp_path / "x"), "--json")
    nowhere = {"KAKEYA_CACHE": str(tmp_path / "file")}  # no folder can be made below a file
    done = run_python(*words, **nowhere)
    assert done.code == 1
    assert json.loads(done.stdout)["where"] == "unexpected"
    assert b"KAKEYA_DEBUG=1" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Traceback" in run_python(*words, **nowhere, KAKEYA_DEBUG="1").stderr


def test_a_calling_gits_variables_point_nowhere(tmp_path: Path) -> None:
    words = ("-m", "bridge.cli.main", "presets", "--json")
    done = run_python(*words, GIT_DIR=str(tmp_path / "elsewhere"), GIT_INDEX_FILE="x")
    assert done.code == 0
    assert json.loads(done.stdout)


def test_a_machine_without_git_is_told_so(tmp_path: Path) -> None:
    done = run_python("-m", "bridge.cli.main", "list", "--json", PATH=str(tmp_path))
    assert done.code == 2
    assert json.loads(done.stdout)["message"] == "git is not installed"


def test_shell_completion_names_commands() -> None:
    done = run_python(
        "-m",
        "bridge.cli.main",
        _KAKEYA_REMOTE_COMPLETE="bash_complete",
        COMP_WORDS="kakeya_remote re",
        COMP_CWORD="1",
    )
    assert b"results" in done.stdout


@pytest.mark.parametrize(("words", "code"), [(("presets",), 0), (("evidence", "verify", "/"), 2)])
def test_a_reader_that_has_seen_enough_changes_no_exit_code(
    words: tuple[str, ...], code: int
) -> None:
    script = 'set -o pipefail; "$@" | true'
    argv = ["bash", "-c", script, "-", sys.executable, "-m", "bridge.cli.main", *words]
    env = {**proc.base_env(), "PYTHONPATH": str(REPO)}
    done = proc.run(argv, cwd=REPO, env=env, timeout_s=60)
    assert done.code == code, done.stderr
    assert b"BrokenPipe" not in done.stderr
    assert b"Broken pipe" not in done.stderr
