"""`logs`, raw, as JSON and followed; what a terminal is shown and spared."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.cli.main import main
from bridge.records import Progress
from tests.integration.client_rig import Rig, command, command_env
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("in_project")


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
    env = command_env(TERM="xterm-256color", COLUMNS="200", **more)
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


def follow_to_the_end(rig: Rig, stdout: int, stderr: int, *words: str) -> Callable[[], bytes]:
    """`logs --follow` of a job that says how far it is, and ends once that was shown."""
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.log(ref, b"first line\n", Progress(2, 5, 7.5, "rung 512"))
    process = subprocess.Popen(
        command("logs", job, "--follow", *words),
        cwd=rig.project,
        env=command_env(TERM="xterm-256color", COLUMNS="200"),
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
