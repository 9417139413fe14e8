"""Requesters and folded jobs: everything is found as before, by the API and by the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.main import main
from bridge.errors import ExitCode, IntegrityError, UsageError
from bridge.records import Held
from bridge.states import Event, State
from tests.integration.client_rig import Rig, open_client
from tests.rawgit import RawGit


def finish(rig: Rig, count: int = 1, **options: Any) -> list[str]:
    """Jobs that ran to a pass, oldest first."""
    ids = []
    for _ in range(count):
        rig.clock.now_s += 1  # later ids
        job, ref = rig.submit(**options)
        rig.runner.claim(ref)
        rig.runner.log(ref, b"hello from the job\n")
        rig.runner.finish(ref, artifacts={"heat.png": b"\x89PNG\0"})
        ids.append(job)
    return ids


def run(rig: Rig, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["--bus", rig.url, *words])
    return code, capsys.readouterr().out


def test_a_folded_job_is_found_by_every_method(rig: Rig, tmp_path: Path) -> None:
    (job,) = finish(rig)
    before = rig.client.status(job)
    folded = rig.client.fold()
    assert (folded.ids, folded.left, folded.live) == ((job,), (), 0)
    after = rig.client.status(job)
    assert (after.state, after.result, after.runner, after.tip) == (
        before.state,
        before.result,
        before.runner,
        before.tip,
    )
    outcome = rig.client.wait(job, 5.0)
    assert (outcome.exit_code, outcome.verdict) == (ExitCode.DONE, "pass")
    assert b"".join(chunk.data for chunk in rig.client.logs(job)) == b"hello from the job\n"
    results = rig.client.results(job, tmp_path / "out")
    assert {"evidence.json", "artifacts/heat.png", "logs/1-000001.txt"} <= set(results.files)
    assert rig.client.evidence(job) == results.evidence
    with pytest.raises(UsageError, match="has ended already"):
        rig.client.cancel(job)


def test_a_job_that_is_folded_while_somebody_waits(rig: Rig) -> None:
    job, ref = rig.submit()
    outcome = rig.wait_with(
        job,
        lambda: rig.runner.claim(ref),
        lambda: (rig.runner.finish(ref), rig.client.fold()),
    )
    assert outcome.exit_code is ExitCode.DONE


def test_the_newest_stay_where_they_are(rig: Rig) -> None:
    ids = finish(rig, 3)
    waiting, _ = rig.submit()
    assert rig.client.fold(keep=1).ids == tuple(ids[:2])
    assert {job.job.id for job in rig.runner.bus.load_all(list(rig.runner.bus.poll().jobs))} == {
        ids[2],
        waiting,
    }
    assert rig.client.fold(older_than_s=1e6).ids == ()
    assert rig.client.fold().ids == (ids[2],)
    assert rig.client.status(waiting).state is State.QUEUED


def test_a_key_outlives_the_fold_of_its_job(rig: Rig) -> None:
    first = rig.client.submit("noop", key="nightly")
    rig.runner.claim(first.ref)
    rig.runner.finish(first.ref)
    rig.client.fold()
    again = rig.client.submit("noop", key="nightly")
    assert (again.id, again.created, again.ref) == (first.id, False, first.ref)
    with pytest.raises(UsageError, match="another manifest") as caught:
        rig.client.submit("noop", {"seconds": 3}, key="nightly")
    assert "$.params" in caught.value.problems[0]
    assert rig.client.submit("noop", key="weekly").created


def test_the_log_of_an_expired_archive_is_told_to_be_gone(rig: Rig, tmp_path: Path) -> None:
    (job,) = finish(rig)
    rig.client.fold()
    rig.clock.now_s += 10 * 86_400
    assert len(rig.client.fold(logs_days=5).expired) == 1
    RawGit(tmp_path / "bus.git").run("gc", "--quiet", "--prune=now")
    # whoever read the log before may have it in a cache
    other = open_client(rig.url, None, tmp_path / "other", rig.clock.clock, rig.listener)
    with pytest.raises(UsageError, match="log of this job has expired") as caught:
        list(other.logs(job))
    assert f"results {job}" in caught.value.remedy
    results = other.results(job, tmp_path / "out")
    assert "evidence.json" in results.files
    assert "logs/1-000001.txt" not in results.files
    other.close()


def test_a_job_that_somebody_deleted_is_an_integrity_error(rig: Rig) -> None:
    job, ref = rig.submit()
    tip = rig.runner.bus.peek(ref)
    assert tip is not None
    rig.runner.bus.fold([ref], None)  # type: ignore[arg-type]  # not ended: nothing happens
    assert rig.runner.bus.peek(ref) == tip

    def delete() -> None:
        RawGit(Path(rig.url)).run("update-ref", "-d", ref)

    with pytest.raises(IntegrityError, match="ledger does not hold"):
        rig.wait_with(job, delete)


def test_the_command(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    ids = finish(rig, 2)
    code, out = run(rig, capsys, "bus", "fold", "--keep", "1", "--json")
    data = json.loads(out)
    assert (code, data["schema"], data["folded"]) == (0, "kakeya.folded/1", ids[:1])
    code, out = run(rig, capsys, "bus", "fold")
    assert (code, out.split()) == (0, ids[1:])
    code, out = run(rig, capsys, "wait", ids[0], "--json")
    assert (code, json.loads(out)["state"]) == (0, "done")
    code, out = run(rig, capsys, "logs", ids[1])
    assert out == "hello from the job\n"


def test_a_rejected_and_a_cancelled_job_fold_too(rig: Rig) -> None:
    one, first = rig.submit()
    two, _ = rig.submit()
    rig.runner.finish(first, Event.REJECTED, problems=("$.params: no",))
    rig.client.cancel(two)
    assert set(rig.client.fold().ids) == {one, two}
    assert rig.client.wait(one).exit_code is ExitCode.USAGE
    assert rig.client.wait(two).exit_code is ExitCode.CANCELLED
    assert list(rig.client.logs(one)) == []


def test_a_late_heartbeat_still_lists_a_folded_job(rig: Rig) -> None:
    job, ref = rig.submit()
    chain = rig.runner.claim(ref)
    rig.runner.finish(ref)
    assert rig.client.fold().ids == (job,)
    assert chain.claim_oid is not None
    rig.runner.beat(claims=[Held(job, chain.claim_oid)])
    assert rig.client.status(job).state is State.DONE
    assert rig.client.check().healthy
    assert rig.client.why(job).message == "it has ended: done"
