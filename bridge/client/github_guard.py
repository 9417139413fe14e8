"""What GitHub itself must be set to where it carries a bus or hosts a runner, as far as `gh` tells.

GitHub runs the workflow files of whatever branch was pushed. What keeps such a file from a machine
of yours, and from the branch that runners trust, are settings at GitHub: docs/actions.md lists
them. `gh` is asked with the rights that its user has; what it may not see is said to be unknown.

Source: https://docs.github.com/en/rest (branches, actions/self-hosted-runner-groups,
actions/permissions, deployments/environments).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import proc
from bridge.canonical import printable
from bridge.errors import BusError, KakeyaError
from bridge.findings import FAULT, OK, WARNING, Finding

WORKFLOW = ".github/workflows/bridge.yml"
ENVIRONMENT = "kakeya"
_TIMEOUT_S = 30.0
_PLACES = ("GH_TOKEN", "GITHUB_TOKEN", "GH_CONFIG_DIR", "XDG_CONFIG_HOME")
_ADDRESS = re.compile(
    r"(?:https://(?:[^@/]+@)?github\.com/|(?:ssh://)?git@github\.com[:/])"
    r"([A-Za-z0-9._-]{1,100})/([A-Za-z0-9._-]{1,100}?)(?:\.git)?/?\Z"
)
_BY_HAND = "look at it by hand: docs/actions.md, the checklist"


class DeniedError(BusError):
    """GitHub says no, or says that there is no such thing, which it also says to the unentitled."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository there, and `gh` to ask about it.

    Attributes:
        owner, name: as in its address.
        gh: path of the program.
    """

    owner: str
    name: str
    gh: str

    def ask(self, path: str) -> Any:
        """What the interface answers to GET; `{repo}` stands for this repository.

        Raises:
            DeniedError: it is not there, or this user may not see it.
            BusError: it did not answer.
        """
        path = path.replace("{repo}", f"repos/{self.owner}/{self.name}")
        settings = {name: os.environ[name] for name in _PLACES if name in os.environ}
        env = proc.base_env() | settings | {"GH_PROMPT_DISABLED": "1", "NO_COLOR": "1"}
        done = proc.run([self.gh, "api", path], cwd=Path("/"), env=env, timeout_s=_TIMEOUT_S)
        told = printable(done.stderr.decode("utf-8", "replace").strip(), 300)
        if done.code == 0:
            try:
                return json.loads(done.stdout)
            except ValueError as error:
                raise BusError(f"gh api {path} answers no JSON", where="gh") from error
        if re.search(r"HTTP 40[34]\b", told):
            raise DeniedError(told, where=path)
        remedy = "gh auth login" if done.code == 4 else "gh api rate_limit says whether it answers"
        raise BusError(f"gh api {path} ends with {done.code}: {told}", where="gh", remedy=remedy)

    @property
    def workflow(self) -> str:
        """The start of the name by which a runner group is limited to the bridge."""
        return f"{self.owner}/{self.name}/{WORKFLOW}@refs/heads/"


def find_repository(address: str, gh: str) -> Repository | None:
    """The repository that a bus's address names, None where that is not at github.com."""
    found = _ADDRESS.match(address)
    return Repository(found[1], found[2], gh) if found else None


def examine(address: str, gh: str | None = None) -> tuple[Finding, ...]:
    """Look at what guards a bus at GitHub; nothing where the bus is elsewhere.

    Args:
        address: of the bus.
        gh: path of the program; looked for on the PATH by default.
    """
    program = gh or shutil.which("gh")
    repository = find_repository(address, program or "gh")
    if repository is None:
        return ()
    if program is None:
        text = "gh is not installed, so GitHub's own settings cannot be asked"
        return (Finding("github", WARNING, text, f"install gh, or {_BY_HAND}"),)
    try:
        about = repository.ask("{repo}")
    except KakeyaError as error:
        text = f"GitHub's settings cannot be asked: {error.message}"
        return (Finding("github", WARNING, text, error.remedy or _BY_HAND),)
    branch, private = str(about["default_branch"]), bool(about["private"])
    organisation = about["owner"]["type"] == "Organization"
    findings = [_look("branch", lambda: _check_branch(repository, branch))]
    findings += _look_at_machines(repository, branch, organisation=organisation, private=private)
    findings.append(_look("token", lambda: _check_token(repository)))
    findings.append(_look("environment", lambda: _check_environment(repository, branch)))
    return tuple(findings)


def _look(check: str, work: Callable[[], Finding]) -> Finding:
    try:
        return work()
    except KakeyaError as error:
        return _unknown(check, error)
    except (KeyError, TypeError) as error:
        text = f"GitHub's answer has another shape: {error!r}"
        return Finding(f"github-{check}", WARNING, text, _BY_HAND)


def _unknown(check: str, error: KakeyaError) -> Finding:
    text = f"cannot be seen by this user of gh: {error.message}"
    return Finding(f"github-{check}", WARNING, text, error.remedy or _BY_HAND)


