"""`python -m benchmarks.instant CONFIG CALLS`: a runner whose jobs do nothing, timed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from benchmarks.stopwatch import time_calls, write_calls
from bridge.runner.config import load_config
from bridge.runner.trust import open_trust
from tests.instant import make_runner


def main(config_path: str, calls_path: str) -> None:
    """Serve until SIGTERM."""
    config = load_config(Path(config_path))
    trust = open_trust(config.trusted, None, config.state_dir, allow_edits=True)
    runner = make_runner(config, trust)
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    runner.open()
    time_calls(runner.bus, "runner", write_calls(Path(calls_path)))
    try:
        runner.run(lambda: bool(stop))
    finally:
        runner.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
