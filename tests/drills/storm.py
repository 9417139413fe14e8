"""`python -m tests.drills.storm`: many jobs over eight runners while three of them are hit.

Two are killed and one is stopped past its lease, each while it holds a claim. Every job must end
once, with one result, and what the stopped runner brings afterwards must be refused.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bridge import proc
from bridge.bus.chain import Chain
from bridge.bus.commits import compose_request
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome, Update
from bridge.records import PresetRef
from presets.binding import bind
from tests import samples
from tests.actors import WHEN_S
from tests.lab import REPO, Lab, make_checkout, open_lab
from tests.servers.git_servers import SERVERS, open_transport
from tests.servers.transport import Transport
from tests.waiting import until

RUNNERS = 8
JOB_S = 0.4
BATCH = 50


@dataclass
class Storm:
    """One storm over one lab.

    Attributes:
        hit: name of each victim, and how.
    """

    lab: Lab
    jobs: int
    env: dict[str, str]
    refs: list[str] = field(default_factory=list)
    runners: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    hit: dict[str, str] = field(default_factory=dict)

    def submit(self) -> None:
        """Put every job on the bus, fifty in a push."""
        preset = self.lab.catalog.get("noop")
        updates = []
        for _ in range(self.jobs):
            request = samples.make_request(
                self.lab.bus.identity().id,
                preset=PresetRef(preset.name, preset.digest),
                params=bind(preset, {"seconds": JOB_S}),
                code=self.lab.commit,
                labels=preset.labels,
                resources=preset.resources,
            )
            ref = self.lab.bus.refs.job(JobRef(request.label, request.priority, request.id))
            updates.append(Update(ref, None, compose_request(request, when_s=WHEN_S)))
        for start in range(0, len(updates), BATCH):
            outcomes = self.lab.bus.swap(updates[start : start + BATCH])
            assert set(outcomes) == {Outcome.WON}
        self.refs = [update.ref for update in updates]

    def start(self) -> None:
        """Start the runners."""
        for number in range(RUNNERS):
            name = f"storm-{number}"
            settings = self.lab.settings(name, slots={"cpus": 4, "memory_mb": 4096})
            self.runners[name] = proc.spawn(
                [sys.executable, "-m", "tests.instant", str(settings)],
                cwd=REPO,
                env={**proc.base_env(), **self.env, "PYTHONPATH": str(REPO)},
                stdout=settings.with_suffix(".log"),
            )

    def strike(self, number: int, how: str) -> str:
        """Hit a runner while it holds a claim, and say which claim."""
        name = f"storm-{number}"
        claim = until(lambda: self._claim_of(name), bound_s=120, what=f"a claim of {name}")
        signals = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
        self.runners[name].send_signal(signals[how])
        self.hit[name] = how
        return claim

    def _claim_of(self, name: str) -> str:
        """A job that a runner holds at this moment, by its chain and not by its word."""
        ref = self.lab.bus.refs.heartbeat(name)
        if self.lab.bus.peek(ref) is None:
            return ""
        held = [item.id for item in self.lab.bus.load_heartbeat(ref).claims]
        for chain in self.lab.bus.load_all([ref for ref in self.refs if ref[-26:] in held]):
            if chain.held and chain.claim is not None and chain.claim.runner == name:
                return chain.ref
        return ""

    def ended(self) -> int:
        """How many jobs are over, by subjects alone (folded ones are gone): for waiting only."""
        tips = self.lab.bus.poll().jobs
        live = [tips[ref][1] for ref in self.refs if ref in tips]
        return len(self.refs) - sum(not tip.subject.startswith("kakeya: done") for tip in live)

    def stop(self) -> None:
        """End every runner."""
        for process in self.runners.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
        for process in self.runners.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def check(self) -> dict[str, int]:
        """Count results, requeues and refusals.

        Raises:
            AssertionError: a job was lost, ended twice, or no late result was refused.
        """
        chains: list[Chain] = []
        for start in range(0, len(self.refs), BATCH):
            chains += self.lab.bus.load_all(self.refs[start : start + BATCH])
        done = [chain for chain in chains if chain.state == "done" and chain.fault is None]
        events = [link.event.value for chain in chains for link in chain.links]
        refused = sum("fenced off" in self.lab.words(name) for name in self.hit)
        found = {
            "jobs": len(self.refs),
            "results": len(done),
            "double": events.count("done") - len(done),
            "lost": len(self.refs) - len(done),
            "requeues": events.count("requeue"),
            "late results refused": refused,
        }
        assert (found["double"], found["lost"]) == (0, 0), found
        assert found["requeues"] >= len(self.hit), found
        assert refused >= 1, found
        return found


def run(transport: Transport, jobs: int, folder: Path) -> dict[str, int | float]:
    """One storm over one transport."""
    checkout = folder / "trusted"
    checkout.mkdir()
    make_checkout(checkout)
    os.environ.update(transport.client_env)
    lab = open_lab(checkout, transport.create().url, folder / "lab")
    storm = Storm(lab, jobs, dict(transport.client_env))
    begun_s = time.monotonic()
    try:
        storm.submit()
        storm.start()
        storm.strike(0, "kill")
        storm.strike(1, "stop")
        storm.strike(2, "kill")
        lease_s = lab.bus.profile.lease_s
        until(lambda: _requeued(lab, "storm-1"), bound_s=20 * lease_s, what="the reaping")
        storm.runners["storm-1"].send_signal(signal.SIGCONT)
        until(lambda: "fenced off" in lab.words("storm-1"), bound_s=60, what="the fence")
        until(lambda: storm.ended() == jobs, bound_s=900, what="the end of every job")
    finally:
        storm.stop()
    found: dict[str, int | float] = {**storm.check()}
    found["seconds"] = round(time.monotonic() - begun_s, 1)
    lab.bus.close()
    return found


def _requeued(lab: Lab, name: str) -> bool:
    """Whether somebody gave back a claim of `name`, by what the others say."""
    said = f"runner {name} was silent"
    return any(said in path.read_text("utf-8", "replace") for path in lab.folder.glob("*.log"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the storm over each transport that is named, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--over", nargs="+", choices=sorted(SERVERS), default=["file"])
    given = parser.parse_args(arguments)
    for number, name in enumerate(given.over):
        with tempfile.TemporaryDirectory(prefix="storm-") as folder, open_transport(name) as found:
            row = {"over": name, **run(found, given.jobs, Path(folder))}
        if not number:
            sys.stdout.write(f"| {' | '.join(row)} |\n|{'---|' * len(row)}\n")
        sys.stdout.write(f"| {' | '.join(map(str, row.values()))} |\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
