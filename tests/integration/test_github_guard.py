"""What `doctor` says of GitHub's own settings, from a `gh` that answers as the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.client.github_guard import examine, find_repository
from bridge.findings import FAULT, OK, WARNING, Finding
from tests.lab import REPO
from tests.servers.fake_gh import make_gh

BUS = "git@github.com:lab/queue.git"
REPOSITORY = "repos/lab/queue"
GROUPS = "orgs/lab/actions/runner-groups"
BRIDGE = "lab/queue/.github/workflows/bridge.yml@refs/heads/main"


def sound() -> dict[str, Any]:
    """The answers where everything is as docs/actions.md says."""
    group = {
        "id": 7,
        "name": "kakeya",
        "restricted_to_workflows": True,
        "selected_workflows": [BRIDGE],
        "allows_public_repositories": False,
    }
    empty = {"id": 1, "name": "Default", "restricted_to_workflows": False}
    environment = {"protected_branches": False, "custom_branch_policies": True}
    return {
        REPOSITORY: {
            "default_branch": "main",
            "private": True,
            "owner": {"login": "lab", "type": "Organization"},
        },
        f"{REPOSITORY}/branches/main": {"name": "main", "protected": True},
        f"{REPOSITORY}/actions/runners": {"total_count": 0, "runners": []},
        f"{GROUPS}?per_page=100&visible_to_repository=queue": {
            "total_count": 2,
            "runner_groups": [empty, group],
        },
        f"{GROUPS}/1/runners?per_page=1": {"total_count": 0, "runners": []},
        f"{GROUPS}/7/runners?per_page=1": {"total_count": 2, "runners": []},
        f"{REPOSITORY}/actions/permissions/workflow": {
            "default_workflow_permissions": "read",
            "can_approve_pull_request_reviews": False,
        },
        f"{REPOSITORY}/environments/kakeya": {
            "name": "kakeya",
            "deployment_branch_policy": environment,
        },
        f"{REPOSITORY}/environments/kakeya/deployment-branch-policies": {
            "branch_policies": [{"name": "main"}]
        },
    }


def ask(folder: Path, answers: dict[str, Any] | None) -> dict[str, Finding]:
    """The findings by check, the worst of each."""
    found = examine(BUS, make_gh(folder, answers))
    worst_last = sorted(found, key=lambda finding: (OK, WARNING, FAULT).index(finding.level))
    return {finding.check.removeprefix("github-"): finding for finding in worst_last}


def test_a_sound_repository_has_no_remedy(tmp_path: Path) -> None:
    found = ask(tmp_path, sound())
    assert set(found) == {"branch", "machines", "token", "environment"}
    assert {finding.level for finding in found.values()} == {OK}
    assert all(finding.remedy == "" for finding in found.values())


def planted(**changes: Any) -> dict[str, Any]:
    """The sound answers with a group that is changed."""
    answers = sound()
    answers[f"{GROUPS}?per_page=100&visible_to_repository=queue"]["runner_groups"][1] |= changes
    return answers


def with_answer(path: str, answer: Any) -> dict[str, Any]:
    return sound() | {path: answer}


FAULTS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "the branch is open": (
        with_answer(f"{REPOSITORY}/branches/main", {"name": "main", "protected": False}),
        "branch",
        FAULT,
        "protect main",
    ),
    "any workflow may take the machines": (
        planted(restricted_to_workflows=False),
        "machines",
        FAULT,
        BRIDGE,
    ),
    "so may the same workflow of any branch": (
        planted(selected_workflows=[BRIDGE, BRIDGE.replace("main", "kakeya/job/any/5X")]),
        "machines",
        FAULT,
        BRIDGE,
    ),
    "so may another workflow of this repository": (
        planted(selected_workflows=[BRIDGE, BRIDGE.replace("bridge.yml", "ci.yml")]),
        "machines",
        FAULT,
        BRIDGE,
    ),
    "the bridge may not": (planted(selected_workflows=[]), "machines", WARNING, BRIDGE),
    "machines hang on the repository itself": (
        with_answer(f"{REPOSITORY}/actions/runners", {"total_count": 3}),
        "machines",
        FAULT,
        "runner start",
    ),
    "every workflow may write": (
        with_answer(
            f"{REPOSITORY}/actions/permissions/workflow", {"default_workflow_permissions": "write"}
        ),
        "token",
        WARNING,
        "read",
    ),
    "every branch has the secrets": (
        with_answer(f"{REPOSITORY}/environments/kakeya", {"deployment_branch_policy": None}),
        "environment",
        FAULT,
        "main alone",
    ),
    "a wildcard has the secrets": (
        with_answer(
            f"{REPOSITORY}/environments/kakeya/deployment-branch-policies",
            {"branch_policies": [{"name": "main"}, {"name": "kakeya/**"}]},
        ),
        "environment",
        FAULT,
        "main alone",
    ),
    "no environment": (
        with_answer(f"{REPOSITORY}/environments/kakeya", 404),
        "environment",
        WARNING,
        "main alone",
    ),
    "no right to look": (
        with_answer(f"{REPOSITORY}/actions/runners", 403),
        "machines",
        WARNING,
        "docs/actions.md",
    ),
    "an answer of another shape": (
        with_answer(f"{REPOSITORY}/branches/main", {}),
        "branch",
        WARNING,
        "docs/actions.md",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_missing_guard_is_named_with_its_remedy(name: str, tmp_path: Path) -> None:
    answers, check, level, remedy = FAULTS[name]
    found = ask(tmp_path, answers)
    assert found[check].level == level, found[check]
    assert remedy in found[check].remedy
    others = {finding.level for key, finding in found.items() if key != check}
    assert others <= {OK}


def test_nobody_logged_in_and_no_gh_are_told(tmp_path: Path) -> None:
    (finding,) = examine(BUS, make_gh(tmp_path, None))
    assert (finding.level, finding.remedy) == (WARNING, "gh auth login")
    (finding,) = examine(BUS, make_gh(tmp_path, {}))
    assert finding.level == WARNING
    assert "HTTP 404" in finding.text


def test_a_repository_of_a_person_has_no_group(tmp_path: Path) -> None:
    answers = sound()
    answers[REPOSITORY]["owner"]["type"] = "User"
    assert "no machine" in ask(tmp_path, answers)["machines"].text


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("git@github.com:lab/queue.git", True),
        ("https://github.com/lab/queue", True),
        ("ssh://git@github.com/lab/queue.git", True),
        ("https://token@github.com/lab/queue.git", True),
        ("https://git.example/lab/queue.git", False),
        ("https://github.com.evil.example/lab/queue", False),
        ("/srv/github.com/lab/queue", False),
        ("git@github.com:lab/queue/../../user", False),
    ],
)
def test_only_github_is_asked(address: str, known: bool, tmp_path: Path) -> None:
    found = find_repository(address, "gh")
    assert (found is not None) == known
    if found is not None:
        assert (found.owner, found.name) == ("lab", "queue")
    assert bool(examine(address, make_gh(tmp_path, sound()))) == known


def test_every_line_of_the_checklist_is_there() -> None:
    text = (REPO / "docs" / "actions.md").read_text("utf-8")
    for word in ("github-branch", "github-machines", "github-token", "github-environment"):
        assert f"`{word}`" in text
