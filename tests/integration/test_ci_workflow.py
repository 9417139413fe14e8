"""ci.yml, run by `act` on a repository whose `.ci/run` is short, and what it leaves alone."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.bus.refs import JobRef, Refs
from tests import samples
from tests.lab import REPO, commit_all, git_in
from tests.workflows import Act

WORKFLOWS = REPO / ".github" / "workflows"


def load(name: str) -> dict[str, Any]:
    """A workflow file as data; YAML 1.1 reads its key `on` as true."""
    data = yaml.safe_load((WORKFLOWS / name).read_text("utf-8"))
    return {("on" if key is True else key): value for key, value in data.items()}


@pytest.mark.real("act", "git")
@pytest.mark.xdist_group("act")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("ending", [0, 3])
def test_ci_runs_what_the_commit_says_and_ends_as_it_does(tmp_path: Path, ending: int) -> None:
    origin, shims = tmp_path / "origin", tmp_path / "shims"
    (origin / ".ci").mkdir(parents=True)
    # a file for each run: act may lose the last words of a step that fails at once
    (origin / ".ci" / "run").write_text(f"mktemp {tmp_path}/ran.XXXXXX\nexit {ending}\n")
    git_in(origin, "init", "--quiet")
    commit_all(origin, "a program")
    shims.mkdir()
    (shims / "sudo").write_text('#!/bin/sh\nexec "$@"\n')  # the hosted machine has it
    (shims / "sudo").chmod(0o755)
    act = Act(tmp_path, origin)
    path = f"{shims}:{os.environ['PATH']}"
    ran = act.run("ci.yml", "push", {"ref": "refs/heads/main"}, {"PATH": path})
    assert ran.succeeded == (ending == 0), ran.output
    pythons = load("ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert len(list(tmp_path.glob("ran.*"))) == len(pythons), ran.output


def test_ci_runs_the_checks_and_every_test() -> None:
    steps = (REPO / ".ci" / "run").read_text("utf-8").splitlines()
    assert {"make check", "make test"} <= set(steps)
    assert "export KAKEYA_REQUIRE_REAL=1" in steps


def test_ci_ignores_every_ref_of_the_bus() -> None:
    ignored = load("ci.yml")["on"]["push"]["branches-ignore"]
    refs, job_id = Refs(), samples.make_id()
    ours = [refs.job(JobRef("any", 5, job_id)), refs.heartbeat("mac-m4"), refs.wish(job_id)]
    ours += [refs.ledger, refs.code("1" * 40), refs.archive("2026-01-02"), refs.key("ab" * 32)]
    for ref in ours:
        branch = ref.removeprefix("refs/heads/")
        # `**` of GitHub matches what `*` of fnmatch does: any characters, slashes too
        assert any(fnmatchcase(branch, pattern.replace("**", "*")) for pattern in ignored), ref


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yml")), ids=lambda path: path.name)
def test_every_workflow_has_few_rights_and_an_end(path: Path) -> None:
    workflow = load(path.name)
    assert workflow["permissions"] == {}
    assert "concurrency" in workflow
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 1440
        for name, level in job.get("permissions", {}).items():
            line = f"      {name}: {level} # "  # each right with what it is for
            assert line in path.read_text("utf-8")
        for step in job["steps"]:
            uses = step.get("uses", "")
            assert not uses or len(uses.partition("@")[2]) == 40
            if uses.startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


def test_a_third_request_does_not_cancel_the_second() -> None:
    concurrency = load("bridge.yml")["concurrency"]
    assert concurrency == {
        "group": "kakeya-bridge",
        "cancel-in-progress": False,
        "queue": "max",
    }
    assert "github" not in concurrency["group"]  # one group for all: they run one after another
