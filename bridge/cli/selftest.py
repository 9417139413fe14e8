"""The end of a set-up: one real job through the bus, taken by this machine's runner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import KakeyaError

if TYPE_CHECKING:
    from bridge.client import Client
    from bridge.client.outcomes import Outcome
    from bridge.runner.config import RunnerConfig

PRESET = "probe"
WAIT_S = 900.0
_BEATS = 6


def run_probe(config: RunnerConfig, config_path: Path, say: Callable[[str], None]) -> Outcome:
    """Ask for the probe by the runner's own name, and wait for its verdict.

    Where no runner serves here, one is started for the time of the test.

    Raises:
        KakeyaError: the runner does not come up, with the end of what it said.
        BusError: the bus does not answer.
    """
    from bridge.client import Client

    with (
        Client.open(
            config.bus,
            root=config.refs.root,
            profile=config.profile.name,
            folder=config.trusted,
        ) as client,
        _serving(config, config_path, client) as check,
    ):
        _await_beat(client, config.name, check)
        submission = client.submit(
            PRESET, labels=[config.name], code=config.trusted_commit or "HEAD"
        )
        say(f"self-test: {PRESET} is job {submission.id}")
        return client.wait(submission.id, WAIT_S)


@contextmanager
def _serving(
    config: RunnerConfig, config_path: Path, client: Client
) -> Iterator[Callable[[], None]]:
    """A call that raises once the runner is gone; it was there already, or lives for the block."""
    from bridge.client.embedded import EmbeddedRunner
    from bridge.runner.service.process import find_process

    if find_process(config.state_dir) is not None:
        yield lambda: _require_process(config)
        return
    config.state_dir.mkdir(parents=True, exist_ok=True)
    log = config.state_dir / "self-test.log"
    log.write_bytes(b"")
    runner = EmbeddedRunner(config_path, log, client.clock)
    try:
        yield runner.check
    finally:
        runner.stop()


def _require_process(config: RunnerConfig) -> None:
    from bridge.runner.service.process import find_process

    if find_process(config.state_dir) is None:
        raise KakeyaError(
            f"the runner {config.name} ended during the self-test",
            where=str(config.state_dir),
            remedy="kakeya_remote doctor --for operator",
        )


def _await_beat(client: Client, name: str, check: Callable[[], None]) -> None:
    """Until the runner has beaten anew: an old beat says nothing of now."""
    bus, clock = client.bus, client.clock
    before = bus.beats().get(name)
    deadline_s = clock.monotonic_s() + _BEATS * bus.profile.heartbeat_s + 60
    while clock.monotonic_s() < deadline_s:
        tip = bus.beats().get(name)
        if tip is not None and tip != before:
            return
        check()
        clock.pause(bus.profile.poll_max_s)
    raise KakeyaError(
        f"the runner {name} does not beat",
        where=bus.url,
        remedy="kakeya_remote doctor --for operator",
    )
