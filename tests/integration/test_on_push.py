"""Requests that stand on a branch, so that GitHub Actions sees the push (docs/actions.md)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge import wire
from bridge.bus.commits import compose_request
from bridge.bus.refs import JobRef, Refs
from bridge.bus.remote import Outcome, Update
from bridge.bus.requester import RequesterBus
from bridge.cli.main import main
from bridge.client.api import Client
from bridge.errors import BusError, UsageError
from bridge.states import Event, State
from tests import samples
from tests.actors import FAST, WHEN_S, Actor, open_bus
from tests.integration.client_rig import Listener, Rig, ScriptedRunner, open_client, open_rig
from tests.lab import commit_all, git_in, make_bare
from tests.rawgit import RawGit
from tests.servers.transport import Transport

HISTORY = 60


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A bus whose default branch has a history, a program, and folders with the names of ours."""
    raw = make_bare(tmp_path / "bus.git")
    found = open_rig(str(tmp_path / "bus.git"), tmp_path)
    for name in ("logs/old.txt", "artifacts/kept", ".github/workflows/request.yml", "run.sh"):
        path = found.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    (found.project / "run.sh").chmod(0o755)
    commit_all(found.project, "a program")
    git_in(found.project, "push", "--quiet", found.url, "HEAD:refs/heads/main")
    raw.run("symbolic-ref", "HEAD", "refs/heads/main")
    edits = [
        f"commit refs/heads/main\ncommitter A <a@b.invalid> {number} +0000\ndata 4\nedit\n"
        f"{'from refs/heads/main^0' + chr(10) if number == 1 else ''}"
        f"M 100644 inline README.md\ndata 4\n{number:04}\n"
        for number in range(1, HISTORY)
    ]
    raw.run("fast-import", "--quiet", data="".join(edits).encode())
    git_in(found.project, "pull", "--quiet", "--ff-only", found.url, "main")
    found.client.close()
    found.client = reopen(found)
    found.runner.beat(trusted=found.head)
    yield found
    found.close()


def reopen(rig: Rig, name: str = "client") -> Client:
    """A client on the same project as it is now."""
    return open_client(rig.url, rig.project, rig.folder / name, rig.clock.clock, Listener())


def run_to_end(rig: Rig, ref: str) -> None:
    rig.runner.claim(ref)
    rig.runner.log(ref, b"hello from the job\n")
    rig.runner.finish(ref, artifacts={"kept": b"artifacts/kept\n", "heat.png": b"\x89PNG\0"})


def test_its_commit_is_a_child_of_the_default_branch_with_one_file_more(rig: Rig) -> None:
    submission = rig.client.submit("noop", on_push=True)
    raw = RawGit(Path(rig.url))
    assert raw.run("rev-parse", f"{submission.ref}^") == rig.head
    assert raw.run("rev-list", "--count", f"main..{submission.ref}") == "1"
    changed = raw.run("diff", "--name-status", "main", submission.ref)
    assert changed == "A\trequest.json"
    message = raw.run("log", "-1", "--format=%B", submission.ref)
    assert "skip ci" not in message  # or GitHub would not look
    stored = raw.run("cat-file", "blob", f"{submission.ref}:request.json").encode() + b"\n"
    assert wire.parse_request(stored) == submission.request


def test_a_job_on_a_branch_lives_as_any_other(rig: Rig, tmp_path: Path) -> None:
    submission = rig.client.submit("noop", on_push=True, key="nightly")
    run_to_end(rig, submission.ref)
    assert rig.client.wait(submission.id, 5.0).verdict == "pass"
    chain = rig.client.bus.load(submission.ref)
    assert chain.fault is None
    assert {name.partition("/")[0] for name in chain.files} == {
        *("request.json", "claim.json", "log.json", "result.json", "evidence.json"),
        *("logs", "artifacts"),
    }
    assert "logs/old.txt" not in chain.files
    assert [chunk.data for chunk in rig.client.logs(submission.id)] == [b"hello from the job\n"]
    results = rig.client.results(submission.id, tmp_path / "results")
    assert {Path(path).name for path in results.files} >= {"kept", "heat.png", "result.json"}
    raw = RawGit(Path(rig.url))
    # the branch keeps its workflow files: a push that removed them would need a right of its own
    assert raw.run("cat-file", "-e", f"{submission.ref}:.github/workflows/request.yml") == ""
    assert "100755" in raw.run("ls-tree", submission.ref, "run.sh")
    for commit in raw.run("rev-list", f"{submission.request.code}..{submission.ref}").split()[:-1]:
        assert "[skip ci]" in raw.run("log", "-1", "--format=%B", commit)


def test_a_reader_fetches_no_history_of_the_branch(rig: Rig) -> None:
    submission = rig.client.submit("noop", on_push=True)
    run_to_end(rig, submission.ref)
    stranger = open_bus(rig.url, rig.folder / "stranger", init=False)
    assert stranger.find(submission.id) == submission.ref
    assert stranger.load(submission.ref).state is State.DONE
    counted = RawGit(rig.folder / "stranger" / "jobs.git")
    commits = int(counted.run("rev-list", "--count", "--all"))
    assert 5 <= commits < HISTORY
    again = rig.client.submit("noop", on_push=True)
    assert stranger.load_all([submission.ref, again.ref])[1].request == again.request
    stranger.poll()
    assert stranger.load(again.ref).request == again.request
    stranger.close()


