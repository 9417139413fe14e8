"""The parts of a service: signs of life, the log, the pin, labels, what a manager answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from bridge import proc
from bridge.errors import MissingPartError, UsageError
from bridge.runner.service.apply import ServiceState, parse_launchd, parse_systemd
from bridge.runner.service.interpreter import (
    Interpreter,
    Pin,
    candidates,
    check_pin,
    choose_interpreter,
    inspect_interpreter,
    promised_modules,
    read_pin,
    write_pin,
)
from bridge.runner.service.labels import probe_gpus, probe_labels
from bridge.runner.service.notice import Notice
from bridge.runner.service.process import drain, find_process, note_process
from tests.lab import REPO
from tests.waiting import until

# -- signs of life ------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_ready_alive_and_stopping(tmp_path: Path, abstract: bool) -> None:
    if abstract and sys.platform != "linux":
        pytest.skip("abstract addresses are Linux's")
    name = f"@kakeya-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(10)
        notice = Notice({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000"}, os.getpid())
        notice.ready()
        assert manager.recv(200).startswith(b"READY=1")
        notice.beat()
        assert manager.recv(200) == b"WATCHDOG=1"
        until(lambda: time.monotonic() > notice._at_s + 0.001, what="a quarter of the interval")
        notice.beat()
        assert manager.recv(200) == b"WATCHDOG=1"
        notice.stopping("drained")
        assert manager.recv(200) == b"STOPPING=1\nSTATUS=drained"


def test_without_a_manager_nothing_is_said_and_a_dead_one_harms_nobody(tmp_path: Path) -> None:
    for env in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "nonsense"}):
        notice = Notice(env, os.getpid())
        notice.ready()
        notice.beat()
        notice.stopping("over")
        notice.close()
    assert list(tmp_path.iterdir()) == []


def test_another_process_is_not_asked_for_signs_of_life(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        env = {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
        Notice({**env, "NOTIFY_SOCKET": str(tmp_path / "notify")}, os.getpid()).beat()
        with pytest.raises(BlockingIOError):
            manager.recv(200)


def run_python(code: str, env: dict[str, str], folder: Path) -> proc.Completed:
    whole = {**proc.base_env(), "PYTHONPATH": str(REPO), **env}
    return proc.run([sys.executable, "-c", code], cwd=folder, env=whole, timeout_s=60)


def test_where_no_manager_watches_a_hung_process_ends_itself(tmp_path: Path) -> None:
    code = """
import threading
from bridge.runner.service.notice import open_notice
notice = open_notice()
notice.ready(); notice.beat()
def stand_still(): threading.Event().wait()
stand_still()
"""
    done = run_python(code, {"KAKEYA_WATCHDOG_S": "0.5"}, tmp_path)
    assert done.code == 1
    assert b"Timeout" in done.stderr
    assert b"stand_still" in done.stderr  # where it stood


# -- the log ------------------------------------------------------------------------------


def test_the_log_rotates_and_takes_tracebacks_along(tmp_path: Path) -> None:
    code = """
import os
from pathlib import Path
from bridge.runner.service.logfile import open_log
say = open_log(Path("runner.log"), max_bytes=20_000)
for number in range(2_000):
    say(f"line {number} " + "x" * 50)
os.write(2, b"from the bottom\\n")
raise RuntimeError("the last words")
"""
    done = run_python(code, {}, tmp_path)
    assert done.code == 1
    assert done.stderr == b""
    files = sorted(tmp_path.glob("runner.log*"))
    assert len(files) == 5
    assert all(path.stat().st_size < 25_000 for path in files)
    newest = (tmp_path / "runner.log").read_text()
    assert "line 1999" in newest
    assert "from the bottom" in newest
    assert "the last words" in newest


# -- the process --------------------------------------------------------------------------


def test_a_note_of_another_process_is_not_believed(tmp_path: Path) -> None:
    assert find_process(tmp_path) is None
    note_process(tmp_path)
    found = find_process(tmp_path)
    assert found is not None
    assert found.pid == os.getpid()
    note = tmp_path / "process.json"
    document = json.loads(note.read_text())
    note.write_text(json.dumps({**document, "started": document["started"] - 60}))
    assert find_process(tmp_path) is None  # the number was given to a later process
    note.write_text("{}")
    assert find_process(tmp_path) is None
    with pytest.raises(UsageError, match="no runner serves here"):
        drain(tmp_path, limit_s=1, pause=time.sleep, now_s=time.monotonic)


def test_a_drain_that_takes_too_long_says_so(tmp_path: Path) -> None:
    code = """
