"""The evidence workflows, run by `act`, on proposals of each kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evidence.promoted import folder_of
from tests.lab import git_in, make_checkout
from tests.proposals import Proposals, make_id, make_record
from tests.servers.github import serve_hub
from tests.servers.transport import Transport
from tests.workflows import Act

pytestmark = [pytest.mark.real("act", "git"), pytest.mark.xdist_group("act")]

CONCLUSIONS = {
    "good": (True, "PASS — 1 record: 1 pass"),
    "failing": (False, "FAIL — 1 record: 1 fail"),
    "tampered": (False, "INTEGRITY BROKEN — 1 record: 1 tampered"),
    # a failing record whose proposal also makes the judge lenient: the base's judge is asked
    "lenient": (False, "FAIL — 1 record: 1 fail"),
    "missing": (False, "INCONCLUSIVE OR MISSING — 1 record: 1 not recomputed"),
}
HIJACKED = ("evidence/__init__.py", "bridge/cli/main.py", "sitecustomize.py", "conftest.py")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Proposals:
    folder = make_checkout(tmp_path_factory.mktemp("origin") / "repo")
    git_in(folder, "branch", "--move", "main")
    return Proposals(folder)


@pytest.fixture(scope="module")
def commits(world: Proposals) -> dict[str, str]:
    found = dict(world.four())
    folder = folder_of(make_id(3))
    files = make_record(world.folder.parent / "jobs", make_id(3), good=False)
    edits = dict.fromkeys(HIJACKED, b"raise SystemExit(0)\n")
    return {**found, "lenient": world.propose("lenient", {folder: files}, **edits)}


@pytest.fixture(scope="module")
def act(world: Proposals, tmp_path_factory: pytest.TempPathFactory) -> Act:
    return Act(tmp_path_factory.mktemp("act"), world.folder)


@pytest.mark.parametrize("name", CONCLUSIONS)
def test_the_check_concludes_rightly(
    name: str, world: Proposals, commits: dict[str, str], act: Act
) -> None:
    event = world.open_request(1 + list(CONCLUSIONS).index(name), commits[name])
    ran = act.run("evidence.yml", "pull_request", event, {})
    succeeded, title = CONCLUSIONS[name]
    assert title in ran.output, ran.output
    assert ran.succeeded == succeeded, ran.output


def test_the_comment_comes_from_the_trusted_branch(
    world: Proposals, commits: dict[str, str], act: Act, serve: Callable[[str], Transport]
) -> None:
    server = serve("http")
    world.open_request(9, commits["lenient"])
    git_in(server.base, "clone", "--quiet", "--mirror", str(world.folder), "act-hub/repo")
    with serve_hub("act-hub/repo", "a-token") as hub:
        head = {"label": "forker:lenient", "sha": commits["lenient"]}
        hub.pulls.append({"number": 9, "head": head})
        run = {"event": "pull_request", "head_branch": "lenient", "head_sha": commits["lenient"]}
        run |= {"head_repository": {"owner": {"login": "forker"}}}
        env = {"GITHUB_API_URL": hub.address, "GITHUB_SERVER_URL": server.address}
        env |= {"GITHUB_REPOSITORY": "act-hub/repo"}
        ran = act.run("evidence-comment.yml", "workflow_run", {"workflow_run": run}, env, "a-token")
    assert ran.succeeded, ran.output
    assert [status["state"] for status in hub.statuses] == ["failure"]
    assert "FAIL — 1 record: 1 fail" in hub.comments[9][0]["body"]
