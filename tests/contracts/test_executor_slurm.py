"""What is Slurm's own: its requests, its queue, its devices, and jobs that it takes away."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.errors import ExecutorError, MissingPartError
from bridge.records import Resources
from executors.contract import Ending, Handle, Job, Limits
from executors.folder import SUPERVISE
from executors.slurm import FRESH_S, SlurmExecutor, State, judge
from tests.contracts.executor_rigs import Rig, job_root
from tests.parts import require
from tests.servers import slurm
from tests.waiting import until

WAIT = "import time\ntime.sleep(1000)"


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Cluster]:
    for part in ("slurmctld", "slurmd", "sbatch", "munged", "root"):
        require(part)
    with slurm.running() as made:
        yield made


@pytest.fixture
def rig(cluster: slurm.Cluster) -> Iterator[Rig]:
    with job_root() as root:
        made = Rig("slurm", root, {"conf": str(cluster.conf)})
        try:
            yield made
        finally:
            made.kill_all()


def test_render_is_all_that_slurm_is_asked(tmp_path: Path) -> None:
    job = Job(
        id="01X",
        attempt=2,
        folder=tmp_path / "it's\nhere",
        argv=("true",),
        env={},
        limits=Limits(wall_s=600, memory_mb=6000, grace_s=5),
        resources=Resources(cpus=4, memory_mb=8000, gpus=2),
        after=(Handle("slurm", tmp_path, {"job": "7"}), Handle("slurm", tmp_path, {"job": "9"})),
    )
    launch = SlurmExecutor(partition="gpu", account="lab").render(job)
    name = launch.command[7]
    assert name.startswith("--job-name=kakeya-01X-2-")
    assert launch.command == (
        "sbatch",
        "--parsable",
        "--no-requeue",
        "--export=ALL",
        "--chdir=/",
        "--output=/dev/null",
        "--error=/dev/null",
        name,
        "--partition=gpu",
        "--account=lab",
        "--nodes=1",
        "--cpus-per-task=4",
        "--mem=8128M",
        "--time=12",
        "--gres=gpu:2",
        "--dependency=afterok:7:9",
        "--kill-on-invalid-dep=yes",
        f"{tmp_path}/it's\nhere/job.sbatch",
    )
    quoted = f"'{tmp_path}/it'\"'\"'s\nhere"
    assert launch.files == {
        "job.sbatch": f"#!/bin/sh\nexec {sys.executable} -I {SUPERVISE} --foreground "
        f"{quoted}' 2>>{quoted}/supervisor.log'\n"
    }


def test_a_job_sees_the_devices_it_was_given(rig: Rig) -> None:
    launch, _, _ = rig.run(
        "import os; open(os.environ['OUT'] + '/gpus', 'w')"
        ".write(os.environ['CUDA_VISIBLE_DEVICES'])",
        resources=Resources(gpus=2),
    )
    assert (launch.out / "gpus").read_text() == "0,1"


def test_a_full_cluster_makes_a_job_wait_and_a_waiting_job_can_be_cancelled(rig: Rig) -> None:
    _, first = rig.submit(WAIT, resources=Resources(cpus=8))
    until(lambda: rig.executor().poll(first).state == "running")
    launch, second = rig.submit(WAIT, resources=Resources(cpus=8))
    assert rig.executor().poll(second).state == "waiting"
    rig.executor().cancel(second)
    ending = rig.ending(second)
    assert (ending.reason, ending.code) == ("cancelled", None)
    assert not (launch.job_dir / "supervisor.json").exists()
    rig.executor().cancel(first)
    assert rig.ending(first).reason == "cancelled"


def test_one_squeue_answers_for_every_job(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = tmp_path / "calls", shutil.which("squeue")
    calls.touch()
    wrapper = tmp_path / "bin" / "squeue"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho >> {calls}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    handles = [rig.submit(WAIT)[1] for _ in range(3)]
    executor = rig.executor()
    until(lambda: {executor.poll(one).state for one in handles} == {"running"})
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    began_s = time.monotonic()
    with ThreadPoolExecutor(4) as pool:  # as a runner's threads do
        states = list(pool.map(lambda one: executor.poll(one).state, handles * 20))
    took_s = time.monotonic() - began_s
    assert states == ["running"] * 60
    assert len(calls.read_text().splitlines()) <= took_s / FRESH_S + 1
    for one in handles:
        executor.cancel(one)
    for one in handles:
        assert rig.ending(one).reason == "cancelled"


def test_one_executor_follows_many_jobs(rig: Rig) -> None:
    handles = [rig.submit(WAIT)[1] for _ in range(3)]
    executor = rig.executor()
    until(lambda: {executor.poll(one).state for one in handles} == {"running"})
    for one in handles:
        executor.cancel(one)
    for one in handles:
        assert rig.ending(one).reason == "cancelled"


def test_a_preempted_job_goes_back_to_the_bus(rig: Rig) -> None:
    launch, low = rig.submit(
        "import os, time\nopen(os.environ['OUT'] + '/up', 'w').close()\ntime.sleep(1000)",
        resources=Resources(cpus=8),
    )
    until(lambda: (launch.out / "up").exists())
    rig.options = {**rig.options, "partition": "high"}
    _, _, high = rig.run("", resources=Resources(cpus=8))
    assert high.code == 0
    ending = rig.ending(low)
    assert ending.reason == "vanished"
    assert ending.detail.startswith("slurm: PREEMPTED")


def test_a_job_ended_by_an_operator_is_cancelled(rig: Rig, cluster: slurm.Cluster) -> None:
    launch, handle = rig.submit(
        "import os, time\nopen(os.environ['OUT'] + '/up', 'w').close()\ntime.sleep(1000)"
    )
    until(lambda: (launch.out / "up").exists())
    cluster.call("scancel", handle.system["job"])
    assert rig.ending(handle).reason == "cancelled"


def test_a_job_waits_for_another_and_falls_with_it(rig: Rig) -> None:
    _, first = rig.submit("raise SystemExit(1)")
    _, second = rig.submit("", after=(first,))
    assert rig.ending(first).code == 1
    ending = rig.ending(second)
    assert (ending.reason, ending.code) == ("cancelled", None)
    assert "Dependency" in ending.detail


def test_a_job_that_was_submitted_but_not_written_down_is_found(
    rig: Rig, cluster: slurm.Cluster
) -> None:
    launch, handle = rig.submit("open(__import__('os').environ['OUT'] + '/runs', 'a').write('x')")
    (launch.job_dir / "handle.json").unlink()
    assert rig.executor().submit(launch) == handle
    assert rig.ending(handle).code == 0
    (launch.job_dir / "handle.json").unlink()
    assert rig.executor().submit(launch) == handle
    assert (launch.out / "runs").read_text() == "x"


def test_slurm_does_not_run_it_again(rig: Rig, cluster: slurm.Cluster) -> None:
    launch, handle = rig.submit(
        "import os, time\n"
        "open(os.environ['OUT'] + '/runs', 'a').write('x')\n"
        "while not os.path.exists(os.environ['OUT'] + '/go'): time.sleep(0.01)"
    )
    until(lambda: (launch.out / "runs").exists())
    with pytest.raises(Exception, match="scontrol"):
        cluster.call("scontrol", "requeue", handle.system["job"])
    (launch.out / "go").touch()
    assert rig.ending(handle).code == 0
    assert (launch.out / "runs").read_text() == "x"


def test_what_slurm_refuses_is_told(rig: Rig) -> None:
    rig.options = {**rig.options, "partition": "no-such-partition"}
    with pytest.raises(ExecutorError, match="invalid partition") as caught:
        rig.submit("")
    assert "sinfo" in caught.value.remedy


def test_a_cluster_that_is_down_says_nothing_about_the_job(rig: Rig, tmp_path: Path) -> None:
    _, handle = rig.submit(WAIT)
    dead = tmp_path / "slurm.conf"
    text = Path(rig.options["conf"]).read_text()
    dead.write_text(text.replace("SlurmctldPort=", "SlurmctldPort=1 #"))
    with pytest.raises(ExecutorError, match="squeue failed"):
        SlurmExecutor(conf=str(dead)).poll(handle)
    rig.executor().cancel(handle)
    assert rig.ending(handle).reason == "cancelled"


def test_a_machine_without_slurm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPartError, match="squeue is not installed"):
        Rig("slurm", tmp_path).submit("")


ENDED = Ending(0, None, "exit")
TERMED = Ending(None, 15, "cancelled", "the supervisor was sent SIGTERM")


@pytest.mark.parametrize(
    ("ending", "word", "wished", "reason", "limit"),
    [
        (ENDED, "COMPLETED", False, "exit", None),
        (ENDED, "PREEMPTED", False, "exit", None),  # it was done before
        (TERMED, "CANCELLED", False, "cancelled", None),
        (TERMED, "PREEMPTED", False, "vanished", None),
        (TERMED, "PREEMPTED", True, "cancelled", None),
        (TERMED, "NODE_FAIL", False, "vanished", None),
        (TERMED, "TIMEOUT", False, "timeout", "wall_s"),
        (Ending(None, 9, "signal"), "OUT_OF_MEMORY", False, "memory", "memory_mb"),
        (Ending(None, 9, "timeout", limit="wall_s"), "FAILED", False, "timeout", "wall_s"),
        (None, "CANCELLED", True, "cancelled", None),
        (None, "CANCELLED by 0", False, "cancelled", None),
        (None, "NODE_FAIL", False, "vanished", None),
        (None, "BOOT_FAIL", False, "vanished", None),
        (None, "FAILED", False, "launch", None),
        (None, "UNKNOWN", False, "launch", None),
    ],
)
def test_slurm_s_word_and_the_supervisor_s_make_one_end(
    ending: Ending | None, word: str, wished: bool, reason: str, limit: str | None
) -> None:
    judged = judge(ending, State(word, "Why"), wished=wished)
    assert (judged.reason, judged.limit) == (reason, limit)
    if judged != ending:
        assert judged.detail == f"slurm: {word} (Why)"
