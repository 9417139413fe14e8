"""Random schedules of everything that can happen to two runners and a client, by seed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bridge.runner.daemon import Runner
from bridge.states import Event
from tests.simulation.actors import PROFILE, Machine, Requester, make_trust
from tests.simulation.world import FASTEST, MemoryBus, World

STEPS = 40
JOBS = 5
QUIET_STEPS = 600
_PAUSES_S = (0.1, 0.3, 1.0)


@dataclass
class Lab:
    """A world with its machines, moved by operations.

    Attributes:
        refs: the jobs that were submitted.
        count: how many operations were made.
    """

    folder: Path
    seed: int
    bus_class: type[MemoryBus] = MemoryBus
    runner_class: type[Runner] = Runner
    refs: list[str] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.world = World()
        trust = make_trust(self.folder)
        self.client = Requester(self.world, digest=trust.catalog.presets["sim"].digest)
        self.machines = [
            Machine(
                self.world,
                name,
                self.folder / name,
                trust,
                rate=self.chance.choice((0.8, 1.0, FASTEST)),
                skew_s=self.chance.choice((-40.0, 0.0, 40.0)),
                bus_class=self.bus_class,
                runner_class=self.runner_class,
            )
            for name in ("mac-m4", "h200")
        ]

    def operate(self) -> None:
        """One random operation, and some time for everybody."""
        self.count += 1
        self._pass_time(self.chance.choice(_PAUSES_S))
        draw = self.chance.random()
        for share, operation in self._operations():
            draw -= share
            if draw < 0:
                operation()
                return

    def _pass_time(self, seconds: float) -> None:
        self.world.now_s += seconds
        for machine in self.machines:
            machine.step(seconds)

    def _operations(self) -> tuple[tuple[float, Callable[[], None]], ...]:
        chance, machine = self.chance, self.chance.choice(self.machines)
        ref = chance.choice(self.refs) if self.refs else None
        network = machine.network
        operations: list[tuple[float, Callable[[], None]]] = [
            (0.16, self._submit),
            (0.03, lambda: machine.crash(whole=False)),
            (0.03, lambda: machine.crash(whole=True)),
            (0.06, machine.switch),
            (0.06, lambda: setattr(machine, "paused", not machine.paused)),
            (0.06, lambda: setattr(network, "lose_reply", True)),
            (0.03, lambda: setattr(network, "drop_push", True)),
            (0.03, lambda: setattr(network, "cut_after", chance.randint(0, 2))),
            (0.04, lambda: setattr(network, "down", not network.down)),
            (0.04, lambda: self._show_old(machine)),
            (0.01, self.client.malformed),
            (0.04, lambda: self.world.fold(self.refs)),
        ]
        if ref is not None:
            operations += [
                (0.04, lambda: self.client.end_queued(ref, Event.CANCELLED)),
                (0.03, lambda: self.client.end_queued(ref, Event.EXPIRED)),
                (0.05, lambda: self.client.wish(ref)),
                (0.03, lambda: self.client.force_cancel(ref)),
            ]
        return tuple(operations)

    def _submit(self) -> None:
        if len(self.refs) < JOBS:
            chance = self.chance
            ref = self.client.submit(
                attempts=chance.choice((1, 1, 1, 2, 3)),
                length=chance.randint(0, 15),
                timeout_s=chance.choice((None, None, 3)),
            )
            if ref is not None:
                self.refs.append(ref)

    def _show_old(self, machine: Machine) -> None:
        network = machine.network
        bus = MemoryBus(self.world, PROFILE, network)
        network.stale = None if network.stale else bus.snapshot()

    def settle(self) -> None:
        """No more faults and one live runner: everything that was asked must come to an end.

        Raises:
            AssertionError: something did not.
        """
        for machine in self.machines:
            machine.paused = False
            machine.network.down = False
            machine.network.stale = None
        if all(machine.off for machine in self.machines):
            self.machines[0].switch()
        for step in range(QUIET_STEPS):
            if step == QUIET_STEPS // 2:  # what is off stays off for a while: others must do
                for machine in self.machines:
                    machine.off = False
            self._pass_time(0.5)
            if all(self.world.load(ref).ended for ref in self.refs):
                return
        open_ = [ref for ref in self.refs if not self.world.load(ref).ended]
        raise AssertionError(f"seed {self.seed}: never ended: {open_}")

    def close(self) -> None:
        """Stop the threads and give the disk back."""
        for machine in self.machines:
            machine.destroy()
        shutil.rmtree(self.folder, ignore_errors=True)


def run_schedule(
    seed: int,
    folder: Path,
    *,
    steps: int = STEPS,
    bus_class: type[MemoryBus] = MemoryBus,
    runner_class: type[Runner] = Runner,
) -> Lab:
    """One whole schedule.

    Raises:
        AssertionError: an invariant broke, or something never ended.
    """
    lab = Lab(folder / f"schedule-{seed}", seed, bus_class, runner_class)
    try:
        for _ in range(steps):
            lab.operate()
            assert not lab.world.broken, f"seed {seed}: {lab.world.broken[0]}"
        lab.settle()
        assert not lab.world.broken, f"seed {seed}: {lab.world.broken[0]}"
    finally:
        lab.close()
    return lab
