"""What a runner reads of jobs that wait for nobody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bridge.bus.chain import Chain
from tests.simulation.actors import PROFILE, Machine
from tests.simulation.schedule import Lab
from tests.simulation.world import MemoryBus


class CountingBus(MemoryBus):
    """Notes which jobs were read; `boot` makes one for each session."""

    def load(self, ref: str) -> Chain:
        """A job's chain."""
        self.read_refs().append(ref)
        return super().load(ref)

    def load_all(self, refs: Sequence[str]) -> list[Chain]:
        """The chains of several jobs."""
        self.read_refs().extend(refs)
        return super().load_all(refs)

    def read_refs(self) -> list[str]:
        """The refs read through this view, oldest first."""
        found: list[str] = self.__dict__.setdefault("_read_refs", [])
        return found


def test_a_job_that_another_holds_is_read_only_when_it_stands_still(tmp_path: Path) -> None:
    lab = Lab(tmp_path, seed=1, bus_class=CountingBus)
    worker, watcher = lab.machines
    try:
        watcher.step(0.1)  # a session begins
        assert watcher.runner is not None
        bus = watcher.runner.bus
        assert isinstance(bus, CountingBus)
        ref = lab.client.submit(attempts=2, length=15, timeout_s=None)
        assert ref is not None
        for _ in range(4):
            worker.step(0.5)
        assert lab.world.load(ref).held
        watcher.step(PROFILE.poll_max_s)
        assert ref not in bus.read_refs()
        worker.crash(whole=True)
        for _ in range(3):
            _pass_time(lab, watcher, PROFILE.heartbeat_s)
        assert ref in bus.read_refs()
        for _ in range(120):
            _pass_time(lab, watcher, PROFILE.poll_max_s)
        assert lab.world.load(ref).ended
        assert not lab.world.broken
    finally:
        lab.close()


def _pass_time(lab: Lab, machine: Machine, seconds: float) -> None:
    lab.world.now_s += seconds
    machine.step(seconds)
