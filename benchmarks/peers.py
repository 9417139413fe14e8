"""The same nothing through other tools: pueue, Slurm, DVC's queue, act."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Action, Row, Table, compare
from benchmarks.scene import SLOTS, open_scene
from bridge import proc
from bridge.client.settings import cache_folder
from tests.lab import git_in
from tests.parts import PARTS
from tests.servers import pueued, slurm
from tests.servers.child import find_program, server_env
from tests.waiting import until

_ROUNDS = 5
_TIMEOUT_S = 300.0
Start = Callable[[Path], Action]
"""Makes a job ready in a folder of its own; what it returns is timed."""

_NOTE = (
    "One job that does nothing (`true`; here the preset `noop`, judged and signed), from the "
    "command that submits it to the end of the command that waits for it, on this machine. None of "
    "the others sends its job through a server that both sides can reach, so none has a push to "
    "pay; the row of `kakeya_remote` is the whole command, the start of Python with it."
)
_WORKFLOW = """\
on: push
jobs:
  noop:
    runs-on: ubuntu-latest
    steps:
      - run: "true"
"""


def measure() -> Iterator[Table]:
    """One table; what cannot be had is named."""
    skipped: list[str] = []
    with ExitStack() as stack, TemporaryDirectory(prefix="peers-") as name:
        folder = Path(name)
        cases: dict[str, Callable[[], Action]] = {}
        for title, part, opened in (
            ("kakeya_remote run --wait, file", "", _open_own),
            ("pueue add, pueue wait", "pueued", _open_pueue),
            ("sbatch --wait", "slurmctld", _open_slurm),
            ("dvc queue start, to its end", "", _open_dvc),
            ("act push", "act", _open_act),
        ):
            if part and not PARTS[part][0]():
                skipped.append(f"{title}: {PARTS[part][1]}")
                continue
            try:
                cases[title] = stack.enter_context(opened(folder))
            except Exception as error:
                skipped.append(f"{title}: {str(error).splitlines()[0][:200]}")
        rows: tuple[Row, ...] = compare(cases, rounds=_ROUNDS)
    after = "Not measured: " + "; ".join(skipped) + "." if skipped else ""
    yield Table("Peers", _NOTE, rows, after)


def _run(argv: list[str], cwd: Path, env: dict[str, str] | None = None) -> None:
    done = proc.run(argv, cwd=cwd, env={**server_env(cwd), **(env or {})}, timeout_s=_TIMEOUT_S)
    assert done.code == 0, f"{argv}: {done.stdout[-300:]!r} {done.stderr[-600:]!r}"


@contextmanager
def _open_own(folder: Path) -> Iterator[Callable[[], Action]]:
    with open_scene("file") as scene:
        scene.start_runner("peer-1", launch=True, slots=SLOTS)
        scene.wait_for_runners(["peer-1"])
        argv = [sys.executable, "-P", "-m", "bridge.cli.main", "run", "noop", "--wait"]
        env = {
            "KAKEYA_BUS": scene.remote.url,
            "KAKEYA_CACHE": str(folder / "cache"),
            "PYTHONPATH": str(scene.lab.checkout),
        }
        scene.lab.push_code(scene.lab.checkout, scene.lab.commit)
        yield lambda: lambda: _run(argv, scene.lab.checkout, env)


@contextmanager
def _open_pueue(folder: Path) -> Iterator[Callable[[], Action]]:
    with pueued.configured() as config, pueued.running(config):
        pueue = ["pueue", "--config", str(config)]

        def act() -> None:
            done = proc.run(
                [*pueue, "add", "--print-task-id", "--", "true"],
                cwd=folder,
                env=server_env(folder),
                timeout_s=_TIMEOUT_S,
            )
            _run([*pueue, "wait", "--quiet", done.stdout.decode().strip()], folder)

        yield lambda: act


@contextmanager
def _open_slurm(folder: Path) -> Iterator[Callable[[], Action]]:
    with slurm.running() as cluster:
        env = {"SLURM_CONF": str(cluster.conf)}
        argv = ["sbatch", "--wait", "--quiet", "--output=/dev/null", "--wrap=true"]
        yield lambda: lambda: _run(argv, folder, env)


@contextmanager
def _open_dvc(folder: Path) -> Iterator[Callable[[], Action]]:
    """DVC in a virtual environment of its own, made where there is none yet."""
    place = cache_folder("dvc", "bench", os.environ).parents[1] / "bench" / "dvc"
    dvc = place / "bin" / "dvc"
    if not dvc.is_file():
        _install("dvc", place)
    project = folder / "dvc"
    project.mkdir()
    env = {"DVC_NO_ANALYTICS": "1", "PATH": f"{dvc.parent}:{os.environ['PATH']}"}
    git_in(project, "init", "--quiet")
    _run([str(dvc), "init", "--quiet"], project, env)
    stage = {"stages": {"noop": {"cmd": "true"}}}
    (project / "dvc.yaml").write_text(json.dumps(stage))
    git_in(project, "add", "--all")
    git_in(project, "commit", "--quiet", "--message", "noop")

    def prepare() -> Action:
        return lambda: _queue(dvc, project, env)

    yield prepare


def _queue(dvc: Path, project: Path, env: dict[str, str]) -> None:
    """Queue one experiment, start one worker, and wait until nothing is queued or running."""
    name = f"bench-{time.monotonic_ns()}"
    _run([str(dvc), "exp", "run", "--queue", "--force", "--name", name], project, env)
    _run([str(dvc), "queue", "start"], project, env)

    def ended() -> bool:
        argv = [str(dvc), "queue", "status"]
        full = {**server_env(project), **env}
        done = proc.run(argv, cwd=project, env=full, timeout_s=_TIMEOUT_S)
        rows = [row for row in done.stdout.decode().splitlines() if name in row]
        return any("Success" in row or "Failed" in row for row in rows)

    until(ended, bound_s=_TIMEOUT_S, what="dvc queue")


def _install(package: str, place: Path) -> None:
    env = {**os.environ}
    for argv in (
        [sys.executable, "-m", "venv", str(place)],
        [str(place / "bin" / "pip"), "install", "--quiet", package],
    ):
        done = proc.run(argv, cwd=Path.cwd(), env=env, timeout_s=300)
        if done.code:
            shutil.rmtree(place, ignore_errors=True)
            raise RuntimeError(done.stderr.decode(errors="replace").strip()[-200:] or "pip failed")


@contextmanager
def _open_act(folder: Path) -> Iterator[Callable[[], Action]]:
    act = find_program("act")
    assert act is not None
    project = folder / "act"
    (project / ".github" / "workflows").mkdir(parents=True)
    (project / ".github" / "workflows" / "noop.yml").write_text(_WORKFLOW)
    git_in(project, "init", "--quiet")
    git_in(project, "add", "--all")
    git_in(project, "commit", "--quiet", "--message", "noop")
    argv = [act, "push", "--quiet", "--platform", "ubuntu-latest=-self-hosted"]
    yield lambda: lambda: _run(argv, project)
