"""One bus, its runners and clients, for one run of one drill; and what may never happen to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bridge import proc
from bridge.bus.chain import Chain
from bridge.errors import KakeyaError
from bridge.states import TERMINAL_EVENTS
from tests.drills.ambush import Ambush
from tests.lab import REPO, Lab, open_lab
from tests.rawgit import RawGit
from tests.servers.transport import Remote, Transport
from tests.waiting import until

BOUND_S = 150.0


@dataclass
class Field:
    """Where a drill takes place.

    The field's own eye is the repository's folder on the server, so that no fault of the line
    blinds it.

    Attributes:
        lab: the observer's bus, and settings of runners, whose address is the transport's.
        env: what a client or runner needs to reach the server.
        refs: the jobs that were submitted and must end.
        ends: state that each job came to, filled by `settle`.
        struck_s: when the fault began, monotonic.
        recovery_s: seconds from then to the end of the last job.
    """

    transport: Transport
    remote: Remote
    lab: Lab
    env: dict[str, str]
    refs: list[str] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    struck_s: float = 0.0
    recovery_s: float = 0.0
    doubled: int = 0

    @property
    def raw(self) -> RawGit:
        """git in the server's repository."""
        return RawGit(self.remote.path)

    # -- actors ----------------------------------------------------------------------------

    def start(self, name: str = "one", *, whole: bool = False, **changes: Any) -> None:
        """Start a runner whose jobs say a line, or, with `whole`, one that runs real jobs."""
        settings = self.lab.settings(name, **changes)
        if whole:
            self.processes[name] = self.lab.start(settings, self.env)
        else:
            self.processes[name] = proc.spawn(
                [sys.executable, "-m", "tests.drills.speaker", str(settings)],
                cwd=REPO,
                env={**proc.base_env(), **self.env, "PYTHONPATH": str(REPO)},
                stdout=settings.with_suffix(".log"),
            )
        self.lab.wait_for_beat(name, self.processes[name])

    def command(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a `kakeya_remote` command; what it says goes to `<name>.log`."""
        argv = [sys.executable, "-m", "bridge.cli.main", *words, "--bus", self.lab.url]
        env = {**os.environ, **self.env, "PYTHONPATH": str(self.lab.checkout)}
        env["KAKEYA_CACHE"] = str(self.lab.folder / "clients" / name)
        log = self.lab.folder / f"{name}.log"
        process = proc.spawn(argv, cwd=self.lab.checkout, env=env, stdout=log)
        self.processes[name] = process
        return process

    def kill(self, name: str) -> None:
        """SIGKILL to a process of ours, and to nothing that it started."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def pushers(self, name: str) -> list[psutil.Process]:
        """The `git push` that a process of ours has under way, with its helpers."""
        found = []
        for child in psutil.Process(self.processes[name].pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = " ".join(child.cmdline())
                if "push" in words or "remote-http" in words or "send-pack" in words:
                    found.append(child)
        return found

    def words(self, name: str = "one") -> str:
        """What a process of ours said."""
        return self.lab.words(name)

    def wait_for_words(self, text: str, name: str = "one") -> None:
        """Until a process of ours has said something."""
        until(lambda: text in self.words(name), bound_s=BOUND_S, what=f"{name} saying {text!r}")

    # -- the bus ---------------------------------------------------------------------------

    def submit(self, seconds: float = 1.0, **changes: Any) -> str:
        """A request that must end."""
        self.refs.append(self.lab.submit("noop", {"seconds": seconds}, **changes))
        return self.refs[-1]

    def lie_in_wait(self, event: str, place: str) -> Ambush:
        """Hold the next push of a job's `event` on the server."""
        return Ambush(self.remote.path, f"kakeya: {event}", place)

    def strike(self) -> None:
        """The fault begins now."""
        self.struck_s = time.monotonic()

    def chain(self, ref: str) -> Chain:
        """A job, live or folded, as the server has it."""
        return self.lab.bus.load(ref)

    def wait(self, ref: str, *states: str) -> Chain:
        """Until a job is in one of `states`, or has ended."""
        return self.lab.wait(ref, *states, bound_s=BOUND_S)

    def settle(self, *expected: str) -> None:
        """Every job ends once: nothing is lost, nothing doubled, and no step is void.

        Args:
            expected: the states that jobs may end in; `done` where none is named.

        Raises:
            AssertionError: a job did not end, ended twice, or in another state.
        """
        for ref in self.refs:
            chain = self.lab.wait(ref, bound_s=BOUND_S)
            ends = [link for link in chain.links if link.event in TERMINAL_EVENTS]
            self.doubled += len(ends) - 1
            assert len(ends) == 1, [link.subject for link in chain.links]
            assert chain.fault is None, chain.fault
            assert str(chain.state) in (expected or ("done",)), (chain.state, chain.result)
            self.ends[f"{chain.state}, attempt {chain.attempt}"] += 1
        self.recovery_s = time.monotonic() - self.struck_s

    def close(self) -> None:
        """End what was started here."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with contextlib.suppress(KakeyaError):
            self.lab.bus.close()

    def said(self) -> str:
        """The last words of everybody, for a report."""
        logs = sorted(self.lab.folder.glob("*.log"))
        return "\n".join(f"{path.name}:\n{path.read_text('utf-8', 'replace')}" for path in logs)


@contextmanager
def open_field(
    transport: Transport,
    checkout: Path,
    folder: Path,
    *,
    url: str | None = None,
    remote: Remote | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Field]:
    """A field on a new bus of a transport, ended when the block ends.

    Args:
        transport: where the bus lies.
        checkout: what runners trust.
        folder: for logs, state and caches; it must be new.
        url: another address of the bus than the transport's own, such as a proxy's.
        remote: the repository, where it is there already.
        env: what reaching it needs beside the transport's own.
    """
    found = remote or transport.create()
    lab = open_lab(checkout, str(found.path), folder)
    lab.url = url or found.url
    place = Field(transport, found, lab, {**transport.client_env, **(env or {})})
    try:
        yield place
    except AssertionError as error:
        raise AssertionError(f"{error}\n{place.said()[-6000:]}") from error
    finally:
        place.close()
