"""An installed runner under a real systemd: restarts, a hang, a drain, an upgrade, its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge import proc
from bridge.bus.chain import Chain
from tests.lab import Lab, commit_all, git_in, make_bare, open_lab
from tests.servers import systemd
from tests.waiting import until

pytestmark = pytest.mark.real("systemd")

NAME = "box-1"
UNIT = f"kakeya-remote-{NAME}.service"


@dataclass
class Box:
    """A machine with a service manager, and a lab whose runner is installed there."""

    machine: systemd.Machine
    lab: Lab
    upstream: Path
    settings: Path

    def runner(self, command: str, *options: str) -> proc.Completed:
        """`kakeya_remote runner COMMAND` on the machine, by the trusted checkout's program."""
        words = ("runner", command, "--user", "--config", str(self.settings), *options)
        return self.machine.call(
            *(sys.executable, "-m", "bridge.cli.main", *words),
            env={"PYTHONPATH": str(self.lab.checkout)},
        )

    def show(self) -> dict[str, str]:
        return self.machine.show(UNIT)

    def session(self) -> str:
        """The session that beats now."""
        beat = self.lab.bus.peek(self.lab.bus.refs.heartbeat(NAME))
        return "" if beat is None else self.lab.bus.load_heartbeat(beat.ref).session

    def words(self) -> str:
        return self.lab.words(NAME) + self.machine.log.read_text()[-2000:]

    def start_job(self, seconds: float) -> str:
        """A job that has begun."""
        ref = self.lab.submit("noop", {"seconds": seconds})
        self.lab.wait(ref, "running")
        return ref

    def await_other_session(self, before: str) -> None:
        until(lambda: self.session() not in ("", before), bound_s=180, what="another session")


def assert_ran_once(chain: Chain, words: str) -> None:
    assert chain.state == "done", words
    assert chain.attempt == 1
    assert [link.event.value for link in chain.links].count("claim") == 1


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("box")
    upstream = folder / "upstream"
    git_in(folder, "clone", "--quiet", str(checkout), str(upstream))
    git_in(folder, "clone", "--quiet", str(upstream), "trusted checkout")
    make_bare(folder / "bus.git")
    lab = open_lab(folder / "trusted checkout", str(folder / "bus.git"), folder / "lab")
    home = folder / "home"
    # quicker than a person wants it; and no journal runs beside this manager
    drop_in = home / ".config" / "systemd" / "user" / f"{UNIT}.d" / "test.conf"
    drop_in.parent.mkdir(parents=True)
    log = lab.folder / f"{NAME}.log"
    drop_in.write_text(
        f"[Service]\nRestartSec=200ms\nWatchdogSec=15\nStandardOutput=append:{log}\n"
        f"StandardError=append:{log}\n"
    )
    with systemd.running(home) as machine:
        found = Box(machine, lab, upstream, lab.settings(NAME))
        done = found.runner("install")
        assert done.code == 0, done.stderr.decode() + found.words()
        assert b"linger" in done.stderr  # no logind here: told, with what to do
        until(found.session, bound_s=180, what="the first beat")
        yield found
    lab.bus.close()


def test_it_is_active_and_says_so(box: Box) -> None:
    assert box.show()["ActiveState"] == "active"
    done = box.runner("status", "--json")
    assert done.code == 0, box.words()
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["service"], told["name"], told["restarts"]) == ("active", NAME, 0)
    assert str(told["pid"]) == box.show()["MainPID"]


def test_killed_it_comes_back_and_adopts_its_job(box: Box) -> None:
    before, restarts = box.session(), int(box.show()["NRestarts"])
    ref = box.start_job(10)
    box.machine.call("systemctl", "--user", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
    box.await_other_session(before)
    assert_ran_once(box.lab.wait(ref), box.words())
    assert int(box.show()["NRestarts"]) > restarts
    assert "adopted" in box.lab.words(NAME)


def test_a_restart_stops_the_runner_alone(box: Box) -> None:
    before = box.session()
    ref = box.start_job(10)
    assert box.machine.call("systemctl", "--user", "restart", UNIT).code == 0
    box.await_other_session(before)
    assert_ran_once(box.lab.wait(ref), box.words())


def test_a_hung_runner_is_started_again_by_the_watchdog(box: Box) -> None:
    before = box.session()
    ref = box.start_job(12)
    box.machine.call("systemctl", "--user", "kill", "--kill-whom=main", "--signal=STOP", UNIT)
    box.await_other_session(before)
    assert_ran_once(box.lab.wait(ref), box.words())


def test_an_upgrade_moves_the_trusted_commit_and_adopts_what_runs(box: Box) -> None:
    before = git_in(box.lab.checkout, "rev-parse", "HEAD")
    (box.upstream / "presets" / "noop.yaml").open("a").write("# a new version\n")
    after = commit_all(box.upstream, "a new version")
    ref = box.start_job(25)
    done = box.runner("upgrade", "--drain", "1")
    assert done.code == 0, done.stderr.decode() + box.words()
    assert done.stdout.decode().split() == [before, after]
    assert b"they go on" in done.stderr

    def trusts() -> str:
        return box.lab.bus.load_heartbeat(box.lab.bus.refs.heartbeat(NAME)).facts.trusted

    until(lambda: trusts() == after, bound_s=180, what="a beat that trusts the new commit")
    chain = box.lab.wait(ref)
    assert_ran_once(chain, box.words())
    assert chain.claim is not None
    assert chain.claim.trusted == before  # what was claimed is judged by what the claim pinned


def test_a_moved_interpreter_is_named_and_not_started_for_ever(box: Box) -> None:
    pin = box.lab.folder / NAME / "state" / "pin.json"
    whole = pin.read_text()
    document = json.loads(whole)
    document["runner"]["version"] = "3.9.2"
    pin.write_text(json.dumps(document))
    box.machine.call("systemctl", "--user", "restart", UNIT)
    until(lambda: box.show()["ActiveState"] == "failed", bound_s=180, what="a failed service")
    assert "was Python 3.9.2 when the service was installed" in box.lab.words(NAME)
    done = box.runner("status", "--json")
    told = json.loads(done.stdout)
    assert (done.code, told["service"], told["exit_code"], told["pid"]) == (1, "failed", 2, None)
    before = box.session()
    assert box.runner("install").code == 0  # pins what is there now
    box.await_other_session(before)
    assert json.loads(pin.read_text()) == json.loads(whole)


def test_a_drained_runner_stays_down_and_uninstall_removes_it(box: Box) -> None:
    ref = box.start_job(3)
    assert box.runner("drain", "--timeout", "120").code == 0, box.words()
    assert_ran_once(box.lab.bus.load(ref), box.words())
    until(lambda: box.show()["ActiveState"] == "inactive", bound_s=180, what="an inactive service")
    assert box.runner("drain").code == 2
    assert box.runner("uninstall").code == 0
    assert box.show()["LoadState"] == "not-found"
    unit = box.machine.home / ".config" / "systemd" / "user" / UNIT
    assert not unit.exists()
    assert (box.lab.folder / NAME / "state" / "key").is_file()
    assert box.runner("uninstall").code == 0  # nothing left to do
