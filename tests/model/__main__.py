"""`python -m tests.model`: every world of two runners, one client and one cancel, looked at."""

from __future__ import annotations

import argparse
import sys
import time

from bridge.states import TRANSITIONS
from tests.model.moves import Rules
from tests.model.search import explore
from tests.model.world import World

PLANTED = {
    "no fencing": Rules(fencing=False),
    "own clock removed": Rules(own_clock=False),
    "result without compare-and-swap": Rules(compare_and_swap=False),
}


def say(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Search; 1 if an invariant breaks, or a planted bug is not found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crashes", type=int, default=1)
    parser.add_argument("--losses", type=int, default=1, help="replies that are lost")
    given = parser.parse_args()
    begun_s = time.monotonic()
    found = explore(World(crashes=given.crashes, losses=given.losses))
    took_s = time.monotonic() - begun_s
    say(
        f"{found.states} states, {found.moves} moves between them, {len(found.transitions)} of "
        f"{len(TRANSITIONS)} transitions of the table; {given.crashes} crashes and {given.losses} "
        f"lost replies at most; {took_s:.0f} s"
    )
    say(found.broken or "no invariant is broken, and each state can come to an end")
    missed = 0
    for name, rules in PLANTED.items():
        fault = explore(World(crashes=given.crashes, losses=given.losses), rules)
        missed += not fault.broken
        say(f"planted, {name}: {fault.broken or 'NOT FOUND'}")
    return int(bool(found.broken) or bool(missed))


if __name__ == "__main__":
    sys.exit(main())
