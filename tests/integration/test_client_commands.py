"""The commands as a person or an agent types them, against a scripted runner on a real bus."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import proc, records
from bridge.cli.main import main
from bridge.records import Decline, Progress
from bridge.states import Event
from tests.hostile import make_valid
from tests.integration.client_rig import Rig, open_rig
from tests.lab import REPO, make_bare, make_checkout
from tests.waiting import until


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A rig; commands run inside its project and find its bus in a variable."""
    make_bare(tmp_path / "bus.git")
    found = open_rig(str(tmp_path / "bus.git"), tmp_path)
    monkeypatch.chdir(found.project)
    monkeypatch.setenv("KAKEYA_BUS", found.url)
    monkeypatch.setenv("KAKEYA_CACHE", str(tmp_path / "cache"))
    yield found
    found.close()


def command(*words: str) -> list[str]:
    """A command as a process of its own."""
    return [sys.executable, "-m", "bridge.cli.main", *words]


def environment(**more: str) -> dict[str, str]:
    """What such a process gets."""
    kept = {name: os.environ[name] for name in ("KAKEYA_BUS", "KAKEYA_CACHE")}
    return {**proc.base_env(), "PYTHONPATH": str(REPO), **kept, **more}


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


# -- run and wait -------------------------------------------------------------------------


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
        command("wait", job), cwd=rig.project, env=environment(), stdout=log, new_session=True
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
        command("run", "noop", "--wait"), cwd=rig.project, env=environment(), stdout=log
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
        env=environment(),
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
    records.from_json("request", shown["manifest"])
    assert len(shown["needs"]) == len(rig.client.presets()["noop"].gates)
    assert rig.client.list() == ()


# -- the other commands -------------------------------------------------------------------


