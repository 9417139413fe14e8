"""Machines, runners and a client of the simulated bus, moved one step at a time."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bridge.bus.chain import Chain
from bridge.bus.commits import compose_note, compose_request, requester_identity
from bridge.bus.endings import Signer, compose_end
from bridge.bus.profile import Profile
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome, Update
from bridge.bus.retention import Retention
from bridge.canonical import make_ulid
from bridge.clock import Clock
from bridge.errors import BusError, RefusedError, UsageError
from bridge.records import CancelWish, Exit, PresetRef, Request, Resources
from bridge.runner.attempt import Surroundings
from bridge.runner.config import RunnerConfig
from bridge.runner.daemon import Runner
from bridge.runner.ending import Ended
from bridge.runner.trust import Trust
from bridge.states import Event, State
from presets.catalog import Catalog
from presets.definition import Preset, parse_preset
from tests.simulation.world import BUS_ID, MemoryBus, Network, World
from tests.stand_in import AttemptStandIn

PROFILE = Profile("simulated", 1.0, 6.0, 0.2, 0.4, 1.0, 0.0, 30.0)
CODE = "c" * 40
PRESET = b"""name: sim
description: a job of the simulation
argv: ["{python}", -m, workloads, noop, --job, "{job}"]
labels: [any]
resources: {cpus: 1, memory_mb: 64}
limits: {wall_s: 60, memory_mb: 64, output_mb: 1, disk_mb: 1}
executors: [local]
"""
_NONCE = "0123456789abcdef"


@dataclass
class Process:
    """A job's process on a machine: it outlives its runner, not its machine."""

    steps_left: int
    code: int = 0
    gone: bool = False
    killed: bool = False

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.gone or self.killed or self.steps_left <= 0


