"""Three protocol bugs, planted: each must be found, or the simulation proves nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bridge.bus.lease import SilenceWatch
from bridge.bus.remote import Outcome, Update
from bridge.runner.daemon import Runner
from bridge.runner.held import Held, HeldJobs
from bridge.states import TERMINAL_EVENTS
from tests.simulation.world import MemoryBus

_DATE = re.compile(rb"^committer .* ([0-9]+) \+0000$", re.MULTILINE)


class Zombie(HeldJobs):
    """Takes every lost step for a foreign commit, and writes over it."""

    def _settle(self, held: Held, chain: Any, outcome: Outcome) -> None:
        if outcome is Outcome.LOST:
            held.pushing = False
            held.attempt.settle_log(won=False)
            now = self._bus.load(held.attempt.chain.ref)
            claim = held.attempt.chain
            held.attempt.chain = _with_tip(claim, now.tip, now.files)
            return
        super()._settle(held, chain, outcome)


def _with_tip(chain: Any, tip: str, files: Any) -> Any:
    from dataclasses import replace

    return replace(chain, tip=tip, files=files)


class NoFencing(Runner):
    """A runner whose claim was taken away goes on as if it held it still."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._held.__class__ = Zombie


class WallClockWatch(SilenceWatch):
    """Compares its own wall clock with the date that the other's heartbeat carries."""

    def __init__(self, gap_s: float, bus: Any, wall: Any) -> None:
        super().__init__(gap_s)
        self._bus, self._wall = bus, wall

    def observe(
        self,
        now_s: float,
        key: str,
        *marks: str | None,
        gap_s: float | None = None,
        fresh_s: float | None = None,
    ) -> float:
        del now_s, key, gap_s, fresh_s
        item = self._bus._world.objects.get(marks[0])
        match = _DATE.search(item.data) if item else None
        return float(self._wall()) - float(match[1]) if match else 0.0


class WallClocks(Runner):
    """A runner that compares wall clocks."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        watch = WallClockWatch(self.config.profile.heartbeat_s, self.bus, self._clock.wall_s)
        self._recovery._watch = watch


class NoCompareAndSwap(MemoryBus):
    """Results are pushed with plain force."""

    def swap(self, updates: Sequence[Update], *, atomic: bool = False) -> tuple[Outcome, ...]:
        self.leased = not any(_is_result(update) for update in updates)
        return super().swap(updates, atomic=atomic)


def _is_result(update: Update) -> bool:
    if update.new is None:
        return False
    message = update.new.objects[-1].data.partition(b"\n\n")[2].decode()
    return any(message.startswith(f"kakeya: {event.value}") for event in TERMINAL_EVENTS)
