"""What is pueue's own: its queue, its slots, its labels, and a daemon that is not as it should."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.errors import ExecutorError, MissingPartError
from executors.contract import Job
from tests.contracts.executor_rigs import Rig, job_root
from tests.parts import require
from tests.servers import pueued
from tests.waiting import until

WAIT = "import time\ntime.sleep(1000)"


@pytest.fixture
def config() -> Iterator[Path]:
    require("pueue")
    require("pueued")
    with pueued.configured() as made:
        yield made


@pytest.fixture
def rig(config: Path) -> Iterator[Rig]:
    with job_root() as root, pueued.running(config):
        made = Rig("pueue", root, {"config": str(config), "group": "one at a time"})
        try:
            yield made
        finally:
            made.kill_all()


def tasks(rig: Rig) -> dict[str, dict[str, object]]:
    answer = pueued.call(Path(rig.options["config"]), "status", "--json").stdout
    found: dict[str, dict[str, object]] = json.loads(answer)["tasks"]
    return found


def test_render_is_the_command_that_queues_it(tmp_path: Path) -> None:
    job = Job("01X", 2, tmp_path / "a 'b'\n;c", ("true",), {})
    command = Rig("pueue", tmp_path, {"config": "c"}).executor().render(job).command
    assert command[:9] == (
        *("pueue", "--config", "c", "add", "--print-task-id"),
        *("--group", "kakeya", "--label", command[8]),
    )
    assert command[8].startswith("kakeya-01X-2-")
    assert command[-1].endswith("""/a '"'"'b'"'"'\n;c'""")


def test_a_full_group_makes_a_job_wait_and_a_waiting_job_can_be_cancelled(rig: Rig) -> None:
    _, first = rig.submit(WAIT)
    until(lambda: rig.executor().poll(first).state == "running")
    launch, second = rig.submit(WAIT)
    _, third = rig.submit("print('third')")
    assert rig.executor().poll(second).state == "waiting"
    rig.executor().cancel(second)
    assert rig.ending(second).reason == "cancelled"
    assert not (launch.job_dir / "supervisor.json").exists()
    assert rig.executor().poll(third).state == "waiting"
    rig.executor().cancel(first)
    assert rig.ending(third).code == 0


def test_the_group_holds_as_many_as_it_was_made_for(rig: Rig) -> None:
    rig.options = {**rig.options, "group": "two", "parallel": "2"}
    handles = [rig.submit(WAIT)[1] for _ in range(3)]
    until(lambda: [rig.executor().poll(one).state for one in handles].count("running") == 2)
    assert [rig.executor().poll(one).state for one in handles].count("waiting") == 1
    for one in handles:
        rig.executor().cancel(one)
        assert rig.ending(one).reason == "cancelled"


def test_a_job_waits_for_another_and_falls_with_it(rig: Rig) -> None:
    _, first = rig.submit(WAIT)
    rig.options = {**rig.options, "group": "other"}
    _, second = rig.submit("", after=(first,))
    assert rig.executor().poll(second).state == "waiting"
    rig.executor().cancel(first)
    ending = rig.ending(second)
    assert (ending.reason, ending.detail) == (
        "launch",
        "pueue could not start it: DependencyFailed",
    )


def test_its_label_tells_request_and_attempt(rig: Rig) -> None:
    _, handle, _ = rig.run("")
    task = tasks(rig)[handle.system["task"]]
    assert str(task["label"]).startswith("kakeya-01JZ0000000000000000000000-1-")
    assert task["group"] == "one at a time"


def test_the_queue_knows_nothing_of_the_job_s_environment(rig: Rig) -> None:
    rig.run("")
    assert "OUT" not in json.dumps(tasks(rig)).replace("OUTPUT", "")


def test_a_job_that_was_queued_but_not_written_down_is_found(rig: Rig) -> None:
    _, blocker = rig.submit(WAIT)
    launch, handle = rig.submit("open(__import__('os').environ['OUT'] + '/runs', 'a').write('x')")
    (launch.job_dir / "handle.json").unlink()
    assert rig.executor().submit(launch) == handle
    assert len(tasks(rig)) == 2
    rig.executor().cancel(blocker)
    assert rig.ending(handle).code == 0
    assert (launch.out / "runs").read_text() == "x"


def test_a_task_that_somebody_removed_is_an_end(rig: Rig) -> None:
    _, blocker = rig.submit(WAIT)
    _, handle = rig.submit("")
    pueued.call(Path(rig.options["config"]), "remove", handle.system["task"])
    assert rig.ending(handle).reason == "vanished"
    rig.executor().cancel(blocker)
    rig.ending(blocker)


def test_a_job_outlives_its_daemon(config: Path) -> None:
    with job_root() as root:
        rig = Rig("pueue", root, {"config": str(config)})
        with pueued.running(config) as daemon:
            launch, handle = rig.submit(
                "import os, time\n"
                "open(os.environ['OUT'] + '/up', 'w').close()\n"
                "while not os.path.exists(os.environ['OUT'] + '/go'): time.sleep(0.01)"
            )
            until(lambda: (launch.out / "up").exists())
            daemon.kill()
            daemon.wait()
            assert rig.executor().poll(handle).state == "running"
            (launch.out / "go").touch()
            assert rig.ending(handle).code == 0


def test_a_daemon_that_is_down_is_told_with_the_remedy(config: Path) -> None:
    with job_root() as root:
        rig = Rig("pueue", root, {"config": str(config)})
        for _ in range(2):
            with pytest.raises(ExecutorError, match="daemon cannot be reached") as caught:
                rig.submit("")
            assert caught.value.remedy == "start it: pueued -d"
            with pueued.running(config):  # now its secret is there, and its socket stale
                pass


def test_a_client_that_is_not_there_is_told(tmp_path: Path) -> None:
    rig = Rig("pueue", tmp_path, {"pueue": "no-such-pueue"})
    with pytest.raises(MissingPartError, match="pueue is not installed") as caught:
        rig.submit("")
    assert "cargo install pueue" in caught.value.remedy


def test_a_client_of_another_age_is_told(tmp_path: Path) -> None:
    for version, word in (("3.4.1", "old"), ("5.0.0", "new")):
        program = tmp_path / f"pueue-{word}"
        program.write_text(f"#!/bin/sh\necho pueue {version}\n")
        program.chmod(0o755)
        rig = Rig("pueue", tmp_path, {"pueue": str(program)})
        with pytest.raises(ExecutorError, match=f"pueue {version} is too {word}"):
            rig.submit("")


def test_a_daemon_of_another_age_is_told(config: Path) -> None:
    require("pueued-3")
    with job_root() as root, pueued.running(config, "pueued-3"):
        rig = Rig("pueue", root, {"config": str(config)})
        with pytest.raises(ExecutorError, match="speaks another version") as caught:
            rig.submit("")
        assert "restart its daemon" in caught.value.remedy