class SimulatedAttempt(AttemptStandIn):
    """Stands for `bridge.runner.attempt.Attempt` with a process of the simulated machine."""

    def __init__(
        self, chain: Chain, preset: Preset, around: Surroundings, machine: Machine
    ) -> None:
        super().__init__(chain, preset, around)
        self._machine = machine
        self._said = self._taken = 0

    @property
    def process(self) -> Process | None:
        """Its process, if it was ever started."""
        return self._machine.processes.get(self.folder.name)

    def start(self) -> None:
        """Start the process, once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.process is None:
            self._machine.processes[self.folder.name] = Process(int(self.request.nonce[-1], 16))

    def adopt(self, log_offset: int) -> None:
        """Go on with the process; what it said before is on the bus."""
        self._said = log_offset
        self.start()

    def cancel(self) -> None:
        """End the process."""
        self.cancelled = True
        if self.process is not None:
            self.process.killed = True

    def advance(self) -> None:
        """See what the process came to."""
        process = self.process
        if process is None or not process.ended or self.ended is not None:
            return
        if self.cancelled:
            self.ended = Ended("cancelled", Exit(None, 15, "cancelled"), "cancelled")
        elif process.gone:
            why = "the machine was restarted"
            self.ended = Ended("failed", Exit(None, None, "vanished"), why, again=why)
        else:
            state = "done" if process.code == 0 else "failed"
            self.ended = Ended(state, Exit(process.code, None, "exit"), state)

    def take_log(self) -> bytes:
        """One byte for every step that the process has made."""
        process = self.process
        if process is None or self._said > 3 or process.steps_left % 2:
            return b""
        self._said += 1
        self._taken += 1
        return b"."

    def settle_log(self, *, won: bool) -> None:
        """Whether the bus took what was said since the last time."""
        if not won:
            self._said -= self._taken
        self._taken = 0


@dataclass
class Machine:
    """One runner's machine: its disk, its processes, its clock and its network."""

    world: World
    name: str
    folder: Path
    trust: Trust
    rate: float = 1.0
    skew_s: float = 0.0
    network: Network = field(default_factory=Network)
    processes: dict[str, Process] = field(default_factory=dict)
    runner: Runner | None = None
    paused: bool = False
    off: bool = False
    now_s: float = 0.0
    bus_class: type[MemoryBus] = MemoryBus
    runner_class: type[Runner] = Runner

    def boot(self) -> None:
        """Start a session of the runner."""
        config = RunnerConfig(
            name=self.name,
            bus="memory:",
            refs=self.world.names,
            profile=PROFILE,
            labels=("any",),
            trusted=self.folder,
            trusted_commit=None,
            allow_edits=False,
            code_policy="any",
            allowed_signers=None,
            run_as="nobody",
            python="python3",
            slots=Resources(cpus=2, memory_mb=1024),
            executors={"local": {}},
            env=MappingProxyType({}),
            state_dir=self.folder / "state",
            cache_dir=self.folder / "cache",
            assets_dir=self.folder / "assets",
            retention=Retention(keep=2, after_s=15.0),
        )
        config.state_dir.mkdir(parents=True, exist_ok=True)
        clock = Clock(
            monotonic_s=lambda: self.now_s,
            wall_s=lambda: self.now_s + self.skew_s + 1.7e9,
            pause=lambda seconds: None,
            chance=random.Random(self.name),
        )
        runner = self.runner_class(
            config,
            self.trust,
            self.bus_class(self.world, PROFILE, self.network),  # type: ignore[arg-type]
            clock=clock,
            say=lambda line: None,
            make_attempt=self._make_attempt,  # type: ignore[arg-type]
        )
        try:
            runner.open()
        except (BusError, RefusedError, UsageError):
            runner.close()
            return
        self.runner = runner

    def _make_attempt(self, chain: Chain, preset: Preset, around: Surroundings) -> Any:
        return SimulatedAttempt(chain, preset, around, self)

    def step(self, seconds: float) -> None:
        """Let time pass here, and the runner do one cycle unless it sleeps."""
        self.now_s += seconds * self.rate
        if self.paused or self.off:
            return  # a machine that sleeps runs neither its runner nor its jobs
        for process in self.processes.values():
            process.steps_left -= 1
        if self.runner is None:
            self.boot()
            return
        try:
            self.runner.step()
        except RefusedError:
            self.crash(whole=False)

    def switch(self) -> None:
        """Cut the power, or give it back."""
        self.off = not self.off
        if self.off:
            self.crash(whole=True)

    def crash(self, *, whole: bool) -> None:
        """Kill the runner at once; with `whole`, its jobs too, as a power cut does."""
        if self.runner is not None:
            self.runner.close()
            self.runner = None
        if whole:
            for process in self.processes.values():
                process.gone = process.gone or not process.ended

    def destroy(self) -> None:
        """End everything and give the disk back."""
        self.crash(whole=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class Requester:
    """A client: it submits, wishes, and swaps what it may."""

    world: World
    network: Network = field(default_factory=Network)
    made: int = 0
    digest: str = ""

    @property
    def bus(self) -> MemoryBus:
        """Its own view."""
        return MemoryBus(self.world, PROFILE, self.network)

    def submit(self, *, attempts: int, length: int, timeout_s: int | None) -> str | None:
        """Push a request; None where the push did not get through."""
        self.made += 1
        job_id = make_ulid(1_760_000_000_000 + self.made, self.made.to_bytes(10, "big"))
        request = Request(
            id=job_id,
            bus=BUS_ID,
            preset=PresetRef("sim", self.digest),
            params={},
            code=CODE,
            label="any",
            labels=("any",),
            resources=Resources(1, 64),
            priority=self.made % 10,
            nonce=f"{_NONCE}{length:x}",
            requested_by="alice",
            requested_at="2026-01-02T03:04:05Z",
            max_attempts=attempts,
            queue_timeout_s=timeout_s,
        )
        ref = self.world.names.job(JobRef("any", request.priority, job_id))
        try:
            self.bus.swap([Update(ref, None, compose_request(request, when_s=1))])
        except BusError:
            return ref if ref in self.world.refs else None
        return ref

    def malformed(self) -> str:
        """Push a request that no runner may take."""
        self.made += 1
        job_id = make_ulid(1_760_000_000_000 + self.made, self.made.to_bytes(10, "big"))
        ref = self.world.names.job(JobRef("any", 5, job_id))
        wish = CancelWish(job_id, self.digest, "mallory", _NONCE)
        note = compose_note("x.json", wish, "request x", requester_identity("m"), 1)
        self.world.put(Update(ref, None, note))
        return ref

    def end_queued(self, ref: str, event: Event) -> None:
        """Swap a queued job to cancelled or expired, if it is still there to be had."""
        chain = self.world.load(ref)
        if chain.state is State.QUEUED:
            self._swap(chain, event)

    def wish(self, ref: str) -> None:
        """Wish a held job cancelled."""
        chain = self.world.load(ref)
        wish = self.world.names.wish(chain.job.id)
        if not chain.held or wish in self.world.refs:
            return
        record = CancelWish(chain.job.id, chain.request_digest or "", "alice", _NONCE)
        note = compose_note("cancel.json", record, "cancel", requester_identity("alice"), 1)
        self._push(Update(wish, None, note))

    def force_cancel(self, ref: str) -> None:
        """Swap a held job's live tip to cancelled, as after an unanswered wish."""
        chain = self.world.load(ref)
        if chain.held:
            self._swap(chain, Event.CANCELLED)

    def _swap(self, chain: Chain, event: Event) -> None:
        signer = Signer("alice", requester_identity("alice"), f"{_NONCE}{self.made:x}", 1)
        self._push(Update(chain.ref, chain.tip, compose_end(chain, event, event.value, signer)))

    def _push(self, update: Update) -> Outcome | None:
        try:
            return self.bus.swap([update])[0]
        except BusError:
            return None


def make_trust(folder: Path) -> Trust:
    """A trust whose one preset is the simulation's."""
    preset = parse_preset(PRESET, "sim.yaml")
    presets: Mapping[str, Preset] = MappingProxyType({"sim": preset})
    return Trust(CODE, "d" * 40, folder, Catalog(presets, MappingProxyType({})), ())