def _check_branch(repository: Repository, branch: str) -> Finding:
    if repository.ask(f"{{repo}}/branches/{branch}")["protected"]:
        return Finding("github-branch", OK, f"{branch} is protected")
    return Finding(
        "github-branch",
        FAULT,
        f"{branch} is not protected: whoever may push a request can move what runners trust",
        f"protect {branch} (require a pull request), or trust a commit by hand: trusted.commit",
    )


def _look_at_machines(
    repository: Repository, branch: str, *, organisation: bool, private: bool
) -> Iterator[Finding]:
    """Which machines of yours a pushed workflow may take."""
    try:
        own = int(repository.ask("{repo}/actions/runners")["total_count"])
        groups = _groups(repository) if organisation else []
    except KakeyaError as error:
        yield _unknown("machines", error)
        return
    except (KeyError, TypeError, ValueError) as error:
        text = f"GitHub's answer has another shape: {error!r}"
        yield Finding("github-machines", WARNING, text, _BY_HAND)
        return
    if own:
        told = f"{own} machines are attached to the repository itself: any pushed workflow may take"
        yield Finding(
            "github-machines",
            FAULT,
            f"{told} them",
            "attach them to a runner group of an organisation that is limited to "
            f"{repository.workflow}{branch}, or use the daemon: runner start",
        )
    for group in groups:
        yield _judge_group(repository, group, branch, private=private)
    if not own and not groups:
        yield Finding("github-machines", OK, "no machine of yours is attached to GitHub Actions")


def _groups(repository: Repository) -> list[dict[str, Any]]:
    """The organisation's groups that this repository may use and that have machines."""
    base = f"orgs/{repository.owner}/actions/runner-groups"
    asked = f"{base}?per_page=100&visible_to_repository={repository.name}"
    found: list[dict[str, Any]] = repository.ask(asked)["runner_groups"]
    return [
        group
        for group in found
        if repository.ask(f"{base}/{int(group['id'])}/runners?per_page=1")["total_count"]
    ]


def _judge_group(
    repository: Repository, group: dict[str, Any], branch: str, *, private: bool
) -> Finding:
    name = printable(str(group.get("name", group["id"])), 80)
    wanted = f"{repository.workflow}{branch}"
    allowed = [str(item) for item in group.get("selected_workflows") or []]
    remedy = f"limit the group {name} to the workflow {wanted}"
    if not group.get("restricted_to_workflows"):
        text = f"any workflow of any branch may take the machines of the group {name}"
        return Finding("github-machines", FAULT, text, remedy)
    loose = [item for item in allowed if not _is_fixed(item, repository, wanted)]
    if loose:
        others = printable(", ".join(loose), 300)
        text = f"the group {name} is also open to {others}"
        return Finding("github-machines", FAULT, text, remedy)
    if wanted not in allowed:
        text = f"the group {name} is not open to {wanted}: requests will wait"
        return Finding("github-machines", WARNING, text, remedy)
    if not private and group.get("allows_public_repositories"):
        text = f"the group {name} is limited to the bridge, and open to public repositories"
        hint = "let a public repository's pull requests need approval before workflows run"
        return Finding("github-machines", WARNING, text, hint)
    return Finding("github-machines", OK, f"the group {name} is limited to {wanted}")


def _is_fixed(item: str, repository: Repository, wanted: str) -> bool:
    """Whether a workflow that a group admits is the bridge's, or of another repository's care."""
    here = item.lower().startswith(f"{repository.owner}/{repository.name}/".lower())
    return item == wanted or not here


def _check_token(repository: Repository) -> Finding:
    found = repository.ask("{repo}/actions/permissions/workflow")
    if found["default_workflow_permissions"] != "read":
        return Finding(
            "github-token",
            WARNING,
            "the token of every workflow may write, unless the workflow says less",
            "settings, Actions, General: workflow permissions, read; ours say what they need",
        )
    if found.get("can_approve_pull_request_reviews"):
        return Finding(
            "github-token",
            WARNING,
            "a workflow may approve pull requests, and so move a branch that only they move",
            "settings, Actions, General: take that right away",
        )
    return Finding("github-token", OK, "the token of a workflow may only read by default")


def _check_environment(repository: Repository, branch: str) -> Finding:
    place = f"{{repo}}/environments/{ENVIRONMENT}"
    remedy = f"settings, Environments, {ENVIRONMENT}: deployment branches, {branch} alone"
    try:
        policy = repository.ask(place)["deployment_branch_policy"]
    except DeniedError:
        text = f"there is no environment {ENVIRONMENT}, or this user may not see it"
        return Finding("github-environment", WARNING, text, remedy)
    if policy is None:
        text = f"every branch may use the environment {ENVIRONMENT} and its secrets"
        return Finding("github-environment", FAULT, text, remedy)
    if policy["protected_branches"]:
        text = f"protected branches alone may use the environment {ENVIRONMENT}"
        return Finding("github-environment", OK, text)
    found = repository.ask(f"{place}/deployment-branch-policies")["branch_policies"]
    names = sorted(str(item["name"]) for item in found)
    if names != [branch]:
        others = printable(", ".join(names) or "no branch", 200)
        text = f"the environment {ENVIRONMENT} is open to {others}"
        return Finding("github-environment", FAULT, text, remedy)
    return Finding("github-environment", OK, f"{branch} alone may use {ENVIRONMENT}")
