"""A bus on one transport with a requester and runners as processes of their own."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Action
from bridge import proc
from bridge.bus.refs import JobRef
from bridge.bus.requester import RequesterBus
from bridge.client.submission import push_request
from bridge.client.waiting import Silent, Waiting
from bridge.clock import Clock
from bridge.records import PresetRef, Request
from presets.binding import bind
from presets.definition import Preset
from tests import samples
from tests.lab import REPO, Lab, git_in, make_checkout, open_lab
from tests.parts import PARTS as REAL_PARTS
from tests.servers.git_servers import PARTS, open_transport
from tests.servers.transport import Remote, Transport
from tests.waiting import until

NAMES = {
    "file": "file, git CLI",
    "http": "HTTP, git CLI",
    "fast": "HTTP, fast path",
}
"""The transports that jobs are measured on."""
SLOTS = {"cpus": 16, "memory_mb": 65_536}


def missing_parts(name: str) -> str:
    """How to get what a transport needs and this machine lacks; empty where nothing is missing."""
    missing = [part for part in PARTS[name] if not REAL_PARTS[part][0]()]
    return "; ".join(REAL_PARTS[part][1] for part in missing)


@dataclass
class Scene:
    """One bus and who works on it.

    Attributes:
        lab: requester, trusted checkout and settings of runners.
        remote: the repository itself.
        env: what a client of the transport needs in its environment.
    """

    lab: Lab
    remote: Remote
    env: dict[str, str]
    folder: Path
    preset: Preset
    runners: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _number: int = 0

    @property
    def bus(self) -> RequesterBus:
        """The requester's view."""
        assert isinstance(self.lab.bus, RequesterBus)
        return self.lab.bus

    @property
    def calls(self) -> Path:
        """Where the runners without a launch note their calls."""
        return self.folder / "calls"

    def start_runner(self, name: str, *, launch: bool, **settings: Any) -> None:
        """Start a runner.

        Args:
            name: its name.
            launch: the shipped one, which exports, starts and judges; else one whose jobs end by
                themselves.
            settings: of its file.
        """
        config = self.lab.settings(name, **settings)
        if launch:
            self.runners.append(self.lab.start(config, self.env))
        else:
            argv = [sys.executable, "-m", "benchmarks.instant", str(config), str(self.calls)]
            env = {**proc.base_env(), **self.env, "PYTHONPATH": str(REPO)}
            log = config.with_suffix(".log")
            self.runners.append(proc.spawn(argv, cwd=REPO, env=env, stdout=log))

    def wait_for_runners(self, names: Sequence[str]) -> None:
        """Until each has beaten."""
        for name, process in zip(names, self.runners, strict=True):
            self.lab.wait_for_beat(name, process)

    def stop_runners(self) -> None:
        """End every runner."""
        for process in self.runners:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.runners:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.runners.clear()

    def make_request(self, **changes: Any) -> Request:
        """A no-op job, not yet on the bus."""
        preset = self.preset
        values: dict[str, Any] = {
            "preset": PresetRef(preset.name, preset.digest),
            "params": bind(preset, {}),
            "code": self.lab.commit,
            "labels": preset.labels,
            "resources": preset.resources,
        }
        return samples.make_request(self.bus.identity().id, **{**values, **changes})

    def ref_of(self, request: Request) -> str:
        """The ref of a request."""
        return self.bus.refs.job(JobRef(request.label, request.priority, request.id))

    def run_job(self, request: Request) -> None:
        """From the push of a request to its result seen, as `kakeya_remote run --wait` does it."""
        ref = push_request(self.bus, request, when_s=0)
        waiting = Waiting(self.bus, ref, by="bench", clock=Clock(), watcher=Silent())
        outcome = waiting.run(120.0)
        assert outcome.exit_code == 0, outcome

    def new_ref(self) -> Action:
        """A bare push of a new ref, by hand."""
        refspec = f"{self.make_commits(1)[0]}:{self.next_ref()}"
        return lambda: self.git("push", "--quiet", self.remote.url, refspec)

    def next_ref(self) -> str:
        """A ref that is not there yet."""
        self._number += 1
        return f"refs/heads/bench/{self._number}"

    def make_commits(self, count: int) -> list[str]:
        """So many new commits in a row, in a repository of their own."""
        plain = self.folder / "plain.git"
        if not plain.exists():
            git_in(self.folder, "init", "--quiet", "--bare", str(plain))
        tree = self.git("hash-object", "-t", "tree", "-w", os.devnull)
        who = ("-c", "user.name=bench", "-c", "user.email=bench@example.invalid")
        commits: list[str] = []
        for _ in range(count):
            parent = ("-p", commits[-1]) if commits else ()
            message = secrets.token_hex(8)
            commits.append(self.git(*who, "commit-tree", *parent, "-m", message, tree))
        return commits

    def git(self, *arguments: str) -> str:
        """A plain git command in a repository of its own."""
        env = {**proc.base_env(), **self.env}
        done = proc.run(["git", *arguments], cwd=self.folder / "plain.git", env=env, timeout_s=120)
        assert done.code == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode().strip()


@contextmanager
def open_scene(name: str) -> Iterator[Scene]:
    """A scene on the transport of that name."""
    with ExitStack() as stack:
        transport: Transport = stack.enter_context(open_transport(name))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        os.environ.update(transport.client_env)
        checkout = folder / "trusted"
        checkout.mkdir()
        make_checkout(checkout)
        remote = transport.create()
        lab = open_lab(checkout, remote.url, folder / "lab")
        preset = lab.catalog.get("noop")
        scene = Scene(lab, remote, dict(transport.client_env), folder, preset)
        try:
            yield scene
        finally:
            scene.stop_runners()
            lab.bus.close()


def wait_for_end(scene: Scene, refs: Sequence[str], bound_s: float) -> None:
    """Until every one of these jobs says that it is done; by subjects, for waiting only."""

    def count() -> bool:
        tips = scene.bus.poll().jobs
        return sum(tips[ref][1].subject.startswith("kakeya: done") for ref in refs) == len(refs)

    until(count, bound_s=bound_s, what=f"{len(refs)} results")