import signal
from pathlib import Path
from bridge.runner.service.process import note_process
signal.signal(signal.SIGTERM, signal.SIG_IGN)
note_process(Path("."))
signal.pause()
"""
    env = {**proc.base_env(), "PYTHONPATH": str(REPO)}
    argv = [sys.executable, "-c", code]
    process = proc.spawn(argv, cwd=tmp_path, env=env, stdout=tmp_path / "log")
    try:
        until(lambda: find_process(tmp_path), what="the note")
        assert not drain(tmp_path, limit_s=0.5, pause=time.sleep, now_s=time.monotonic)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert find_process(tmp_path) is None
    finally:
        proc.kill_group(process.pid)
        process.wait()


# -- the interpreter ----------------------------------------------------------------------


def make_python(folder: Path, body: str) -> str:
    """A program that answers as a Python might."""
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("labels", "modules"),
    [
        (["any"], ()),
        (["any", "lab", "mac-mini"], ()),
        (["cuda"], ("torch", "transformers", "safetensors")),
        (["any", "h200", "cuda"], ("torch", "transformers", "safetensors")),
        (["mac-m4", "mlx"], ("torch", "transformers", "safetensors", "mlx.core", "mlx_lm")),
    ],
)
def test_what_labels_promise(labels: list[str], modules: tuple[str, ...]) -> None:
    assert promised_modules(labels) == modules


def test_an_interpreter_tells_what_it_can_import() -> None:
    found = inspect_interpreter(sys.executable, ("json", "no_such_module", "yaml"))
    assert found.version == sys.version.split()[0]
    assert found.missing == ("no_such_module",)
    assert found.modules["yaml"]


def test_the_first_that_keeps_the_promise_is_chosen(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    done = proc.run(
        [sys.executable, "-m", "venv", "--without-pip", str(bare)],
        cwd=tmp_path,
        env=proc.base_env(),
        timeout_s=120,
    )
    assert done.code == 0
    lacking = str(bare / "bin" / "python")
    with pytest.raises(MissingPartError) as caught:
        choose_interpreter([lacking, str(tmp_path / "nothing")], ["h200"])
    assert "lacks torch, transformers, safetensors" in caught.value.problems[0]
    assert "is not installed" in caught.value.problems[1]
    assert "workloads" in caught.value.remedy
    assert choose_interpreter([lacking], ["any"]).path == lacking


def test_where_interpreters_are_looked_for(tmp_path: Path) -> None:
    own = make_python(tmp_path, "exit 0")
    assert candidates("/named/python", str(tmp_path)) == ("/named/python",)
    assert candidates(None, f":{tmp_path}:{tmp_path}") == (sys.executable, own)


def test_a_program_that_is_no_python_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no usable Python: not today"):
        inspect_interpreter(make_python(tmp_path, "echo not today >&2; exit 1"))


def pin_of(found: Interpreter) -> Pin:
    return Pin(found, found, ("any",))


def test_a_pin_is_kept_and_holds(tmp_path: Path) -> None:
    pin = pin_of(inspect_interpreter(sys.executable, ("json",)))
    write_pin(tmp_path / "state" / "pin.json", pin)
    assert read_pin(tmp_path / "state" / "pin.json") == pin
    check_pin(pin, ["any"])
    with pytest.raises(UsageError, match="cannot be read"):
        read_pin(tmp_path / "nowhere.json")


def test_a_python_that_moved_is_named_with_both_versions(tmp_path: Path) -> None:
    answer = '{"version": "3.14.0", "prefix": "/usr", "modules": {}}'
    path = make_python(tmp_path, f"echo '{answer}'")
    pin = pin_of(Interpreter(path, "3.12.4", "/usr"))
    with pytest.raises(UsageError, match=r"was 3\.12\.4 of /usr .* is 3\.14\.0 of /usr now") as one:
        check_pin(pin, ["any"])
    assert "runner install" in one.value.remedy
    (tmp_path / "python3").unlink()
    with pytest.raises(UsageError, match=r"3\.12\.4 is gone"):
        check_pin(pin, ["any"])


def test_a_python_that_lost_what_a_label_promises_is_named(tmp_path: Path) -> None:
    modules = '{"torch": "2.9", "transformers": null, "safetensors": "1"}'
    answer = f'{{"version": "3.12.9", "prefix": "/usr", "modules": {modules}}}'
    pin = pin_of(Interpreter(make_python(tmp_path, f"echo '{answer}'"), "3.12.4", "/usr"))
    with pytest.raises(UsageError, match="lacks transformers, which the labels cuda promise"):
        check_pin(pin, ["cuda"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "3.4.0"}, "was Python 3.4.0 when the service was installed"),
        ({"prefix": "/gone"}, "belonged to the environment /gone"),
        (None, "cannot be read"),
    ],
)
def test_the_start_of_a_service_looks_first(
    tmp_path: Path, change: dict[str, str] | None, said: str
) -> None:
    own = {"path": sys.executable, "version": sys.version.split()[0], "prefix": sys.prefix}
    pin = tmp_path / "pin.json"
    pin.write_text("{" if change is None else json.dumps({"runner": {**own, **change}}))
    launcher = REPO / "bridge" / "cli" / "launch.py"
    argv = [sys.executable, "-I", str(launcher), str(pin), "--config", "nowhere.yaml"]
    done = proc.run(argv, cwd=tmp_path, env=proc.base_env(), timeout_s=60)
    assert done.code == 2
    assert said in done.stderr.decode()
    assert b"what to do: " in done.stderr


# -- labels -------------------------------------------------------------------------------


def test_labels_of_a_mac() -> None:
    mac = {"cpu": "Apple M4 Max", "machine": "arm64", "memory_mb": 65536, "accelerators": []}
    assert probe_labels(mac, ["mlx.core", "mlx_lm"]) == (
        *("any", "mac-m4", "mlx"),
        *("mem-16g", "mem-32g", "mem-64g"),
    )
    assert "mlx" not in probe_labels(mac, ["mlx.core"])
    assert probe_gpus(mac) == {}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_labels_of_a_gpu_box(name: str, label: str | None) -> None:
    gpus = [{"name": name, "memory_mb": "143771"}, {"name": name, "memory_mb": "143000"}]
    box = {"cpu": "AMD EPYC", "machine": "x86_64", "memory_mb": 30000, "accelerators": gpus}
    wanted = ("any", "cuda", *([label] if label else []), "mem-16g", "mem-32g")
    assert probe_labels(box) == wanted
    assert probe_gpus(box) == {"gpus": 2, "gpu_memory_mb": 143000}


# -- what a manager answers ---------------------------------------------------------------


def test_answers_of_systemd() -> None:
    text = "LoadState=loaded\nActiveState=active\nMainPID=42\nExecMainStatus=0\nNRestarts=3\n"
    assert parse_systemd(text) == ServiceState("active", 42, 0, 3)
    dead = "LoadState=loaded\nActiveState=failed\nMainPID=0\nExecMainStatus=2\nNRestarts=0\n"
    assert parse_systemd(dead) == ServiceState("failed", None, 2, 0)
    assert parse_systemd("LoadState=not-found\nActiveState=inactive\n") == ServiceState("absent")
    assert parse_systemd("Failed to connect to bus") == ServiceState("absent")


def test_answers_of_launchd() -> None:
    text = "x = {\n\tstate = running\n\truns = 3\n\tpid = 42\n\tlast exit code = 0\n}\n"
    assert parse_launchd(text) == ServiceState("active", 42, 0, 2)
    dead = "x = {\n\tstate = not running\n\truns = 1\n\tlast exit code = 2: usage\n}\n"
    assert parse_launchd(dead) == ServiceState("failed", None, 2, 0)
    never = "x = {\n\tstate = waiting\n\truns = 0\n\tlast exit code = (never exited)\n}\n"
    assert parse_launchd(never) == ServiceState("inactive", None, None, 0)
