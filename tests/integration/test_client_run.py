"""`run` and `wait` as a person or an agent types them: what is told, and the exit code."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge import proc, records, wire
from bridge.cli.main import main
from bridge.records import Decline
from bridge.states import Event
from tests.hostile import make_valid
from tests.integration.client_rig import Rig, command, command_env
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("in_project")


@contextlib.contextmanager
def playing(rig: Rig, play: Callable[[str], None]) -> Iterator[None]:
    """Play a runner's part on another thread, for the first job that appears."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            jobs = until(lambda: rig.runner.bus.poll().jobs, what="a job")
            play(next(iter(jobs)))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
    assert not failures, failures


def finish(rig: Rig, verdict: str = "pass") -> Callable[[str], None]:
    def play(ref: str) -> None:
        rig.runner.claim(ref)
        rig.runner.log(ref, b"hello\n")
        rig.runner.finish(ref, verdict=verdict)

    return play


def test_run_prints_the_id_first_and_how_to_wait(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "noop", "-p", "seconds=1"]) == 0
    captured = capsys.readouterr()
    job = captured.out.strip()
    assert rig.client.status(job).request is not None
    assert f"kakeya_remote wait {job}" in captured.err


def test_run_as_json_is_one_object(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    (rig.project / "README.md").write_text("edited\n")
    assert main(["run", "noop", "--json", "--id", "k"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["schema"] == "kakeya.submission/1"
    assert told["created"] is True
    assert told["edits_left_out"] == ["README.md"]
    assert "uncommitted edits" in captured.err
    assert main(["run", "noop", "--json", "--id", "k"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["id"], again["created"]) == (told["id"], False)


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 6), ("inconclusive", 10)])
def test_run_and_wait_exits_by_the_verdict(
    rig: Rig, capsys: pytest.CaptureFixture[str], verdict: str, code: int
) -> None:
    with playing(rig, finish(rig, verdict)):
        assert main(["run", "noop", "--wait", "--timeout", "60"]) == code
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert rig.client.status(lines[0]).verdict == verdict
    assert lines[2].split() == [verdict, "ends", "it", "ended"]
    assert f"done, verdict {verdict}" in lines[-1]
    assert f"done, verdict {verdict}" in captured.err


def test_run_and_wait_as_json_is_one_object_with_the_childs_exit_code(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(ref: str) -> None:
        rig.runner.claim(ref)
        rig.runner.finish(ref, Event.FAILED, exit=records.Exit(42, None, "exit"))

    with playing(rig, play):
        assert main(["run", "noop", "--wait", "--json", "--timeout", "60"]) == 5
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["schema"] == "kakeya.outcome/1"
    assert (told["state"], told["exit_code"], told["exit"]["code"]) == ("failed", 5, 42)
    assert captured.err.splitlines()[0] == f"job {told['id']}"


def test_the_gates_are_in_the_json(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.finish(ref, verdict="fail")
    assert main(["wait", job, "--json"]) == 6
    told = json.loads(capsys.readouterr().out)
    assert told["gates"] == [
        {"id": "ends", "verdict": "fail", "blocking": True, "message": "it ended"}
    ]


def test_a_wait_that_ends_is_8_and_says_how_to_go_on(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    job, _ = rig.submit()
    assert main(["wait", job, "--timeout", "0.2", "--bus", rig.url]) == 8
    captured = capsys.readouterr()
    assert f"resume: kakeya_remote wait {job} --bus {rig.url}" in captured.err


def test_a_queue_timeout_is_7(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "noop", "--queue-timeout", "1", "--wait", "--json"]) == 7
    assert json.loads(capsys.readouterr().out)["state"] == "expired"


def test_declined_by_policy_is_4(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    def play(ref: str) -> None:
        job = rig.runner.bus.refs.parse_job(ref)
        assert job is not None
        rig.runner.beat(declines=[Decline(job.id, "policy", "the code is not merged")])

    with playing(rig, play):
        assert main(["run", "noop", "--wait", "--timeout", "60"]) == 4
    assert "the code is not merged" in capsys.readouterr().err


def test_ctrl_c_detaches_and_prints_the_command_that_resumes(rig: Rig, tmp_path: Path) -> None:
    job, _ = rig.submit()
    log = tmp_path / "wait.log"
    process = proc.spawn(
        command("wait", job), cwd=rig.project, env=command_env(), stdout=log, new_session=True
    )
    until(lambda: b"queued" in log.read_bytes(), what="the wait to begin")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    told = log.read_text()
    assert f"resume: kakeya_remote wait {job}" in told
    assert "Traceback" not in told
    assert rig.client.status(job).result is None


def test_the_id_is_out_before_the_wait(rig: Rig, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    process = proc.spawn(
        command("run", "noop", "--wait"), cwd=rig.project, env=command_env(), stdout=log
    )
    first = until(lambda: log.read_text().splitlines(), what="the id")[0]
    assert process.poll() is None
    assert rig.client.status(first).id == first
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


# -- what is refused before anything is sent -----------------------------------------------


def test_a_bad_manifest_is_exit_2_and_every_fault_is_named(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "noop", "-p", "seconds=-1", "-p", "secs=1", "--label", "No", "--on", "rsh"]
    assert main([*words, "--predict", "p:7:x"]) == 2
    told = capsys.readouterr().err
    for path in ("$.params.seconds", "$.params.secs", "$.labels[1]", "$.executor", "credence"):
        assert path in told
    assert rig.client.list() == ()


def test_a_manifest_from_a_file_or_stdin(
    rig: Rig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    part = tmp_path / "part.json"
    part.write_text('{"preset": "noop", "params": {"seconds": 3}, "priority": 1}')
    assert main(["run", "--manifest", str(part), "--dry-run", "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)["manifest"]
    assert (manifest["params"]["seconds"], manifest["priority"]) == (3, 1)
    whole = make_valid(
        rig.client.presets()["noop"], bus=rig.client.bus.identity().id, code=rig.head
    )
    done = proc.run(
        command("run", "--manifest", "-", "--json"),
        cwd=rig.project,
        env=command_env(),
        timeout_s=60,
        input=json.dumps(whole).encode(),
    )
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["request"] == whole
    part.write_text('{"preset": "noop", "preset": "probe"}')
    assert main(["run", "--manifest", str(part)]) == 2
    assert "duplicate key" in capsys.readouterr().err
    assert main(["run"]) == 2


def test_a_dry_run_shows_manifest_argv_and_needs_and_sends_nothing(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "noop", "-p", "seconds=2", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert '"seconds": 2' in out
    assert "argv: {python} -I {job_dir}/bootstrap.py" in out
    assert "--job {job_dir}/job.json" in out
    assert main(["run", "noop", "--dry-run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    wire.from_json("request", shown["manifest"])
    assert len(shown["needs"]) == len(rig.client.presets()["noop"].gates)
    assert rig.client.list() == ()
