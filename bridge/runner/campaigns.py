"""The runner's part in campaigns: a thread of its own that takes the steps that are due.

Pooling and judging a node's record takes seconds, and the loop that beats the heart may not wait
for it. The thread has its own view of the bus and sleeps while the bus has no live campaign.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping

from bridge.bus.commits import runner_identity
from bridge.bus.driving import Driver
from bridge.bus.endings import Signer
from bridge.bus.requester import RequesterBus
from bridge.clock import Clock
from bridge.errors import KakeyaError
from bridge.git import RefTip
from bridge.runner.config import RunnerConfig
from bridge.runner.key import RunnerKey
from bridge.runner.trust import Trust
from evidence.sign import sign_record

_STOP_S = 30.0


class CampaignThread:
    """Drives the campaigns of a runner's bus.

    Args:
        config: the runner's settings.
        trust: presets come from here.
        key: signs the steps and the records.
        say: told each step in one line.
        clock: time and chance.
    """

    def __init__(
        self,
        config: RunnerConfig,
        trust: Trust,
        key: RunnerKey,
        say: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._config, self._trust, self._key = config, trust, key
        self._say, self._clock = say, clock or Clock()
        self._wanted: dict[str, str] = {}
        self._over: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def observe(self, campaigns: Mapping[str, RefTip]) -> None:
        """Note one poll of the bus: where each campaign's ref stands, by its id."""
        self._wanted = {name: tip.oid for name, tip in campaigns.items()}
        if any(self._over.get(name) != oid for name, oid in self._wanted.items()):
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="campaigns", daemon=True)
                self._thread.start()
            self._wake.set()

    def close(self) -> None:
        """Let the thread end; what it has not pushed, another one will."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=_STOP_S)

    def _run(self) -> None:
        config = self._config
        bus = RequesterBus(
            config.bus,
            config.cache_dir / "campaigns",
            refs=config.refs,
            profile=config.profile,
        )
        driver = Driver(
            bus,
            self._trust.catalog,
            self._sign,
            self._say,
            lambda record: sign_record(record, self._key.private),
        )
        try:
            while self._wake.wait() and not self._stop.is_set():
                self._wake.clear()
                self._look(driver)
                # others drive too: who comes later finds the step taken
                self._stop.wait(self._clock.chance.uniform(0.5, 1.5) * config.profile.poll_max_s)
        finally:
            bus.close()

    def _look(self, driver: Driver) -> None:
        for name, tip in self._wanted.items():
            if self._stop.is_set():
                return
            if self._over.get(name) == tip:
                continue
            try:
                course = driver.advance(name)
            except KakeyaError as error:
                self._say_once(name, f"campaign {name} cannot be driven here: {error}")
                continue
            if course.ended or course.plan is None:
                self._over[name] = course.tip

    def _say_once(self, name: str, text: str) -> None:
        if self._said.get(name) != text:
            self._said[name] = text
            self._say(text)

    def _sign(self) -> Signer:
        author = runner_identity(self._config.name, self._key.sign)
        nonce, when_s = secrets.token_hex(16), int(self._clock.wall_s())
        return Signer(self._config.name, author, nonce, when_s)
