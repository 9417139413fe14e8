"""The live view driven by keyboard, on a real bus, in textual's own pilot and in a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge import proc
from bridge.bus.commits import compose_step, runner_identity
from bridge.cli.main import main
from bridge.client.lookout import Lookout
from bridge.clock import Clock
from bridge.records import Decline, Progress
from bridge.states import Event
from tests import samples
from tests.actors import WHEN_S
from tests.integration.client_rig import Rig
from tests.lab import REPO

if TYPE_CHECKING:
    from bridge.cli.screen import Screen

pytestmark = pytest.mark.real("textual")

BOUND_S = 120.0


def fill(rig: Rig) -> dict[str, str]:
    """One job of each kind: ended, running with progress and output, queued; their ids."""
    ids = {}
    for name in ("ended", "running", "queued"):
        rig.clock.now_s += 1
        job_id, ref = rig.submit("noop", {"seconds": 1})
        ids[name] = job_id
        if name != "queued":
            rig.runner.claim(ref)
        if name == "running":
            rig.runner.log(ref, b"step one\n\x1b[31m[bold]red[/bold]\n", Progress(3, 12, 90.0))
        if name == "ended":
            rig.runner.finish(ref)
    rig.runner.beat(declines=[Decline(ids["queued"], "busy", "1 jobs hold what it needs")])
    return ids


class Driver:
    """A person at the view."""

    def __init__(self, screen: Screen, pilot: Any) -> None:
        self.screen, self.pilot = screen, pilot

    def text(self, name: str) -> str:
        """The words of a part."""
        from textual.widgets import Static

        return str(self.screen.query_one(name, Static).render())

    def table(self, name: str) -> list[list[str]]:
        """The cells of a table."""
        from textual.widgets import DataTable

        table = self.screen.query_one(name, DataTable)
        return [[str(cell) for cell in table.get_row_at(row)] for row in range(table.row_count)]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Let the view work until a condition holds."""
        deadline = time.monotonic() + BOUND_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.table('#jobs')}"
            await self.pilot.pause(0.02)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)


def drive(rig: Rig, play: Callable[[Driver], Awaitable[None]]) -> None:
    """Open the view on the rig's bus and let `play` sit before it."""
    from bridge.cli.screen import Screen

    async def session() -> None:
        screen = Screen(rig.client, every_s=3600.0)
        async with screen.run_test(size=(140, 40)) as pilot:
            await play(Driver(screen, pilot))

    asyncio.run(session())


def test_the_view_shows_the_queue_the_runners_progress_and_output(rig: Rig) -> None:
    ids = fill(rig)

    async def play(driver: Driver) -> None:
        await driver.until(lambda: len(driver.table("#jobs")) == 3, "three jobs")
        rows = {row[2]: row for row in driver.table("#jobs")}
        assert [row[0] for row in driver.table("#jobs")] == ["queued", "running", "pass"]
        assert rows[ids["running"]][6].endswith("3/12")
        assert rows[ids["running"]][7] == "90 s"
        assert rows[ids["running"]][4] == "mac-m4"
        ((name, state, *_),) = driver.table("#runners")
        assert (name, state) == ("mac-m4", "alive")
        assert "1 queued, 1 running, 1 runners alive" in driver.text("#status")
        await driver.press("down")
        await driver.until(lambda: "step one" in driver.text("#output"), "the output")
        assert "\\x1b[31m[bold]red[/bold]" in driver.text("#output"), "as it is, not obeyed"

    drive(rig, play)


def test_keys_choose_what_is_shown(rig: Rig) -> None:
    ids = fill(rig)

    async def play(driver: Driver) -> None:
        await driver.until(lambda: len(driver.table("#jobs")) == 3, "three jobs")
        shown = []
        for _ in range(4):
            await driver.press("f")
            shown.append([row[2] for row in driver.table("#jobs")])
        assert shown == [
            [ids["queued"], ids["running"]],
            [ids["queued"]],
            [ids["ended"]],
            [ids["queued"], ids["running"], ids["ended"]],
        ]
        await driver.until(lambda: driver.screen.chosen is not None, "a chosen job")
        await driver.press("home", "w")
        await driver.until(lambda: "mac-m4: busy" in driver.text("#output"), "why it waits")
        await driver.press("l")
        assert driver.screen.query_one("#jobs").has_class("hidden")
        await driver.press("l")
        assert not driver.screen.query_one("#jobs").has_class("hidden")
        await driver.press("q")

    drive(rig, play)


