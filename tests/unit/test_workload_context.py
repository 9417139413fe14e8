"""The job file, the config, and everything a workload writes through its context."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich import progress as rich_progress
from rich.console import Console

from bridge import canonical, proc
from bridge.errors import UsageError
from tests.waiting import until
from workloads.__main__ import main
from workloads.shared import job
from workloads.shared.context import Context
from workloads.shared.journal import Entry
from workloads.shared.progress import LINE_INTERVAL_S, Bar, Lines, Progress
from workloads.shared.samples import Sample

ROOT = Path(__file__).parents[2]
INPUT = canonical.digest("an input")


@dataclass(frozen=True)
class Shape:
    """A config."""

    count: int


class Silent:
    """A display that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int | None, float | None, str]] = []
        self.closed = False

    def show(self, step: int, total: int | None, eta_s: float | None, note: str) -> None:
        self.shown.append((step, total, eta_s, note))

    def close(self) -> None:
        self.closed = True


def write_job(folder: Path, **fields: Any) -> Path:
    path = folder / "job.json"
    document = {"schema": job.SCHEMA, "out": str(folder / "out"), "config": {}} | fields
    path.write_text(json.dumps(document), "utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def make_sample(unit: str = "u0", **fields: Any) -> Sample:
    defaults = {"arm": "a", "seed": 0, "input": INPUT, "measure": "recall", "score": 1}
    return Sample(**({"unit": unit} | defaults | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"schema": "kakeya.job/2"}, "$.schema"),
        ({"extra": 1}, "$.extra"),
        ({"attempt": True}, "$.attempt"),
        ({"inputs": {"weights": 3}}, "$.inputs.weights"),
        ({"config": []}, "$.config"),
    ],
)
def test_a_wrong_job_file_is_refused(tmp_path: Path, change: dict[str, Any], path: str) -> None:
    with pytest.raises(UsageError) as caught:
        job.load(write_job(tmp_path, **change))
    assert any(problem.startswith(path) for problem in caught.value.problems)


def test_a_job_file_that_is_not_strict_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text('{"schema": "kakeya.job/1", "schema": "kakeya.job/1"}', "utf-8")
    with pytest.raises(UsageError, match="duplicate key"):
        job.load(path)
    with pytest.raises(UsageError, match="cannot be read"):
        job.load(tmp_path / "absent.json")


def test_the_command_ends_2_on_an_unknown_config_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["noop", "--job", str(write_job(tmp_path, config={"secs": 1}))]) == 2
    assert "$.config.secs: unknown key" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "facts.json").read_text())["ended"] is False


def test_the_command_refuses_a_job_of_another_workload(tmp_path: Path) -> None:
    assert main(["noop", "--job", str(write_job(tmp_path, workload="probe"))]) == 2


def test_noop_ends_with_the_code_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["noop", "--job", str(write_job(tmp_path, config={"exit_code": 7}))])
    assert caught.value.code == 7
    (row,) = read_rows(tmp_path / "out" / "samples.jsonl")
    assert row["measure"] == "slept_s"


def test_noop_refuses_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"exit_code": 256, "seconds": -1}
    assert main(["noop", "--job", str(write_job(tmp_path, config=config))]) == 2
    shown = capsys.readouterr().err
    assert "$.config.seconds" in shown
    assert "$.config.exit_code" in shown


def test_probe_measures_the_machine(tmp_path: Path) -> None:
    path = write_job(tmp_path, config={"matmul_side": 32, "repeats": 2})
    assert main(["probe", "--job", str(path)]) == 0
    rows = read_rows(tmp_path / "out" / "samples.jsonl")
    scores = {row["measure"]: row["score"] for row in rows}
    assert scores["cpus"] >= scores["cpus_usable"] >= 1
    assert scores["memory_mb"] > 0
    warm = [row for row in rows if row["measure"] == "matmul_gflops" and not row["warmup"]]
    assert all(row["score"] > 0 for row in warm)
    probed = json.loads((tmp_path / "out" / "artifacts" / "probe.json").read_text())
    assert probed["counts"]["cpus"] == scores["cpus"]


@pytest.mark.parametrize(
    "fields",
    [
        {"score": float("nan")},
        {"score": None},
        {"error": "both a score and an error"},
        {"input": "md5:00"},
        {"unit": ""},
        {"t_ms": float("inf")},
        {"at": {"context": float("nan")}},
    ],
)
def test_a_sample_that_cannot_be_judged_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        make_sample(**({"unit": "u0"} | fields))


def open_context(path: Path, display: Silent | None = None) -> Any:
    return Context.open(job.load(path), progress=Progress(display or Silent()))


