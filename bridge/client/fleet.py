"""The runners of a bus as their last heartbeats tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.bus.lease import MIN_HEARTBEATS
from bridge.bus.requester import RequesterBus
from bridge.clock import Clock
from bridge.records import Heartbeat, Resources
from bridge.wire import to_json


@dataclass(frozen=True, slots=True)
class RunnerView:
    """One runner.

    Attributes:
        name: its name on the bus.
        beat: its last heartbeat, None where that cannot be read.
        age_s: seconds since the date of that heartbeat, by this machine's clock: told to people,
            nothing is decided by it.
        lease_s: how long it may be silent before its claims are given back.
    """

    name: str
    beat: Heartbeat | None
    age_s: float
    lease_s: float

    @property
    def silent(self) -> bool:
        """Whether its last beat is dated longer ago than a lease."""
        return self.age_s > self.lease_s

    @property
    def state(self) -> str:
        """`alive`, `draining`, `silent`, or `unreadable`."""
        if self.beat is None:
            return "unreadable"
        if self.silent:
            return "silent"
        return "draining" if self.beat.facts.draining else "alive"

    def as_json(self) -> dict[str, Any]:
        """The runner as `--json` prints it."""
        data: dict[str, Any] = {
            "runner": self.name,
            "state": self.state,
            "age_s": round(self.age_s, 3),
            "lease_s": self.lease_s,
        }
        if self.beat is None:
            return data
        told = to_json(self.beat)
        return {**data, **{key: told[key] for key in ("facts", "claims", "declines")}}


def read_fleet(bus: RequesterBus, clock: Clock) -> tuple[RunnerView, ...]:
    """Every runner that ever beat on this bus, by name.

    Raises:
        BusError: the bus does not answer.
    """
    views = []
    for name, tip in sorted(bus.beats().items()):
        beat = bus.read_beat(tip)
        heartbeat_s = max(beat.heartbeat_s if beat else 0.0, bus.profile.heartbeat_s)
        lease_s = max(bus.profile.lease_s, MIN_HEARTBEATS * heartbeat_s)
        views.append(RunnerView(name, beat, max(0.0, clock.wall_s() - bus.dated_s(tip)), lease_s))
    return tuple(views)


def shortage(wanted: Resources, there: Resources) -> str:
    """What of `wanted` is not there, in words; empty where all of it is."""
    pairs = {
        "CPU slots": (wanted.cpus, there.cpus),
        "MiB of memory": (wanted.memory_mb, there.memory_mb),
        "GPUs": (wanted.gpus, there.gpus),
        "MiB of GPU memory": (wanted.gpu_memory_mb, there.gpu_memory_mb),
    }
    return ", ".join(
        f"{has} {what}, not {want}" for what, (want, has) in pairs.items() if want > has
    )


def tell_age(seconds: float) -> str:
    """A time span in the unit that a person would choose."""
    units: Mapping[str, float] = {"d": 86_400.0, "h": 3_600.0, "min": 60.0}
    for unit, size in units.items():
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
