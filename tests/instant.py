"""A runner whose jobs do nothing, in its own process: what is left is the bus alone.

`python -m tests.instant CONFIG` serves like `runner start`; a `noop` job ends after the seconds
that it is told, with no process, no export and no judge.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from bridge.bus.chain import Chain
from bridge.bus.remote import GitBus
from bridge.records import Exit
from bridge.runner.attempt import Surroundings
from bridge.runner.config import RunnerConfig, load_config
from bridge.runner.daemon import Runner
from bridge.runner.ending import Ended
from bridge.runner.key import load_key
from bridge.runner.trust import Trust, open_trust
from presets.definition import Preset
from tests.stand_in import AttemptStandIn


class InstantAttempt(AttemptStandIn):
    """Stands for `bridge.runner.attempt.Attempt`."""

    def __init__(self, chain: Chain, preset: Preset, around: Surroundings) -> None:
        super().__init__(chain, preset, around)
        self._ends_s = float("inf")

    def start(self) -> None:
        """Begin to do nothing."""
        self._ends_s = time.monotonic() + float(self.request.params.get("seconds", 0))

    def adopt(self, log_offset: int) -> None:
        """Begin again: there is no process to find."""
        del log_offset
        self.start()

    def cancel(self) -> None:
        """End at once."""
        self.cancelled = True
        self.ended = Ended("cancelled", Exit(None, None, "cancelled"), "cancelled")

    def advance(self) -> None:
        """End when the time is over."""
        if self.ended is None and time.monotonic() >= self._ends_s:
            self.ended = Ended("done", Exit(0, None, "exit"), "nothing was done", "pass")

    def take_log(self) -> bytes:
        """It says nothing."""
        return b""

    def settle_log(self, *, won: bool) -> None:
        """There is nothing to settle."""


def make_runner(config: RunnerConfig, trust: Trust, **options: object) -> Runner:
    """A runner of such jobs."""
    bus = GitBus(
        config.bus,
        config.cache_dir,
        refs=config.refs,
        profile=config.profile,
        fast=config.fast_path,
    )
    options = {"key": load_key(config.state_dir, config.name), **options}
    return Runner(config, trust, bus, make_attempt=InstantAttempt, **options)  # type: ignore[arg-type]


def main(path: str) -> None:
    """Serve until SIGTERM."""
    config = load_config(Path(path))
    trust = open_trust(config.trusted, None, config.state_dir, allow_edits=True)
    runner = make_runner(config, trust)
    serve(runner)


def serve(runner: Runner) -> None:
    """Serve until SIGTERM."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    runner.open()
    try:
        runner.run(lambda: bool(stop))
    finally:
        runner.close()


if __name__ == "__main__":
    main(sys.argv[1])
