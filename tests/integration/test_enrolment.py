"""A runner's key from its machine to the list that others trust: enrolled, rotated, revoked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import proc
from bridge.bus.enrolled import keyring_at
from bridge.bus.requester import RequesterBus
from bridge.git import Git
from bridge.signers import REVOKED_PATH, SIGNERS_PATH
from tests.actors import FAST
from tests.lab import Lab, git_in, make_bare, make_checkout, open_lab
from tests.servers.child import server_env
from tests.waiting import until


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose trusted checkout may be changed."""
    checkout = make_checkout(tmp_path / "trusted")
    make_bare(tmp_path / "bus.git")
    found = open_lab(checkout, str(tmp_path / "bus.git"), tmp_path / "lab")
    yield found
    found.bus.close()


def say(lab: Lab, *words: str, code: int = 0) -> str:
    """What a command of the lab's program says; it must end with `code`."""
    done = proc.run(
        [sys.executable, "-m", "bridge.cli.main", *words],
        cwd=lab.checkout,
        env={**server_env(lab.folder), "PYTHONPATH": str(lab.checkout)},
        timeout_s=240,
    )
    assert done.code == code, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode() + done.stderr.decode()


def merge(lab: Lab, answer: str) -> str:
    """Merge the branch of an answer into the trusted checkout, as a reviewer would."""
    branch = str(json.loads(answer.splitlines()[0])["branch"])
    git_in(lab.checkout, "merge", "--quiet", "--ff-only", branch)
    return branch


def test_a_key_is_enrolled_rotated_and_revoked(own: Lab, tmp_path: Path) -> None:
    config = str(own.settings("lab-1"))
    before = git_in(own.checkout, "status", "--porcelain")
    answer = say(own, "runner", "enroll", "--config", config, "--json")
    assert git_in(own.checkout, "status", "--porcelain") == before
    branch = merge(own, answer)
    assert branch.startswith("enroll/lab-1-")
    git_in(own.checkout, "fsck", "--strict", "--no-dangling")
    changed = git_in(own.checkout, "diff", "--name-only", "HEAD~1", "HEAD")
    assert changed == SIGNERS_PATH
    assert "enrolled already" in say(own, "runner", "enroll", "--config", config, code=2)

    with own.runner():
        assert "enrolled as lab-1" in own.words()
        job = own.wait(own.submit("noop", code=git_in(own.checkout, "rev-parse", "HEAD"))).job.id
    told = say(own, "status", job, "--bus", own.url)
    assert "signed by lab-1, enrolled" in told
    assert (
        json.loads(say(own, "wait", job, "--bus", own.url, "--json").splitlines()[0])["signed"][
            "standing"
        ]
        == "enrolled"
    )
    assert "enrolled" in say(own, "list", "--bus", own.url)
    assert "signed by lab-1, enrolled" in say(own, "results", job, "--bus", own.url)

    merge(own, say(own, "runner", "enroll", "--config", config, "--rotate", "--json"))
    git = Git(own.checkout)
    try:
        old, new = keyring_at(git, git.resolve("HEAD")).keys_of("lab-1")
    finally:
        git.close()
    with own.runner():
        assert f"signs with {new}" in own.words()
    assert "signed by lab-1, enrolled" in say(own, "status", job, "--bus", own.url)

    merge(own, say(own, "runner", "revoke", old, "--json"))
    assert git_in(own.checkout, "diff", "--name-only", "HEAD~1", "HEAD") == REVOKED_PATH
    told = say(own, "status", job, "--bus", own.url)
    assert "forged" in told
    assert "revoked key" in told
    assert "no key that counts" in say(own, "runner", "revoke", old, code=2)
    # the job that the revoked key had ended is done again, by the key that took its place
    git = Git(own.checkout)
    ring = keyring_at(git, git.resolve("HEAD"))
    git.close()
    view = RequesterBus(own.url, tmp_path / "view", refs=own.bus.refs, profile=FAST, keyring=ring)
    try:
        ref = view.find(job)
        assert ref is not None
        assert not view.load(ref).ended
        with own.runner():
            until(lambda: view.load(ref).ended, bound_s=120, what="the job done again")
        standing = view.load(ref).standing
        assert standing is not None
        assert standing.key == new
    finally:
        view.close()


def test_a_name_that_is_enrolled_with_another_key_does_not_start(own: Lab) -> None:
    other = say(own, "runner", "key", "--config", str(own.settings("lab-2"))).strip()
    line = other.replace("lab-2 ", "lab-1 ", 1)
    merge(own, say(own, "runner", "enroll", "--line", line, "--json"))
    config = str(own.settings("lab-1"))
    told = say(own, "runner", "once", "--config", config, "--timeout", "1", code=4)
    assert "enrolled with another key" in told
    told = say(own, "runner", "once", "--config", str(own.settings("lab-2")), code=4)
    assert "enrolled for 'lab-1'" in told
    strict = str(own.settings("lab-3", require_enrolled=True))
    told = say(own, "runner", "once", "--config", strict, code=4)
    assert "'lab-3' is not enrolled, and require_enrolled is set" in told
    assert "no key that counts" in say(own, "runner", "revoke", "lab-9", code=2)
    line = other.replace("lab-2 ", "embedded ", 1)
    assert "every checkout has" in say(own, "runner", "enroll", "--line", line, code=2)
    assert "is wanted" in say(own, "runner", "enroll", "--line", "lab-1 rsa x", code=2)
