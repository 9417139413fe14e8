"""`python -m tests.simulation --schedules 10000`: many schedules, and what they covered."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bridge.states import TRANSITIONS, Event, State
from tests.simulation.schedule import run_schedule

CHUNK = 50


def say(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run_chunk(first: int) -> tuple[int, Counter[tuple[State | None, Event]], list[str]]:
    """Fifty schedules from a seed on: operations made, transitions seen, what broke."""
    operations, seen, broken = 0, Counter[tuple[State | None, Event]](), []
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for seed in range(first, first + CHUNK):
            try:
                lab = run_schedule(seed, Path(folder))
            except AssertionError as error:
                broken.append(str(error))
                continue
            operations += lab.count
            seen += lab.world.transitions
    return operations, seen, broken


def main() -> int:
    """Run them all; 1 if an invariant broke or a transition was seen too seldom."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--at-least", type=int, default=100, help="of each transition")
    given = parser.parse_args()
    begun_s = time.monotonic()
    firsts = range(given.first_seed, given.first_seed + given.schedules, CHUNK)
    operations, seen, broken = 0, Counter[tuple[State | None, Event]](), []
    with ProcessPoolExecutor(given.jobs) as pool:
        for made, counted, faults in pool.map(run_chunk, firsts):
            operations += made
            seen += counted
            broken += faults
    took_s = time.monotonic() - begun_s
    say(f"{len(firsts) * CHUNK} schedules, {operations} operations, {took_s:.0f} s")
    say(f"{len(broken)} broken")
    for key in TRANSITIONS:
        state, event = key
        say(f"  {state.value if state else '(no ref)':10} {event.value:10} {seen[key]:7}")
    for fault in broken[:20]:
        say(f"BROKEN: {fault}")
    seldom = [
        f"{state} {event}"
        for (state, event) in TRANSITIONS
        if seen[(state, event)] < given.at_least
    ]
    for name in seldom:
        say(f"SELDOM: {name} was taken fewer than {given.at_least} times")
    return int(bool(broken or seldom))


if __name__ == "__main__":
    sys.exit(main())