def test_a_requeued_attempt_writes_what_the_first_one_finished(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    fields = {"checkpoint": str(checkpoint), "out": str(tmp_path / "first")}
    entry = Entry(
        rows=(make_sample("u0"), make_sample("u1", at={"context": 256})),
        counters={"evicted": 5},
        notes={"answers.jsonl": ({"unit": "u0"},)},
    )
    with open_context(write_job(tmp_path, **fields)) as context:
        context.start("shape", Shape(1))
        assert not context.resume("batch0")
        context.commit("batch0", entry)
    with (checkpoint / "finished.jsonl").open("ab") as torn:
        torn.write(b'{"identity": "torn')

    fields["out"] = str(tmp_path / "second")
    with open_context(write_job(tmp_path, **fields)) as context:
        context.start("shape", Shape(1))
        assert context.resume("batch0")
        assert not context.resume("batch1")
        context.commit("batch1", Entry(rows=(make_sample("u2"),)))

    first, second = (
        (tmp_path / name / "samples.jsonl").read_text() for name in ("first", "second")
    )
    assert second.startswith(first)
    assert [row["unit"] for row in read_rows(tmp_path / "second" / "samples.jsonl")] == [
        "u0",
        "u1",
        "u2",
    ]
    counters = json.loads((tmp_path / "second" / "facts.json").read_text())["counters"]
    assert counters == {"evicted": 5, "units_resumed": 1}
    assert read_rows(tmp_path / "second" / "artifacts" / "answers.jsonl") == [{"unit": "u0"}]
    assert len((checkpoint / "finished.jsonl").read_bytes().splitlines()) == 2


def test_a_checkpoint_of_another_config_is_not_resumed_from(tmp_path: Path) -> None:
    path = write_job(tmp_path, checkpoint=str(tmp_path / "checkpoint"))
    for count in (1, 2):
        with open_context(path) as context:
            context.start("shape", Shape(count))
            assert not context.resume("batch0")
            context.commit("batch0", Entry(rows=(make_sample(),)))


def test_artifacts_stay_below_their_folder(tmp_path: Path) -> None:
    with open_context(write_job(tmp_path)) as context:
        assert context.artifact("a/b.json").parent.is_dir()
        for name in ("../x", "/etc/x", "", "a/../../x"):
            with pytest.raises(ValueError, match="does not lie below"):
                context.artifact(name)


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    with open_context(write_job(tmp_path, inputs={"gone": str(tmp_path / "gone")})) as context:
        with pytest.raises(UsageError, match=r"\$\.inputs\.weights"):
            context.input("weights")
        with pytest.raises(UsageError, match="nothing is at"):
            context.input("gone")


def test_the_time_left_does_not_count_resumed_steps(tmp_path: Path) -> None:
    now_s = [0.0]
    display = Silent()
    progress = Progress(display, clock=lambda: now_s[0])
    progress.open(tmp_path / "progress.jsonl")
    progress.skip(4)
    now_s[0] = 10.0
    progress.report(5, 10, "ladder")
    progress.report(3, None)
    progress.close()
    assert display.shown == [(5, 10, 50.0, "ladder"), (3, None, None, "")]
    assert display.closed
    assert read_rows(tmp_path / "progress.jsonl")[0] == {
        "step": 5,
        "total": 10,
        "eta_s": 50.0,
        "note": "ladder",
    }


def test_the_time_left_follows_the_part_that_runs() -> None:
    now_s = [0.0]
    display = Silent()
    progress = Progress(display, clock=lambda: now_s[0])
    for step in range(10, 301, 10):  # training, a tenth of a second a step
        now_s[0] += 1.0
        progress.report(step, 340, "training")
    trained = display.shown[-1][2]
    assert trained == pytest.approx(4.0)
    for step in range(301, 321):  # prompts, a minute each
        now_s[0] += 60.0
        progress.report(step, 340, "prompt")
    measured = display.shown[-1][2]
    assert measured is not None
    assert 0.9 * 20 * 60 < measured <= 20 * 60


def test_the_bar_follows_the_steps() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60)
    columns = (rich_progress.TextColumn("{task.description}"), rich_progress.MofNCompleteColumn())
    bar = Bar(rich_progress.Progress(*columns, console=console))
    for step in (1, 2):
        bar.show(step, 2, 0.5, "ladder")
    bar.close()
    assert "ladder" in stream.getvalue()
    assert "2/2" in stream.getvalue()


def start_program(arguments: list[str], folder: Path, path: str) -> Any:
    argv = [sys.executable, "-m", "workloads", *arguments]
    env = proc.base_env() | {"PYTHONPATH": path}
    return proc.spawn(argv, cwd=folder, env=env, stdout=folder / "log")


def test_a_terminated_job_leaves_what_it_has(tmp_path: Path) -> None:
    path = write_job(tmp_path, config={"seconds": 600})
    process = start_program(["noop", "--job", str(path)], tmp_path, str(ROOT))
    progress = tmp_path / "out" / "progress.jsonl"
    try:
        until(lambda: progress.exists() and progress.stat().st_size > 0)
        process.terminate()
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert json.loads((tmp_path / "out" / "facts.json").read_text())["ended"] is False


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')\n")
    path = write_job(tmp_path, config={"contexts": [256], "depths": [0.5]})
    arguments = ["niah", "--job", str(path)]
    process = start_program(arguments, tmp_path, f"{blocked}{os.pathsep}{ROOT}")
    assert process.wait(timeout=60) == 2
    assert "workload niah needs the package torch" in (tmp_path / "log").read_text()


def test_plain_lines_are_sparse_and_show_the_last(tmp_path: Path) -> None:
    now_s = [0.0]
    stream = io.StringIO()
    lines = Lines(stream, lambda: now_s[0])
    for step, at_s in ((1, 0.0), (2, 1.0), (3, LINE_INTERVAL_S), (4, LINE_INTERVAL_S + 1)):
        now_s[0] = at_s
        lines.show(step, 4, 1.0, "n")
    assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["1/4", "3/4", "4/4"]
