"""A Slurm cluster of one node on loopback: munged, slurmctld, slurmd, ended by number.

No accounting database and no control groups; processes are tracked by descent (linuxproc). Two
partitions: jobs in `high` preempt those in `low`. Two pretended GPUs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
SBIN = "/usr/sbin"

CONF = """
ClusterName=kakeya
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=10000
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
KillWait=3
InactiveLimit=0
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=CANCEL State=UP
PartitionName=high Nodes=ALL PriorityTier=10 State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its configuration, for `SLURM_CONF`, and its daemons."""

    folder: Path
    conf: Path
    daemons: dict[str, subprocess.Popen[bytes]]

    def call(self, *command: str) -> str:
        """What a Slurm program prints."""
        env = os.environ | {"SLURM_CONF": str(self.conf)}
        done = subprocess.run(command, env=env, capture_output=True, timeout=30, check=True)
        return done.stdout.decode().strip()


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """A cluster that takes jobs."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder, _configure(folder), {})
    try:
        _start(cluster, "munged", "--foreground", "--force", *_munge_files(folder))
        until((folder / "munge.socket").exists, bound_s=20, what="munged")
        _start(cluster, "slurmctld", "-D", "-i", "-f", str(cluster.conf))
        until(lambda: _answers(cluster), bound_s=30, what="slurmctld")
        _start(cluster, "slurmd", "-D", "-f", str(cluster.conf))
        until(lambda: _idle(cluster), bound_s=60, what="an idle node")
        yield cluster
    finally:
        for daemon in reversed(list(cluster.daemons.values())):
            daemon.terminate()
        for daemon in cluster.daemons.values():
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path) -> Path:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    ports = [_free_port() for _ in range(2)]
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    conf.write_text(CONF.format(host=host, folder=folder, ctld_port=ports[0], d_port=ports[1]))
    # A GPU is known by its device file; these devices are on every Linux.
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    return conf


def _munge_files(folder: Path) -> list[str]:
    names = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    files = [f"--{option}={folder}/munge.{suffix}" for option, suffix in names.items()]
    return [*files, f"--key-file={folder}/munge.key"]


def _start(cluster: Cluster, name: str, *arguments: str) -> None:
    with (cluster.folder / f"{name}.out").open("wb") as out:
        cluster.daemons[name] = subprocess.Popen(
            [f"{SBIN}/{name}", *arguments],
            stdout=out,
            stderr=out,
            env={"PATH": f"/usr/bin:/bin:{SBIN}", "SLURM_CONF": str(cluster.conf)},
            start_new_session=True,
        )


def _answers(cluster: Cluster) -> bool:
    try:
        return bool(cluster.call("sinfo", "--noheader"))
    except subprocess.CalledProcessError:
        return False


def _idle(cluster: Cluster) -> bool:
    return cluster.call("sinfo", "--noheader", "--format=%t", "--partition=low") == "idle"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
