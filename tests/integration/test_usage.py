"""What jobs took, from the records that real runners and a whole crowd of jobs left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.bus.requester import RequesterBus
from bridge.canonical import ulid_time_ms
from bridge.cli.main import main
from bridge.client.accounting import add_up, total, usage_of
from bridge.client.census import walk_jobs
from bridge.errors import UsageError
from tests.actors import open_bus
from tests.crowd import fill_ledger
from tests.lab import Lab, make_bare

JOBS = 120


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RequesterBus, list[str]]]:
    """A bus with finished jobs in its ledger, and their ids."""
    folder = tmp_path_factory.mktemp("crowd")
    make_bare(folder / "bus.git")
    bus = open_bus(str(folder / "bus.git"), folder / "cache")
    ids = fill_ledger(bus, folder / "bus.git", JOBS)
    yield bus, ids
    bus.close()


def test_every_folded_job_is_met_newest_first_with_its_evidence(
    crowd: tuple[RequesterBus, list[str]],
) -> None:
    bus, ids = crowd
    counted = list(walk_jobs(bus))
    assert [one.chain.job.id for one in counted] == sorted(ids, reverse=True)
    done = [one for one in counted if str(one.chain.state) == "done"]
    assert len(done) > JOBS / 2
    assert all(one.record is not None and one.record["id"] == one.chain.job.id for one in done)
    assert not any(one.fault for one in counted)


def test_those_that_are_known_or_older_are_not_met(crowd: tuple[RequesterBus, list[str]]) -> None:
    bus, ids = crowd
    newest = sorted(ids, reverse=True)
    found = walk_jobs(bus, without=set(newest[:50]))
    assert [one.chain.job.id for one in found] == newest[50:]
    found = walk_jobs(bus, since_ms=ulid_time_ms(newest[19]))
    assert [one.chain.job.id for one in found] == newest[:20]


def test_other_files_of_a_job_are_not_fetched_with_its_records(
    crowd: tuple[RequesterBus, list[str]],
) -> None:
    bus, _ = crowd
    one = next(one for one in walk_jobs(bus) if "report.html" in one.chain.files)
    oid = one.chain.files["report.html"]
    jobs = bus.cache / "jobs.git"
    assert oid not in _objects_in(jobs)
    bus.fetch_files([oid])
    assert bus.read(oid).startswith(b"<p>report</p>")
    assert oid in _objects_in(jobs)


def _objects_in(clone: Path) -> str:
    from bridge import proc

    argv = ["git", "cat-file", "--batch-all-objects", "--batch-check"]
    done = proc.run(argv, cwd=clone, env=proc.base_env(), timeout_s=60)
    return done.stdout.decode()


@pytest.mark.parametrize("by", ["requester", "preset", "runner", "day"])
def test_the_parts_add_up_to_the_whole(by: str, crowd: tuple[RequesterBus, list[str]]) -> None:
    jobs = [usage_of(one.chain, one.record) for one in walk_jobs(crowd[0])]
    parts, whole = add_up(jobs, by), total("all", jobs)
    assert len(parts) > 1
    for name in ("jobs", "ended", "passed", "timed", "metered"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name), name
    for name in ("run_s", "cpu_hours", "gpu_hours"):
        assert sum(getattr(part, name) for part in parts) == pytest.approx(getattr(whole, name))
    assert whole.jobs == JOBS
    assert 0 < whole.metered < whole.timed < JOBS, "some tell no energy, some no time"


def test_gpu_hours_are_the_gpus_asked_for_times_the_run_time(
    crowd: tuple[RequesterBus, list[str]],
) -> None:
    jobs = [usage_of(one.chain, one.record) for one in walk_jobs(crowd[0])]
    on_gpus = [job for job in jobs if job.gpus]
    assert {job.runner for job in on_gpus if job.runner} == {"h200-1"}
    assert total("", on_gpus).gpu_hours == pytest.approx(
        sum((job.run_s or 0) / 3600 for job in on_gpus)
    )


@pytest.mark.parametrize(
    "record",
    [
        {"timings": "no table", "execution": []},
        {"timings": {"started": 7, "finished": "soon"}, "execution": {"energy": "much"}},
        {"timings": {"started": "2026-01-01T00:00:09Z", "finished": "2026-01-01T00:00:01Z"}},
        {"execution": {"energy": {"joules": "-1"}}},
        {"execution": {"energy": {"joules": "1e9"}}},
    ],
)
def test_a_record_of_any_shape_is_counted_and_not_believed(
    record: dict[str, Any], crowd: tuple[RequesterBus, list[str]]
) -> None:
    chain = next(iter(walk_jobs(crowd[0]))).chain
    told = usage_of(chain, record)
    assert told.run_s in (None, 0.0)
    assert told.energy_j is None


def test_usage_tells_of_jobs_that_really_ran(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAKEYA_CACHE", str(lab.folder / "client"))
    with lab.runner():
        refs = [lab.submit("noop", {"seconds": seconds}) for seconds in (0, 1)]
        refs.append(lab.submit("noop", {"exit_code": 3}))
        for ref in refs:
            lab.wait(ref)
    assert isinstance(lab.bus, RequesterBus)
    for one in walk_jobs(lab.bus):
        assert one.record is not None
        energy = one.record["execution"]["energy"]
        assert energy["why"] if energy["joules"] is None else float(energy["joules"]) >= 0
    assert main(["usage", "--bus", lab.url, "--json", "--by", "runner"]) == 0
    told = json.loads(capsys.readouterr().out)
    (row,) = told["by"]["runner"]
    assert (row["key"], row["jobs"], row["passed"], row["timed"]) == ("lab-1", 3, 2, 3)
    assert row["run_s"] >= 1
    assert row["cpu_hours"] == pytest.approx(row["run_s"] / 3600, abs=1e-5)
    assert told["total"]["jobs"] == 3
    assert main(["usage", "--bus", lab.url]) == 0
    shown = capsys.readouterr()
    assert {"requester", "preset", "runner"} <= set(shown.out.split())
    assert "3 jobs, 3 of them ended" in shown.err
    assert main(["usage", "--bus", lab.url, "--since", "yesterday"]) == 2
    assert "neither a date nor a span" in capsys.readouterr().err


def test_a_span_before_now_and_a_date_are_read() -> None:
    from bridge.cli.usage import read_since_ms

    assert read_since_ms("2d", 1_000_000.0) == (1_000_000 - 2 * 86_400) * 1000
    assert read_since_ms("1970-01-02", 0.0) == 86_400_000
    with pytest.raises(UsageError):
        read_since_ms("0d", 0.0)
