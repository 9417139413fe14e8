"""A runner whose jobs say one line and do nothing else, in its own process.

`python -m tests.drills.speaker CONFIG` serves like `runner start` until SIGTERM. Its jobs pass
through every state of the table: a job that says nothing never comes to `running`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from bridge.bus.chain import Chain
from bridge.bus.remote import GitBus
from bridge.runner.attempt import Surroundings
from bridge.runner.config import load_config
from bridge.runner.daemon import Runner
from bridge.runner.trust import open_trust
from presets.definition import Preset
from tests.instant import InstantAttempt, serve

NETWORK_TIMEOUT_S = 6.0


class SpeakingAttempt(InstantAttempt):
    """Stands for `bridge.runner.attempt.Attempt`: it says a line when it starts."""

    def __init__(self, chain: Chain, preset: Preset, around: Surroundings) -> None:
        super().__init__(chain, preset, around)
        self._words = f"attempt {self.claim.attempt} begins\n".encode()
        self._taken = False

    def start(self) -> None:
        """Begin, in a folder by which a restarted runner knows the job again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        super().start()

    def adopt(self, log_offset: int) -> None:
        """Go on: what the bus has is not said again."""
        self._words = self._words[log_offset:]
        super().start()

    def take_log(self) -> bytes:
        """The line, once."""
        if self._taken:
            return b""
        self._taken = True
        return self._words

    def settle_log(self, *, won: bool) -> None:
        """Whether the bus took it."""
        self._taken = self._taken and won


def main(path: str) -> None:
    """Serve until SIGTERM."""
    config = load_config(Path(path))
    config = replace(config, profile=replace(config.profile, network_timeout_s=NETWORK_TIMEOUT_S))
    trust = open_trust(config.trusted, None, config.state_dir, allow_edits=True)
    bus = GitBus(config.bus, config.cache_dir, refs=config.refs, profile=config.profile)
    runner = Runner(config, trust, bus, make_attempt=SpeakingAttempt)  # type: ignore[arg-type]
    serve(runner)


if __name__ == "__main__":
    main(sys.argv[1])
