"""Full disks, locks that dead processes left, and caches that are damaged under a live runner."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge import proc
from tests.damage import DAMAGE
from tests.drills.field import BOUND_S, Field
from tests.drills.table import Drill, SkipDrillError
from tests.waiting import until

CORRUPTION = (
    "the clone is gone",
    "everything is empty",
    "the configuration is binary",
    "the objects are empty",
    "the objects are damaged",
    "the refs are empty",
)
LOCKS = ("a killed git left shallow.lock", "a killed git left locks on refs")
_CLONES = ("tips.git", "jobs.git")


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own under `folder`, with what was there before."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as aside:
        shutil.copytree(folder, aside, dirs_exist_ok=True)
        argv = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = proc.run(argv, cwd=folder.parent, env=proc.base_env(), timeout_s=20)
        if done.code != 0:
            raise SkipDrillError(f"no tmpfs may be mounted: {done.stderr.decode().strip()}")
        shutil.copytree(aside, folder, dirs_exist_ok=True)
    try:
        yield
    finally:
        argv = ["umount", "--lazy", str(folder)]
        proc.run(argv, cwd=Path("/"), env=proc.base_env(), timeout_s=20)


def _fill(disk: Path) -> Path:
    """Write until nothing more fits; returns the file to be deleted."""
    path = disk / "fill"
    with path.open("wb", buffering=0) as file:
        for block in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * block)
    return path


def _fill_server(field: Field) -> None:
    with _small_disk(field.remote.path, "8m"):
        field.start("one")
        ref = field.submit(seconds=6)
        field.wait(ref, "running")
        field.strike()
        fill = _fill(field.remote.path)
        field.wait_for_words("full disk")
        fill.unlink()
        field.settle()
        field.close()


def _fill_cache(field: Field) -> None:
    cache = field.lab.folder / "one" / "cache"
    with _small_disk(cache, "8m"):
        field.start("one")
        ref = field.submit(seconds=6)
        field.wait(ref, "running")
        field.strike()
        fill = _fill(cache)
        until(
            lambda: field.chain(ref).ended or "bus: " in field.words(),
            bound_s=BOUND_S,
            what="the job's end or the runner's complaint",
        )  # a wiped clone may have made just enough room
        fill.unlink()
        field.settle()
        field.close()


def _fill_state(field: Field) -> None:
    state = field.lab.folder / "one" / "state"
    with _small_disk(state, "64m"):
        field.start("one")
        ref = field.submit(seconds=6)
        field.wait(ref, "running")
        field.strike()
        fill = _fill(state)
        field.wait_for_words("No space left")
        fill.unlink()
        field.settle()
        field.close()


def _lock_server(field: Field) -> None:
    """A lock lies on a held job's ref: its runner goes on with everything else."""
    field.start("one")
    ref = field.submit(seconds=6)
    field.wait(ref, "running")
    lock = field.remote.path / f"{ref}.lock"
    field.strike()
    lock.touch()
    field.wait_for_words("lets nobody move it")
    field.wait(field.submit(), "done")
    lock.unlink()
    field.settle()


def _lock_packed_refs(field: Field) -> None:
    """Deletions are blocked, so that nothing folds; jobs go on, and fold when it is away."""
    lock = field.remote.path / "packed-refs.lock"
    field.start("one", fold={"keep": 2, "after_s": 0})
    lock.touch()
    field.strike()
    field.wait(field.submit(), "done")
    field.wait(field.submit(), "done")
    lock.unlink()
    field.settle()
    assert not field.processes["one"].poll()


def _damage(kind: str) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        field.start("one")
        ref = field.submit(seconds=6)
        field.wait(ref, "running")
        field.strike()
        cache = field.lab.folder / "one" / "cache"
        for name in _CLONES:
            with contextlib.suppress(OSError):  # it heals while it is being damaged
                DAMAGE[kind](cache / name)
        field.settle()

    return run


DRILLS: tuple[Drill, ...] = (
    Drill("server's disk full", _fill_server, over=("file", "http", "ssh")),
    Drill("cache's disk full", _fill_cache),
    Drill("runner's disk full", _fill_state),
    Drill("lock on a held job's ref", _lock_server, over=("file", "http", "ssh")),
    Drill("lock on packed-refs", _lock_packed_refs),
    *(Drill(f"cache: {kind}", _damage(kind)) for kind in (*CORRUPTION, *LOCKS)),
)
