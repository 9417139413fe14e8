"""retry, why, list with filters and the table of runners, on a real bus."""

from __future__ import annotations

import json
import re

import pytest

from bridge.cli.main import main
from bridge.errors import UsageError
from bridge.records import Decline, Prediction
from bridge.states import Event, State
from bridge.wire import to_json
from tests.integration.client_rig import Rig, open_client
from tests.lab import commit_all


def finish(rig: Rig, job: tuple[str, str], event: Event = Event.DONE) -> str:
    rig.runner.claim(job[1])
    rig.runner.finish(job[1], event)
    return job[0]


def submit(rig: Rig, preset: str = "noop", **options: object) -> tuple[str, str]:
    rig.clock.now_s += 1  # a later id
    return rig.submit(preset, **options)


# -- retry --------------------------------------------------------------------------------


def test_a_retry_is_a_new_request_for_the_same_thing(rig: Rig) -> None:
    expected = Prediction("ends", "it ends", "0.9")
    job, ref = submit(
        rig, params={"seconds": 2}, labels=["mac"], priority=2, predictions=[expected]
    )
    finish(rig, (job, ref), Event.FAILED)
    before = rig.client.status(job).request
    assert before is not None
    again = rig.client.retry(job)
    assert again.created
    assert again.id != job
    old, new = to_json(before), to_json(again.request)
    moved = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    assert moved <= {"id", "nonce", "requested_at", "retry_of"}
    assert again.request.retry_of == job
    assert rig.client.status(again.id).state is State.QUEUED


def test_a_folded_job_can_be_retried(rig: Rig) -> None:
    job = finish(rig, submit(rig), Event.LOST)
    rig.client.fold()
    assert rig.client.retry(job).request.retry_of == job


def test_a_job_that_goes_on_cannot(rig: Rig) -> None:
    job, _ = submit(rig)
    with pytest.raises(UsageError, match="has not ended \\(queued\\)") as caught:
        rig.client.retry(job)
    assert f"wait {job}" in caught.value.remedy
    assert main(["--bus", rig.url, "retry", job]) == 2


def test_a_retry_takes_the_preset_of_today(rig: Rig) -> None:
    job = finish(rig, submit(rig), Event.FAILED)
    before = rig.client.status(job).request
    preset = rig.project / "presets" / "noop.yaml"
    text = preset.read_text("utf-8")
    preset.write_text(re.sub(r"wall_s: [0-9]+", "wall_s: 77", text))
    commit_all(rig.project, "another limit")
    later = open_client(rig.url, rig.project, rig.folder / "later", rig.clock.clock, rig.listener)
    rig.runner.beat(trusted=rig.head)
    request = later.retry(job).request
    assert before is not None
    assert request.preset.digest == later.presets()["noop"].digest
    assert request.preset.digest != before.preset.digest
    assert request.code == before.code
    later.close()


def test_the_retry_command(
    rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finish(rig, submit(rig), Event.FAILED)
    monkeypatch.chdir(rig.project)
    assert main(["--bus", rig.url, "retry", job, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["request"]["retry_of"] == job


# -- list ---------------------------------------------------------------------------------


def test_filters(rig: Rig) -> None:
    done = finish(rig, submit(rig))
    failed = finish(rig, submit(rig, labels=["mac"]), Event.FAILED)
    queued, _ = submit(rig, "probe")
    waiting, _ = submit(rig)

    def ids(**options: object) -> list[str]:
        return [job.id for job in rig.client.list(**options)]  # type: ignore[arg-type]

    assert ids() == [waiting, queued, failed, done]
    assert ids(limit=2) == [waiting, queued]
    assert ids(states=["queued"]) == [waiting, queued]
    assert ids(states=["done", "failed"]) == [failed, done]
    assert ids(preset="probe") == [queued]
    assert ids(label="mac") == [failed]
    assert ids(by="nobody") == []
    assert ids(preset="noop", limit=1) == [waiting]
    rig.client.fold()
    assert ids() == [waiting, queued]
    assert ids(folded=True) == [waiting, queued, failed, done]
    assert ids(folded=True, limit=3) == [waiting, queued, failed]
    assert ids(folded=True, states=["done"]) == [done]


def test_the_list_command(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    job = finish(rig, submit(rig))
    assert main(["--bus", rig.url, "list", "--state", "queued"]) == 0
    assert "--all looks into the ledger" in capsys.readouterr().err
    assert main(["--bus", rig.url, "list", "--state", "done", "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)["jobs"]] == [job]
    assert main(["--bus", rig.url, "list", "--state", "sleeping"]) == 2


# -- runners ------------------------------------------------------------------------------


def test_why_reads_the_runners_own_reasons(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    job, _ = submit(rig)
    rig.runner.beat(declines=[Decline(job, "preset", "another version")])
    found = rig.client.why(job)
    assert [(item.runner, item.reason) for item in found.reasons] == [("mac-m4", "preset")]
    assert found.stuck
    assert main(["--bus", rig.url, "why", job]) == 0
    out = capsys.readouterr().out
    assert "mac-m4" in out
    assert main(["--bus", rig.url, "why", job, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "kakeya.why/1"


def test_status_without_an_id_shows_the_runners(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    job, ref = submit(rig)
    rig.runner.claim(ref)
    (runner,) = rig.client.fleet()
    assert (runner.name, runner.state, runner.lease_s) == ("mac-m4", "alive", 8.0)
    rig.clock.now_s += 100
    (runner,) = rig.client.fleet()
    assert runner.state == "silent"
    assert runner.age_s >= 100
    assert main(["--bus", rig.url, "status", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "kakeya.runners/1"
    assert [held["id"] for held in data["runners"][0]["claims"]] == [job]
    assert main(["--bus", rig.url, "status"]) == 0
    table = capsys.readouterr().out
    for cell in ("mac-m4", job, rig.head[:12], "4/4 CPUs"):
        assert cell in table