def test_several_are_read_at_once_beside_orphans(rig: Rig) -> None:
    refs = [rig.client.submit("noop", on_push=bool(number % 2)).ref for number in range(6)]
    reader = open_bus(rig.url, rig.folder / "reader", init=False)
    reader.poll()
    chains = {chain.ref: chain for chain in reader.load_all(refs)}
    assert set(chains) == set(refs)
    assert [bool(chains[ref].base) for ref in refs] == [False, True] * 3
    assert all(chain.fault is None and chain.request for chain in chains.values())
    reader.close()


def test_it_folds_without_the_files_of_the_branch(rig: Rig) -> None:
    submission = rig.client.submit("noop", on_push=True)
    run_to_end(rig, submission.ref)
    assert rig.client.fold().ids == (submission.id,)
    names = RawGit(Path(rig.url)).run("ls-tree", "-r", "--name-only", "refs/heads/kakeya/ledger")
    assert "result.json" in names
    assert "README.md" not in names
    assert "workflows" not in names
    reader = reopen(rig, "later")
    assert reader.status(submission.id).verdict == "pass"
    reader.close()


@pytest.mark.parametrize("name", [".github", "README.md", "run.sh", "presets", "added.py"])
def test_a_request_that_changes_anything_else_is_rejected_by_name(rig: Rig, name: str) -> None:
    raw = RawGit(Path(rig.url))
    request = samples.make_request(rig.client.bus.identity().id)
    rows = [row.split() for row in raw.run("ls-tree", "main").splitlines()]
    entries = {row[3]: (row[0].lstrip("0"), row[2]) for row in rows}
    entries["request.json"] = ("100644", raw.store("blob", wire.to_bytes(request)))
    entries[name] = ("100644", raw.store("blob", b"mine"))
    tree = raw.tree(dict(sorted(entries.items())))
    commit = raw.commit(tree, message="kakeya: request noop, by mallory", parents=[rig.head])
    ref = rig.client.bus.refs.job(JobRef("any", 5, request.id))
    raw.point(ref, commit)
    chain = rig.client.bus.load(ref)
    assert (chain.state, chain.request) == (State.QUEUED, None)
    (problem,) = chain.problems
    assert repr(name) in problem
    runner = ScriptedRunner(open_bus(rig.url, rig.folder / "other", init=False), "other")
    assert runner.advance(ref, Event.REJECTED).state is State.REJECTED
    runner.bus.close()


def test_the_setting_says_so_for_every_request(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    (rig.project / "kakeya.yaml").write_text(f"bus: {rig.url}\non_push: true\nprofile: local\n")
    raw = RawGit(Path(rig.url))
    client = Client.open(folder=rig.project)
    ref = client.submit("noop").ref
    assert raw.run("rev-parse", f"{ref}^") == rig.head
    client.close()
    with contextlib.chdir(rig.project):
        code = main(["--bus", rig.url, "run", "noop", "--on-push"])
    job = capsys.readouterr().out.strip()
    assert code == 0
    found = raw.run("for-each-ref", "--format=%(objectname)", f"refs/heads/kakeya/job/any/5{job}")
    assert raw.run("log", "-1", "--format=%P", found) == rig.head


def test_a_remote_without_a_default_branch_says_what_to_do(tmp_path: Path) -> None:
    make_bare(tmp_path / "bus.git")
    rig = open_rig(str(tmp_path / "bus.git"), tmp_path)
    with pytest.raises(BusError, match="no default branch") as caught:
        rig.client.submit("noop", on_push=True)
    assert "--on-push" in caught.value.remedy
    rig.close()


def test_a_variable_that_is_neither_true_nor_false_is_refused(tmp_path: Path) -> None:
    from bridge.client.settings import load_settings

    with pytest.raises(UsageError, match="neither true nor false"):
        load_settings({}, {"KAKEYA_ON_PUSH": "1"}, folder=tmp_path, checkout=None)


@pytest.mark.real("git", "git-http-backend", "nginx", "fcgiwrap")
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "git"])
def test_over_http_by_either_way(
    serve: Callable[[str], Transport], tmp_path: Path, fast: bool
) -> None:
    remote = serve("http").create()
    url, raw = remote.url, RawGit(remote.path)
    names = {name: ("100644", raw.store("blob", name.encode())) for name in ("README", "run.sh")}
    raw.run("update-ref", "refs/heads/main", raw.commit(raw.tree(names), message="a program"))
    raw.run("symbolic-ref", "HEAD", "refs/heads/main")
    first = open_bus(url, tmp_path / "first")
    first.close()

    def actor(name: str) -> Actor:
        bus = RequesterBus(url, tmp_path / name, refs=Refs(), profile=FAST, fast=fast)
        return Actor(bus, name)

    asker, runner = actor("asker"), actor("runner")
    base = asker.bus.fetch_base()
    assert (base.oid, dict(base.entries)) == (raw.tip("main"), names)
    request = samples.make_request(asker.bus.identity().id)
    ref = asker.bus.refs.job(JobRef("any", 5, request.id))
    commit = compose_request(request, when_s=WHEN_S, base=base)
    assert asker.bus.swap([Update(ref, None, commit)]) == (Outcome.WON,)
    runner.bus.poll()
    assert runner.bus.load(ref).request == request
    chain = runner.advance(ref, Event.CLAIM, Event.LOG, Event.DONE)
    assert (chain.state, chain.fault) == (State.DONE, None)
    assert asker.bus.load(ref).result == chain.result
    assert raw.run("ls-tree", "--name-only", ref, "README") == "README"
    for one in (asker, runner):
        one.bus.close()
