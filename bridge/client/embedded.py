"""A bus and a runner for one call alone, below `.kakeya/` of a checkout."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

import bridge
from bridge import proc
from bridge.client.checkout import Checkout, find_checkout
from bridge.client.founding import prepare_server
from bridge.clock import Backoff, Clock
from bridge.errors import KakeyaError, UsageError

FOLDER = ".kakeya"
RUNNER = "embedded"
STOP_S = 20.0
"""How long the runner has to end politely before it is killed."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The places of an embedded bus."""

    folder: Path
    checkout: Path

    @property
    def bus(self) -> Path:
        """The bare repository."""
        return self.folder / "bus.git"

    @property
    def log(self) -> Path:
        """What the runner says."""
        return self.folder / "runner.log"

    @property
    def config(self) -> Path:
        """The runner's settings, JSON in a YAML file."""
        return self.folder / "runner.yaml"


def trusted_checkout(folder: Path) -> Checkout:
    """The checkout an embedded runner trusts: the one around `folder`, or the program's own.

    Raises:
        UsageError: neither has presets.
    """
    for place in (folder, Path(bridge.__path__[0]).parent):
        checkout = find_checkout(place)
        if checkout is not None and checkout.preset_files():
            return checkout
    raise UsageError(
        "an embedded runner needs a git checkout with presets/",
        where=str(folder),
        remedy="run this inside a clone of kakeya_remote",
    )


def make_embedded(checkout: Path) -> Embedded:
    """The embedded bus of a checkout, made if it is not there."""
    place = Embedded(make_folder(checkout), checkout)
    prepare_server(place.bus)
    return place


def make_folder(root: Path) -> Path:
    """The folder `.kakeya` below `root`, made if it is not there; git is told to look away."""
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return folder


def write_config(place: Embedded, labels: Iterable[str]) -> None:
    """The settings file of the embedded runner: it trusts this checkout, edits and all."""
    settings = {
        "name": RUNNER,
        "bus": str(place.bus),
        "profile": "local",
        "labels": list(dict.fromkeys(("any", *labels))),
        "trusted": {"checkout": str(place.checkout), "allow_edits": True},
        "code_policy": "merged",
        "state_dir": str(place.folder / "state"),
        "cache_dir": str(place.folder / "cache"),
    }
    place.config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def runner_argv(config: Path) -> tuple[str, ...]:
    """The command that serves the bus of a settings file until its starter is gone."""
    program = (sys.executable, "-P", "-m", "bridge.cli.main")
    return (*program, "runner", "start", "--config", str(config), "--with-parent")


def runner_env(source: Mapping[str, str]) -> dict[str, str]:
    """The runner's environment: this process's own without what points it at another bus or git."""
    kept = {
        name: value
        for name, value in source.items()
        if name in ("KAKEYA_ASSETS", "KAKEYA_CACHE", "KAKEYA_DEBUG")
        or not name.startswith(("KAKEYA_", "GIT_", "_KAKEYA_"))
    }
    package = str(Path(bridge.__path__[0]).parent)
    known = [part for part in kept.get("PYTHONPATH", "").split(os.pathsep) if part]
    kept["PYTHONPATH"] = os.pathsep.join(dict.fromkeys((package, *known)))
    return kept


class EmbeddedRunner:
    """A runner process that lives as long as one call.

    Args:
        config: its settings file.
        log: what it says; the process starts in the folder of this file.
        clock: time.
    """

    def __init__(self, config: Path, log: Path, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._process = proc.spawn(
            runner_argv(config), cwd=log.parent, env=runner_env(os.environ), stdout=log
        )

    def check(self) -> None:
        """Raise if the runner has ended by itself.

        Raises:
            KakeyaError: with the end of what it said.
        """
        code = self._process.poll()
        if code is None:
            return
        lines = self._log.read_text("utf-8", "replace").splitlines()
        raise KakeyaError(
            f"the embedded runner ended (exit code {code})",
            where=str(self._log),
            problems=tuple(lines[-8:]),
            remedy="read the whole log; kakeya_remote doctor --embedded looks for causes",
        )

    def stop(self) -> None:
        """End the runner: politely, and by force after `STOP_S`; its whole process group goes."""
        for number, wait_s in ((signal.SIGTERM, STOP_S), (signal.SIGQUIT, STOP_S)):
            if self._process.poll() is None:
                self._process.send_signal(number)
                self._await_end(wait_s)
        proc.kill_group(self._process.pid)
        self._process.wait()

    def _await_end(self, limit_s: float) -> None:
        backoff = Backoff(0.01, 0.2)
        deadline_s = self._clock.monotonic_s() + limit_s
        while self._process.poll() is None and self._clock.monotonic_s() < deadline_s:
            self._clock.pause(backoff.next_s())


@contextmanager
def serve(place: Embedded, labels: Iterable[str], clock: Clock) -> Iterator[EmbeddedRunner]:
    """A runner on the embedded bus for the time of a `with` block; calls take turns."""
    with FileLock(place.folder / "lock"):
        write_config(place, labels)
        place.log.write_bytes(b"")
        runner = EmbeddedRunner(place.config, place.log, clock)
        try:
            yield runner
        finally:
            runner.stop()
