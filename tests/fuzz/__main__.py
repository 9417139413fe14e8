"""`python -m tests.fuzz`: hostile bytes for every parser of wire data, counted."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.mutation import damaged
from tests.fuzz.targets import TARGETS, Target, try_one

EXAMPLES = 300


def run_target(target: Target, examples: int, chance: int) -> tuple[int, int]:
    """Try one target; how many cases were made, and how many of them were taken as valid.

    Raises:
        Exception: whatever the parser raised that is no error of ours, with the smallest case.
    """
    made = taken = 0

    @seed(chance)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(target.valid))
    def check(data: bytes) -> None:
        nonlocal made, taken
        made += 1
        taken += try_one(target, data)

    check()
    return made, taken


def main() -> int:
    """Try every target; 1 if one of them fell over, or too few cases were made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="targets whose name holds one of these")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="for each parser")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-least", type=int, default=10_000)
    given_ = parser.parse_args()
    begun_s, total, faults = time.monotonic(), 0, 0
    chosen = [
        target
        for target in TARGETS
        if not given_.names or any(name in target.name for name in given_.names)
    ]
    for target in chosen:
        try:
            made, taken = run_target(target, given_.examples, given_.seed)
        except Exception:
            faults += 1
            sys.stdout.write(f"{target.name}: FELL OVER\n{traceback.format_exc()[-4000:]}\n")
            continue
        total += made
        sys.stdout.write(f"{target.name}: {made} cases, {taken} of them valid\n")
        sys.stdout.flush()
    took_s = time.monotonic() - begun_s
    sys.stdout.write(
        f"{total} cases for {len(chosen)} parsers in {took_s:.0f} s, {faults} fell over\n"
    )
    return int(bool(faults) or (not given_.names and total < given_.at_least))


if __name__ == "__main__":
    sys.exit(main())