def test_status_list_and_cancel(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    job, _ = rig.submit()
    assert main(["status", job]) == 0
    assert "queued" in capsys.readouterr().out
    assert main(["cancel", job, "--reason", "typo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "cancelled"
    assert main(["cancel", job]) == 0
    assert main(["wait", job]) == 3
    capsys.readouterr()
    assert main(["list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["jobs"]
    assert (row["id"], row["state"], row["preset"]) == (job, "cancelled", "noop")
    assert main(["list"]) == 0
    assert job in capsys.readouterr().out
    assert main(["status", job.lower()]) == 0
    assert main(["status", "nonsense"]) == 2


def test_logs_raw_and_as_json(rig: Rig, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.log(ref, b"\x1b[31mred\x1b[0m \xff\n")
    rig.runner.finish(ref)
    assert main(["logs", job]) == 0
    assert capfdbinary.readouterr().out == b"\x1b[31mred\x1b[0m \xff\n"
    assert main(["logs", job, "--json", "--follow"]) == 0
    (row,) = capfdbinary.readouterr().out.splitlines()
    assert json.loads(row)["text"] == "\x1b[31mred\x1b[0m \ufffd\n"


def on_terminal(rig: Rig, *words: str, **more: str) -> bytes:
    """What a command writes to a terminal."""
    master, slave = os.openpty()
    env = environment(TERM="xterm-256color", COLUMNS="200", **more)
    process = subprocess.Popen(
        command(*words), cwd=rig.project, env=env, stdout=slave, stderr=slave
    )
    os.close(slave)
    out = b""
    with contextlib.suppress(OSError):  # Linux says EIO when the other side has closed
        while block := os.read(master, 65536):
            out += block
    os.close(master)
    assert process.wait(timeout=60) == 0
    return out


def test_on_a_terminal_logs_cannot_move_the_cursor(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.log(ref, b"\x1b[2Jgone\x07\x9b \xe2\x80\xae\n")
    rig.runner.finish(ref)
    assert b"\x1b" not in on_terminal(rig, "logs", job)
    assert b"\\x1b[2Jgone\\x07" in on_terminal(rig, "logs", job)
    assert b"\x1b[2Jgone\x07" in on_terminal(rig, "logs", job, "--raw")


def test_a_wait_on_a_terminal_is_live_and_gives_the_terminal_back(rig: Rig) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.log(ref, b"", Progress(3, 3, note="\u00fcber"))
    rig.runner.finish(ref)
    out = on_terminal(rig, "wait", job)
    assert b"done, verdict pass" in out
    assert out.rfind(b"\x1b[?25h") > out.rfind(b"\x1b[?25l") > -1


def test_no_color_is_kept(rig: Rig) -> None:
    rig.submit()
    assert b"\x1b[3" in on_terminal(rig, "list")
    assert b"\x1b[3" not in on_terminal(rig, "list", NO_COLOR="1")


def test_results_are_written_where_git_looks_away(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.finish(ref, artifacts={"a.txt": b"a"}, files={"report.md": b"# report\n"})
    assert main(["results", job]) == 0
    captured = capsys.readouterr()
    folder = rig.project / ".kakeya" / "results" / job
    assert (folder / "artifacts" / "a.txt").read_bytes() == b"a"
    assert str(folder) in captured.out
    assert "it ended" in captured.out
    assert rig.client.checkout is not None
    assert rig.client.checkout.git.changed_files() == ()
    assert main(["results", job, "--out", "elsewhere", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["path"] for row in told["files"]} >= {"artifacts/a.txt", "evidence.json"}
    assert (rig.project / "elsewhere" / "report.md").is_file()


def test_evidence_of_no_usable_shape_is_told_and_no_crash(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    from bridge.canonical import digest_bytes

    job, ref = rig.submit()
    rig.runner.claim(ref)
    odd = b'{"gates": 7}'
    files = {"evidence.json": odd}
    rig.runner.finish(ref, verdict=None, files=files, evidence=digest_bytes(odd))
    assert main(["wait", job]) == 10
    assert "cannot be shown" in capsys.readouterr().err
    assert main(["wait", job, "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["gates"] == []


def test_bus_init_and_doctor(rig: Rig, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bus", "init", str(tmp_path / "new.git"), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["bus", "init", str(tmp_path / "new.git")]) == 0
    assert capsys.readouterr().out.strip() == first["id"]
    assert main(["doctor", "--bus", str(tmp_path / "new.git"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    faults = [row["check"] for row in told["findings"] if row["level"] == "fault"]
    assert faults == ["code"]
    assert main(["doctor"]) == 0
    assert "mac-m4" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error(rig: Rig) -> None:
    rig.submit()
    line = " ".join(command("list", "--json"))
    script = f"set -o pipefail; {line} 2>err.txt | true; echo ${{PIPESTATUS[0]}}"
    done = proc.run(["bash", "-c", script], cwd=rig.project, env=environment(), timeout_s=60)
    assert done.stdout.strip() in (b"0", b"1")
    assert (rig.project / "err.txt").read_text() == ""


def test_options_may_stand_before_the_command(
    rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAKEYA_BUS")
    rig.submit()
    assert main(["--bus", rig.url, "--json", "list"]) == 0
    assert len(json.loads(capsys.readouterr().out)["jobs"]) == 1


# -- embedded -----------------------------------------------------------------------------


def embedded(folder: Path, *words: str) -> tuple[int, Any, bytes]:
    """A command with a bus and a runner of its own: exit code, JSON, talk."""
    env = {**proc.base_env(), "PYTHONPATH": str(REPO)}
    argv = command("run", *words, "--embedded", "--json", "--timeout", "90")
    done = proc.run(argv, cwd=folder, env=env, timeout_s=150)
    return done.code, json.loads(done.stdout or b"null"), done.stderr


def test_an_embedded_run_needs_no_set_up_and_leaves_no_process(tmp_path: Path) -> None:
    project = make_checkout(tmp_path / "project")
    code, told, talk = embedded(project, "noop", "-p", "seconds=0")
    assert code == 0, talk
    assert told["verdict"] == "pass"
    assert (project / ".kakeya" / ".gitignore").read_text() == "*\n"
    alive = [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(project).encode() in _read(path)
    ]
    assert alive == []
    code, told, _ = embedded(project, "noop", "-p", "exit_code=3")
    assert code == 5
    assert told["exit"]["code"] == 3


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_ctrl_c_of_an_embedded_run_ends_job_and_runner(tmp_path: Path) -> None:
    project = make_checkout(tmp_path / "project")
    log = tmp_path / "run.log"
    env = {**proc.base_env(), "PYTHONPATH": str(REPO)}
    argv = command("run", "noop", "-p", "seconds=600", "--embedded")
    process = proc.spawn(argv, cwd=project, env=env, stdout=log)

    def runs() -> bool:
        assert process.poll() is None, log.read_text()
        return b"running" in log.read_bytes()

    until(runs, bound_s=90, what="the job to run")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "the job was cancelled" in log.read_text()
    processes = [_read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not [line for line in processes if str(project).encode() in line]


def test_an_embedded_run_outside_a_checkout_of_presets_takes_the_programs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "noop", "--embedded", "--bus", "x.git", "--dry-run"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def follow_to_the_end(rig: Rig, stdout: int, stderr: int, *words: str) -> Callable[[], bytes]:
    """`logs --follow` of a job that says how far it is, and ends once that was shown."""
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.log(ref, b"first line\n", Progress(2, 5, 7.5, "rung 512"))
    process = subprocess.Popen(
        command("logs", job, "--follow", *words),
        cwd=rig.project,
        env=environment(TERM="xterm-256color", COLUMNS="200"),
        stdout=stdout,
        stderr=stderr,
    )

    def finish() -> bytes:
        rig.runner.log(ref, b"last line\n", Progress(5, 5, 0.0, "rung 512"))
        rig.runner.finish(ref)
        assert process.wait(timeout=60) == 0
        return b""

    return finish


def test_who_follows_a_log_is_told_how_far_the_job_is(rig: Rig, tmp_path: Path) -> None:
    out, talk = tmp_path / "out", tmp_path / "talk"
    with out.open("wb") as stdout, talk.open("wb") as stderr:
        finish = follow_to_the_end(rig, stdout.fileno(), stderr.fileno())
        told = b"running, attempt 1 by mac-m4, step 2 of 5, 8 s left (rung 512)"
        until(lambda: told in talk.read_bytes(), what="the progress")
        finish()
    assert out.read_bytes() == b"first line\nlast line\n"  # stdout is the log and nothing else
    assert b"done, verdict pass" in talk.read_bytes()


def test_progress_is_an_object_among_the_chunks(rig: Rig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("wb") as stdout:
        finish = follow_to_the_end(rig, stdout.fileno(), subprocess.DEVNULL, "--json")
        until(lambda: b"kakeya.progress/1" in out.read_bytes(), what="the progress")
        finish()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    steps = [row for row in rows if row["schema"] == "kakeya.progress/1"]
    assert steps[0] == {
        "schema": "kakeya.progress/1",
        "attempt": 1,
        "step": 2,
        "total": 5,
        "eta_s": 7.5,
        "note": "rung 512",
    }
    texts = [row["text"] for row in rows if row["schema"] == "kakeya.log-text/1"]
    assert "".join(texts) == "first line\nlast line\n"


def test_on_a_terminal_a_followed_log_has_a_bar_below_it(rig: Rig) -> None:
    master, slave = os.openpty()
    finish = follow_to_the_end(rig, slave, slave)
    os.close(slave)
    out = b""
    while b"step 2 of 5" not in out or b"first line" not in out:
        out += os.read(master, 65536)
    reader = threading.Thread(target=finish)
    reader.start()
    with contextlib.suppress(OSError):
        while block := os.read(master, 65536):
            out += block
    reader.join()
    os.close(master)
    assert "━".encode() in out
    assert b"last line" in out
    assert out.count(b"\x1b[?25l") == out.count(b"\x1b[?25h")  # the cursor is given back
