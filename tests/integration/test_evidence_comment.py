"""`evidence comment`: the half that may write, and that believes nothing of the other half."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.main import main
from bridge.client.github import GitHub
from bridge.errors import ExitCode, UsageError
from evidence.report.markdown import MARKER
from tests.proposals import Proposals
from tests.servers.github import Hub, serve_hub
from tests.servers.transport import Transport

pytestmark = pytest.mark.real("git", "nginx", "fcgiwrap", "git-http-backend")

REPOSITORY, TOKEN = "someone/something", "a-token-for-tests"
STATES = {"good": "success", "failing": "failure", "tampered": "failure", "missing": "failure"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Proposals:
    return Proposals(tmp_path_factory.mktemp("origin") / "repo")


@pytest.fixture(scope="module")
def commits(world: Proposals) -> dict[str, str]:
    found = dict(world.four())
    for number, name in enumerate(STATES, 1):
        world.open_request(number, found[name])
    return found


@pytest.fixture
def hub(
    world: Proposals,
    commits: dict[str, str],
    serve: Callable[[str], Transport],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Hub]:
    server = serve("http")
    place = server.base / REPOSITORY
    if place.parent.exists():
        shutil.rmtree(place.parent)
    shutil.copytree(world.folder / ".git", place)
    with serve_hub(REPOSITORY, TOKEN) as found:
        for number, name in enumerate(STATES, 1):
            head = {"label": f"forker:{name}", "sha": commits[name]}
            found.pulls.append({"number": number, "head": head})
        settings = {"API_URL": found.address, "SERVER_URL": server.address}
        for key, value in {**settings, "REPOSITORY": REPOSITORY, "TOKEN": TOKEN}.items():
            monkeypatch.setenv(f"GITHUB_{key}", value)
        for key in ("COUNT", "KEY_0", "VALUE_0"):  # what the command sets is taken back
            monkeypatch.setenv(f"GIT_CONFIG_{key}", "0")
        yield found


def run(folder: Path, name: str, commit: str) -> int:
    event: dict[str, Any] = {
        "workflow_run": {
            "head_branch": name,
            "head_sha": commit,
            "head_repository": {"owner": {"login": "forker"}},
        }
    }
    path = folder / "event.json"
    path.write_text(json.dumps(event))
    return main(["evidence", "comment", "--event", str(path)])


@pytest.mark.parametrize("name", STATES)
def test_each_kind_gets_its_status_and_its_comment(
    name: str, hub: Hub, commits: dict[str, str], tmp_path: Path
) -> None:
    assert run(tmp_path, name, commits[name]) == ExitCode.DONE
    (status,) = hub.statuses
    assert status["commit"] == commits[name]
    assert (status["state"], status["context"]) == (STATES[name], "kakeya/evidence")
    ((comment,),) = hub.comments.values()
    assert comment["body"].startswith(MARKER)
    assert status["description"] in comment["body"]


def test_one_comment_is_kept_up_to_date_and_nobody_elses_is_touched(
    hub: Hub, commits: dict[str, str], tmp_path: Path
) -> None:
    number = list(STATES).index("good") + 1
    planted = {"id": 900, "user": {"login": "mallory", "type": "User"}, "body": f"{MARKER} PASS"}
    noise = [{**planted, "id": item, "body": "hello"} for item in range(1000, 1150)]
    hub.comments[number] = [dict(planted), *noise]
    for _ in range(2):
        assert run(tmp_path, "good", commits["good"]) == ExitCode.DONE
    assert hub.comments[number][0] == planted
    assert len(hub.comments[number]) == len(noise) + 2


def test_a_head_that_moved_on_is_left_to_its_next_run(
    hub: Hub, commits: dict[str, str], tmp_path: Path
) -> None:
    assert run(tmp_path, "good", "0" * 40) == ExitCode.DONE
    hub.pulls[0]["head"]["sha"] = commits["failing"]  # GitHub's merge ref is behind its answer
    assert run(tmp_path, "good", commits["failing"]) == ExitCode.DONE
    assert hub.statuses == []
    assert hub.comments == {}


def test_a_proposal_that_conflicts_is_never_called_good(
    hub: Hub, commits: dict[str, str], tmp_path: Path
) -> None:
    hub.pulls[0]["number"] = 77  # GitHub keeps no refs/pull/77/merge while it cannot be merged
    assert run(tmp_path, "good", commits["good"]) in (ExitCode.DONE, ExitCode.INTERNAL)
    assert hub.statuses == []


def test_a_refused_call_is_told_and_never_shows_the_token(
    hub: Hub, commits: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.token = "another"
    assert run(tmp_path, "good", commits["good"]) == ExitCode.INTERNAL
    told = capsys.readouterr().err
    assert "401" in told
    assert TOKEN not in told


@pytest.mark.parametrize("api", ["http://example.invalid", "file:///etc", "ftp://127.0.0.1"])
def test_the_token_goes_to_no_other_kind_of_address(api: str) -> None:
    with pytest.raises(UsageError, match="no https address"):
        GitHub(api, "https://github.com", REPOSITORY, TOKEN)
