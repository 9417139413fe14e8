"""The one module that starts processes: what it gives, what it bounds, what it leaves behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from bridge import proc
from bridge.errors import ExecutorError, MissingPartError


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", code]


def run(code: str, cwd: Path, **options: object) -> proc.Completed:
    return proc.run(
        python(code),
        cwd=cwd,
        env=proc.base_env(),
        **({"timeout_s": 30} | options),  # type: ignore[arg-type]
    )


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
            if state == b"Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
    return False


def test_code_and_both_streams_come_back(tmp_path: Path) -> None:
    done = run("import sys; print('a'); print('b', file=sys.stderr); sys.exit(7)", tmp_path)
    assert done == proc.Completed(7, b"a\n", b"b\n")


def test_a_signal_is_a_negative_code(tmp_path: Path) -> None:
    assert run("import os; os.kill(os.getpid(), 9)", tmp_path).code == -9


def test_input_larger_than_a_pipe_is_fed(tmp_path: Path) -> None:
    data = os.urandom(2**20)
    done = run(
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])", tmp_path, input=data
    )
    assert done.stdout == data[::-1]


def test_input_that_nobody_reads_is_no_fault(tmp_path: Path) -> None:
    assert run("", tmp_path, input=bytes(2**20)).code == 0


def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    code = (
        "import os, time\npid = os.fork()\n"
        "if pid: open('child', 'w').write(str(pid))\ntime.sleep(300)"
    )
    with pytest.raises(ExecutorError, match="ran longer than 1 s"):
        run(code, tmp_path, timeout_s=1)
    assert gone(int((tmp_path / "child").read_text()))


def test_a_flood_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="wrote more than 1000 bytes"):
        run("while True: print('x' * 100)", tmp_path, max_output=1000)


def test_a_daemon_that_holds_the_pipe_does_not_hold_the_call(tmp_path: Path) -> None:
    code = (
        "import os, time\nprint('said', flush=True)\npid = os.fork()\n"
        "if pid: open('child', 'w').write(str(pid))\nelse: os.setsid(); time.sleep(300)"
    )
    started = time.monotonic()
    assert run(code, tmp_path, timeout_s=60).stdout == b"said\n"
    assert time.monotonic() - started < 30
    os.kill(int((tmp_path / "child").read_text()), 9)


def test_a_missing_program_and_a_missing_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingPartError, match="no-such-program is not installed"):
        proc.run(["no-such-program"], cwd=tmp_path, env=proc.base_env(), timeout_s=5)
    with pytest.raises(ExecutorError, match="no such folder"):
        proc.run(["true"], cwd=tmp_path / "absent", env=proc.base_env(), timeout_s=5)


def test_an_argument_with_a_nul_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="cannot start true"):
        proc.run(["true", "a\0b"], cwd=tmp_path, env=proc.base_env(), timeout_s=5)


def test_the_base_environment_holds_no_secret() -> None:
    env = proc.base_env(
        {
            "PATH": "/bin",
            "HOME": "/h",
            "KAKEYA_BUS": "x",
            "GIT_DIR": "x",
            "SSH_AUTH_SOCK": "x",
            "HF_TOKEN": "x",
            "LANG": "",
        }
    )
    assert env == {"PATH": "/bin", "HOME": "/h", "LANG": "C.UTF-8"}


def test_a_spawned_program_outlives_the_call_and_appends_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    process = proc.spawn(python("print('after')"), cwd=tmp_path, env=proc.base_env(), stdout=log)
    assert process.wait(30) == 0
    assert log.read_text() == "before\nafter\n"


def test_an_unknown_user_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="no user no-such-user"):
        proc.spawn(
            ["true"],
            cwd=tmp_path,
            env=proc.base_env(),
            stdout=tmp_path / "log",
            user="no-such-user",
        )
