"""The evidence workflows, run by `act`, on proposals of each kind."""

from __future__ import annotations

import pytest

from evidence.promoted import folder_of
from tests.lab import git_in, make_checkout
from tests.proposals import Proposals, make_id, make_record
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


def open_request(world: Proposals, number: int, commit: str) -> dict[str, object]:
    """The refs and the event of a pull request."""
    git_in(world.folder, "checkout", "--quiet", "--detach", world.base)
    git_in(world.folder, "merge", "--quiet", "--no-ff", "--message", "merge", commit)
    git_in(world.folder, "update-ref", f"refs/pull/{number}/merge", "HEAD")
    git_in(world.folder, "update-ref", f"refs/pull/{number}/head", commit)
    git_in(world.folder, "checkout", "--quiet", "main")
    base = {"sha": world.base, "ref": "main"}
    return {"pull_request": {"number": number, "base": base, "head": {"sha": commit}}}


@pytest.mark.parametrize("name", CONCLUSIONS)
def test_the_check_concludes_rightly(
    name: str, world: Proposals, commits: dict[str, str], act: Act
) -> None:
    event = open_request(world, 1 + list(CONCLUSIONS).index(name), commits[name])
    ran = act.run("evidence.yml", "pull_request", event, {})
    succeeded, title = CONCLUSIONS[name]
    assert title in ran.output, ran.output
    assert ran.succeeded == succeeded, ran.output
