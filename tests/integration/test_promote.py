"""`evidence promote`: one branch with a few files, and a worktree that stays as it was."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from bridge.cli.main import main
from bridge.errors import ExitCode
from evidence.judge import JudgeInput, judge
from evidence.promoted import MAX_RECORD_BYTES, ROOT, folder_of
from evidence.sign import BUNDLE_NAME, sign_record
from tests import evidence_world
from tests.keys import make_hand
from tests.lab import commit_all, git_in
from tests.proposals import SAMPLES_NAME, make_id

pytestmark = pytest.mark.real("git")
JOB = make_id(7)


def make_results(folder: Path, *, noise: int = 0) -> Path:
    """The folder of a judged job; `noise` random rows cannot be compressed."""
    rows = [dict(row) for row in evidence_world.sample_rows()]
    chance = random.Random(1)
    for index in range(noise):
        source = evidence_world.digest_of(str(chance.random()))
        rows.append({**rows[0], "unit": f"noise-{index}", "measure": "noise", "input": source})
    facts = {**evidence_world.facts(), "id": JOB}
    paths = evidence_world.write_job(folder, rows=rows, facts_data=facts)
    judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], folder / "out"))
    return folder / "out"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a program, a link, an odd name, staged and unstaged edits."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git_in(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "tool.sh").write_text("#!/bin/sh\n")
    (folder / "tool.sh").chmod(0o755)
    (folder / "link").symlink_to("tool.sh")
    (folder / "spaces é.txt").write_text("x")
    (folder / "evidence").mkdir()
    (folder / "evidence" / "kept.py").write_text("x = 1\n")
    commit_all(folder, "first")
    (folder / "tool.sh").write_text("#!/bin/sh\necho edited\n")
    (folder / "staged").write_text("x")
    git_in(folder, "add", "staged")
    monkeypatch.chdir(folder)
    return folder


def test_the_branch_adds_the_record_and_nothing_else_moves(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = make_results(tmp_path / "job")
    before = git_in(checkout, "status", "--porcelain")
    assert main(["evidence", "promote", str(results), "--json"]) == ExitCode.DONE
    made = json.loads(capsys.readouterr().out)
    assert git_in(checkout, "status", "--porcelain") == before
    assert git_in(checkout, "branch", "--show-current") == "main"
    changed = git_in(checkout, "diff", "--name-status", "main", made["branch"]).splitlines()
    folder = f"{ROOT}/{folder_of(JOB)}"
    assert {line.split("\t")[1].rpartition("/")[0] for line in changed} == {folder}
    assert {line[0] for line in changed} == {"A"}
    git_in(checkout, "fsck", "--strict", "--no-dangling")
    argv = ["evidence", "check-records", "--base", "main", "--head", made["commit"]]
    assert main(argv) == ExitCode.DONE
    capsys.readouterr()
    git_in(checkout, "worktree", "add", "--quiet", str(tmp_path / "clone"), made["branch"])
    assert main(["evidence", "verify", str(tmp_path / "clone" / folder)]) == ExitCode.DONE


def test_it_is_promoted_once(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = str(make_results(tmp_path / "job"))
    assert main(["evidence", "promote", results]) == ExitCode.DONE
    assert main(["evidence", "promote", results]) == ExitCode.USAGE
    assert "such a branch" in capsys.readouterr().err
    onto = f"evidence/{JOB}"
    assert main(["evidence", "promote", results, "--onto", onto]) == ExitCode.USAGE
    assert "promoted already" in capsys.readouterr().err


def test_it_is_pushed_by_name(checkout: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    git_in(checkout, "init", "--quiet", "--bare", str(remote))
    git_in(checkout, "remote", "add", "origin", str(remote))
    results = make_results(tmp_path / "job")
    assert main(["evidence", "promote", str(results), "--push", "origin"]) == ExitCode.DONE
    refs = git_in(remote, "for-each-ref", "--format=%(refname)").splitlines()
    assert refs == [f"refs/heads/evidence/{JOB}"]


def test_a_tampered_record_is_not_promoted(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = make_results(tmp_path / "job")
    samples = results / "samples.jsonl"
    samples.write_bytes(samples.read_bytes().replace(b"true", b"false", 1))
    assert main(["evidence", "promote", str(results)]) == ExitCode.REFUSED
    assert "$.samples.sha256" in capsys.readouterr().err
    assert git_in(checkout, "branch", "--list", "evidence/*") == ""


def test_samples_that_are_too_large_stay_on_the_bus(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = make_results(tmp_path / "job", noise=30_000)
    assert main(["evidence", "promote", str(results), "--json"]) == ExitCode.DONE
    made = json.loads(capsys.readouterr().out)
    names = {path.rpartition("/")[2]: size for path, size in made["files"].items()}
    assert SAMPLES_NAME not in names
    assert max(names.values()) <= MAX_RECORD_BYTES
    git_in(checkout, "worktree", "add", "--quiet", str(tmp_path / "clone"), made["branch"])
    folder = tmp_path / "clone" / made["folder"]
    assert main(["evidence", "verify", str(folder)]) == ExitCode.INCONCLUSIVE
    assert "not recomputed" in capsys.readouterr().out


def test_a_signature_by_a_key_that_the_base_does_not_list_is_told_at_once(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = make_hand(tmp_path, "lab-1"), make_hand(tmp_path, "lab-2")
    results = make_results(tmp_path / "job")
    record = (results / "evidence.json").read_bytes()
    (results / BUNDLE_NAME).write_bytes(sign_record(record, mine.key.private))
    for listed, word in ((other, "refuses it"), (mine, "assurance: self (signed by lab-1)")):
        (checkout / "evidence" / "signers").write_text(f"{listed.key.public}\n")
        commit_all(checkout, "list a key")
        assert main(["evidence", "promote", str(results)]) == ExitCode.DONE
        told = capsys.readouterr()
        assert word in told.out + told.err
        argv = ["evidence", "check-records", "--base", "main", "--head", f"evidence/{JOB}"]
        assert main(argv) == (ExitCode.DONE if listed is mine else ExitCode.REFUSED)
        capsys.readouterr()
        git_in(checkout, "branch", "--quiet", "-D", f"evidence/{JOB}")
