"""Submitting: what is sent, what is refused before anything is sent, keys, and the code commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import canonical, wire
from bridge.cli.main import main
from bridge.client.api import NO_BUS, Client
from bridge.client.submission import key_digest
from bridge.clock import Clock
from bridge.errors import ManifestError, UsageError
from bridge.records import Prediction
from bridge.states import State
from tests.actors import open_bus
from tests.hostile import CORPUS, HostileManifest, make_valid
from tests.integration.client_rig import (
    Listener,
    Rig,
    ScriptedRunner,
    make_project,
    open_client,
    open_rig,
)
from tests.lab import commit_all, git_in, make_bare
from tests.rawgit import RawGit


def test_a_submission_is_one_orphan_commit_with_a_complete_request(rig: Rig) -> None:
    submission = rig.client.submit("noop", {"seconds": 2}, labels=["mac"], priority=3)
    raw = RawGit(Path(rig.url))
    tip = raw.tip(submission.ref)
    assert raw.run("rev-list", "--count", tip) == "1"
    assert list(raw.files(tip)) == ["request.json"]
    request = wire.parse_request(raw.files(tip)["request.json"])
    assert request == submission.request
    assert request.params == {"seconds": 2, "exit_code": 0}
    assert request.labels == ("any", "mac")
    assert request.label == "any"
    assert request.code == rig.head
    assert submission.ref == f"refs/heads/kakeya/job/any/3{submission.id}"


def test_two_equal_submissions_are_two_jobs(rig: Rig) -> None:
    first, _ = rig.submit()
    second, _ = rig.submit()
    assert first != second
    assert [job.id for job in rig.client.list()] == sorted([first, second], reverse=True)


def test_every_fault_is_told_at_once_at_its_path(rig: Rig) -> None:
    with pytest.raises(ManifestError) as caught:
        rig.client.submit(
            "noop",
            {"seconds": -1, "exit_code": 1.5, "secondz": 3},
            labels=["Not A Label"],
            priority=12,
            queue_timeout_s=0,
            executor="rsh",
            predictions=[Prediction("Bad Id", "text", "1.5")],
        )
    told = str(caught.value)
    for path in (
        "$.params.seconds",
        "$.params.exit_code",
        "$.params.secondz",
        "$.labels[1]",
        "$.priority",
        "$.queue_timeout_s",
        "$.executor",
        "$.predictions[0].id",
        "$.predictions[0].credence",
    ):
        assert path in told
    assert rig.client.list() == ()


def test_texts_of_a_command_line_are_told_with_the_bounds(rig: Rig) -> None:
    with pytest.raises(ManifestError) as caught:
        rig.client.draft(
            {"preset": "noop"},
            texts=["seconds=9999", "exit_code=x", "loose", "exit_code=1", "exit_code=2"],
        )
    told = str(caught.value)
    for words in ("9999", "'x'", "'loose'", "given twice"):
        assert words in told


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, b"bytes", {"a": 1}, "\ud800"])
def test_values_that_json_cannot_hold_are_refused(rig: Rig, value: Any) -> None:
    with pytest.raises(ManifestError) as caught:
        rig.client.submit("noop", {"seconds": value})
    assert "$.params.seconds" in str(caught.value)


@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.name)
def test_a_hostile_manifest_is_refused_at_its_path_and_is_exit_2(
    hostile: HostileManifest,
    rig_for_all: Rig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(rig_for_all.project)
    path = tmp_path / "manifest.json"
    path.write_bytes(hostile.data)
    assert main(["run", "--manifest", str(path), "--bus", rig_for_all.url]) == 2
    captured = capsys.readouterr()
    assert hostile.path in captured.err
    assert all(char.isprintable() or char in "\n\t" for char in captured.err)
    assert captured.out == ""
    assert rig_for_all.client.list() == ()


@pytest.fixture(scope="module")
def rig_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One rig on which nothing is ever submitted."""
    folder = tmp_path_factory.mktemp("refused")
    make_bare(folder / "bus.git")
    found = open_rig(str(folder / "bus.git"), folder)
    yield found
    found.close()


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A client with presets and no bus."""
    folder = tmp_path_factory.mktemp("offline")
    return Client.open(folder=make_project(folder / "project"))


def test_a_whole_manifest_is_taken_as_it_stands(rig: Rig) -> None:
    preset = rig.client.presets()["noop"]
    bus_id = rig.client.bus.identity().id
    manifest = make_valid(preset, bus=bus_id, code=rig.head)
    assert wire.to_json(rig.client.draft(manifest)) == manifest
    other_bus = make_valid(preset, code=rig.head)
    with pytest.raises(ManifestError, match="no runner") as caught:
        rig.client.draft(other_bus)
    assert "$.bus" in str(caught.value)


def test_without_a_bus_a_request_can_still_be_drafted(offline: Client) -> None:
    request = offline.draft({"preset": "noop"}, texts=["seconds=3"])
    assert request.bus == NO_BUS
    assert request.params["seconds"] == 3
    with pytest.raises(UsageError, match="no bus is named") as caught:
        offline.send(request)
    assert "--embedded" in caught.value.remedy


# -- keys ---------------------------------------------------------------------------------


def test_the_same_key_and_manifest_is_the_same_job(rig: Rig) -> None:
    first = rig.client.submit("noop", {"seconds": 1}, key="nightly 7")
    second = rig.client.submit("noop", {"seconds": 1}, key="nightly 7")
    assert (first.created, second.created) == (True, False)
    assert (second.id, second.ref) == (first.id, first.ref)
    assert len(rig.client.list()) == 1


def test_another_manifest_under_the_key_is_refused_and_both_are_named(rig: Rig) -> None:
    first = rig.client.submit("noop", {"seconds": 1}, key="nightly")
    with pytest.raises(UsageError) as caught:
        rig.client.submit("noop", {"seconds": 2}, key="nightly")
    told = str(caught.value)
    assert first.id in told
    assert wire.manifest_digest(first.request) in told
    assert "$.params" in told
    assert len(rig.client.list()) == 1


def test_a_key_reaches_no_ref(rig: Rig) -> None:
    key = "../../heads/main --force\n"
    submission = rig.client.submit("noop", key=key)
    note = rig.client.bus.load_key(f"refs/heads/kakeya/key/{key_digest(key)}")
    assert note is not None
    assert note.id == submission.id
    with pytest.raises(UsageError, match="a key has 1 to"):
        rig.client.submit("noop", key="x" * 201)


def test_two_clients_with_one_key_make_one_job(rig: Rig) -> None:
    found: list[str] = []

    def submit(number: int) -> None:
        client = open_client(
            rig.url, rig.project, rig.folder / f"client-{number}", Clock(), Listener()
        )
        with client:
            found.append(client.submit("noop", key="once").id)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert [job.id for job in rig.client.list()] == [found[0]]


# -- the code commit ----------------------------------------------------------------------


def test_code_that_no_runner_could_get_is_refused_with_a_remedy(rig: Rig) -> None:
    (rig.project / "new.py").write_text("print(1)\n")
    commit = commit_all(rig.project, "not pushed")
    with pytest.raises(UsageError, match=commit) as caught:
        rig.client.submit("noop")
    assert "--push-code" in caught.value.remedy
    assert rig.client.list() == ()


def test_push_code_sends_it_by_name(rig: Rig) -> None:
    (rig.project / "new.py").write_text("print(1)\n")
    commit = commit_all(rig.project, "not pushed")
    submission = rig.client.submit("noop", push_code=True)
    assert submission.request.code == commit
    raw = RawGit(Path(rig.url))
    assert raw.tip(f"refs/heads/kakeya/code/{commit}") == commit
    again = rig.client.submit("noop", push_code=True)
    assert again.id != submission.id


def test_code_below_what_a_runner_trusts_need_not_be_on_the_bus(rig: Rig) -> None:
    old = rig.head
    (rig.project / "new.py").write_text("print(1)\n")
    rig.runner.beat(trusted=commit_all(rig.project, "the runner has pulled this"))
    assert rig.client.submit("noop", code=old).request.code == old


def test_code_on_any_branch_of_the_bus_is_enough(rig: Rig) -> None:
    (rig.project / "new.py").write_text("print(1)\n")
    commit = commit_all(rig.project, "pushed by hand")
    git_in(rig.project, "push", "--quiet", rig.url, "HEAD:refs/heads/topic")
    assert rig.client.submit("noop").request.code == commit


@pytest.mark.parametrize("revision", ["no-such-branch", "--upload-pack=x", "HEAD:README.md", ""])
def test_a_revision_that_is_no_commit_is_refused(rig: Rig, revision: str) -> None:
    with pytest.raises(UsageError, match="names no commit"):
        rig.client.submit("noop", code=revision)


# -- the worktree -------------------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a checkout, git's own included."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_dirty_and_half_merged_tree_is_neither_read_nor_changed(rig: Rig) -> None:
    (rig.project / "README.md").write_text("theirs\n")
    git_in(rig.project, "checkout", "--quiet", "-b", "theirs")
    commit_all(rig.project, "theirs")
    git_in(rig.project, "checkout", "--quiet", "-")
    (rig.project / "README.md").write_text("ours\n")
    rig.runner.beat(trusted=commit_all(rig.project, "ours"))
    with pytest.raises(AssertionError):
        git_in(rig.project, "merge", "theirs")  # conflicts, and stays half done
    (rig.project / "presets" / "noop.yaml").write_text("name: [broken\n")
    (rig.project / "presets" / "mine.yaml").write_text("name: mine\n")
    before = snapshot(rig.project)
    client = open_client(rig.url, rig.project, rig.folder / "again", Clock(), Listener())
    with client:
        submission = client.submit("noop")
        assert "mine" not in client.presets()
    assert snapshot(rig.project) == before
    assert submission.request.code == rig.head
    assert set(submission.edits) == {"README.md", "presets/mine.yaml", "presets/noop.yaml"}


def test_presets_fall_back_to_the_installed_package(rig: Rig, tmp_path: Path) -> None:
    bare = make_project(tmp_path / "bare", presets=False)
    client = open_client(rig.url, bare, tmp_path / "bare-client", Clock(), Listener())
    with client:
        catalog, source = client.catalog()
        assert "installed package" in source
        assert "noop" in catalog.presets


def test_outside_a_checkout_a_full_commit_id_is_needed(rig: Rig, tmp_path: Path) -> None:
    client = open_client(rig.url, None, tmp_path / "nowhere", Clock(), Listener())
    with client:
        with pytest.raises(UsageError, match="no git checkout"):
            client.submit("noop")
        git_in(rig.project, "push", "--quiet", rig.url, "HEAD:refs/heads/main")
        submission = client.submit("noop", code=rig.head)
    assert submission.request.requested_by
    assert submission.edits == ()


def test_no_git_identity_is_needed(rig: Rig) -> None:
    submission = rig.client.submit("noop")
    raw = RawGit(Path(rig.url))
    author = raw.run("log", "-1", "--format=%an <%ae>", submission.ref)
    assert author == f"{submission.request.requested_by} <requester@kakeya.invalid>"


def test_git_user_name_is_who_asks(rig: Rig) -> None:
    git_in(rig.project, "config", "user.name", "Ada\tLovelace")
    assert rig.client.submit("noop").request.requested_by == "Ada Lovelace"


def test_a_bus_that_is_none_yet_says_how_to_make_it(tmp_path: Path) -> None:
    make_bare(tmp_path / "empty.git")
    project = make_project(tmp_path / "project")
    client = open_client(
        str(tmp_path / "empty.git"), project, tmp_path / "client", Clock(), Listener()
    )
    with client, pytest.raises(UsageError, match="there is no bus") as caught:
        client.submit("noop")
    assert "kakeya_remote bus init" in caught.value.remedy


def test_status_of_a_malformed_request_names_its_problems(rig: Rig) -> None:
    raw = RawGit(Path(rig.url))
    job = canonical.make_ulid(1_760_000_000_000, bytes(10))
    commit = raw.commit({"request.json": b'{"schema":"kakeya.request/1"}'}, message="please")
    raw.point(f"refs/heads/kakeya/job/any/5{job}", commit)
    status = rig.client.status(job)
    assert status.state is State.QUEUED
    assert status.request is None
    assert any("'id' is a required property" in problem for problem in status.problems)


def test_runners_are_listed_with_what_they_say(rig: Rig) -> None:
    other = ScriptedRunner(open_bus(rig.url, rig.folder / "other", init=False), "h200")
    other.beat()
    other.bus.close()
    assert list(rig.client.runners()) == ["h200", "mac-m4"]
    assert rig.client.runners()["mac-m4"].facts.trusted == rig.head