def test_a_look_sees_what_moved_and_an_outage_leaves_the_view_standing(rig: Rig) -> None:
    ids = fill(rig)
    bus = Path(rig.url)

    async def play(driver: Driver) -> None:
        await driver.until(lambda: len(driver.table("#jobs")) == 3, "three jobs")
        rig.runner.finish(rig.client.find(ids["running"]), Event.FAILED, verdict=None)
        await driver.press("r")
        await driver.until(
            lambda: {row[2]: row[0] for row in driver.table("#jobs")}[ids["running"]] == "failed",
            "the failed job",
        )
        bus.rename(bus.with_name("away"))
        await driver.press("r")
        await driver.until(lambda: "does not answer" in driver.text("#status"), "the outage")
        assert len(driver.table("#jobs")) == 3
        bus.with_name("away").rename(bus)
        await driver.press("r")
        await driver.until(lambda: "does not answer" not in driver.text("#status"), "its end")

    drive(rig, play)


def test_what_jobs_took_before_tells_what_the_next_takes(rig: Rig) -> None:
    took_s = (10, 30, 20)
    for seconds in took_s:
        _, ref = rig.submit("noop")
        rig.runner.claim(ref)
        chain = rig.runner.bus.load(ref)
        record = samples.make_result(chain, by="mac-m4")
        commit = compose_step(
            chain,
            Event.DONE,
            record,
            author=runner_identity("mac-m4"),
            when_s=WHEN_S + seconds,
        )
        rig.runner.push(ref, commit, chain.tip)
    job_id, ref = rig.submit("noop")
    rig.runner.claim(ref)
    clock = Clock(wall_s=lambda: WHEN_S + 5.0)
    look = Lookout(rig.client.bus, clock).look()
    (job,) = [one for one in look.jobs if one.status.id == job_id]
    assert (job.since_s, job.left_s, job.told) == (5.0, 15.0, False)
    assert job.share == pytest.approx(0.25)


def test_in_a_terminal_it_draws_and_ends_by_key(rig: Rig, tmp_path: Path) -> None:
    ids = fill(rig)
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    env = {**proc.base_env(), "PYTHONPATH": str(REPO), "TERM": "xterm-256color"}
    env |= {"KAKEYA_CACHE": str(tmp_path / "watch"), "HOME": str(tmp_path)}
    argv = [sys.executable, "-m", "bridge.cli.main", "watch", "--bus", rig.url]
    with subprocess.Popen(
        argv, stdin=inner, stdout=inner, stderr=inner, env=env, cwd=tmp_path
    ) as process:
        os.close(inner)
        try:
            seen = read_until(terminal, ids["queued"])
            assert "mac-m4" in seen
            os.write(terminal, b"q")
            read_until(terminal, None)
            assert process.wait(BOUND_S) == 0
        finally:
            process.kill()
    os.close(terminal)


def read_until(terminal: int, words: str | None) -> str:
    """What the terminal shows until these words came, or, with None, until it is closed."""
    data = b""
    deadline = time.monotonic() + BOUND_S
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end of a terminal is gone
            piece = b""
        data += piece
        text = re.sub(rb"\x1b\[[0-9;?<>=]*[A-Za-z]", b"", data).decode("utf-8", "replace")
        if not piece or (words is not None and words in text):
            return text
    raise AssertionError(f"{words!r} did not come within {BOUND_S:g} s: {data[-2000:]!r}")


def test_without_a_terminal_it_says_what_to_use_instead(
    rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAKEYA_BUS", rig.url)
    assert main(["watch"]) == 2
    assert "kakeya_remote list" in capsys.readouterr().err
