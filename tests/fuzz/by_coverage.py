"""`python -m tests.fuzz.by_coverage --seconds 60`: the same parsers, led by coverage (atheris).

atheris is no dependency: `pip install atheris==3.0.0` brings it where there is a wheel.
"""

from __future__ import annotations

import argparse
import sys

from bridge.errors import MissingPartError


def main() -> int:
    """Feed all the parsers in turn until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    try:
        import atheris
    except ImportError as error:
        raise MissingPartError("atheris is missing", remedy="pip install atheris==3.0.0") from error
    with atheris.instrument_imports(include=["bridge", "evidence", "presets", "executors"]):
        from tests.fuzz.targets import TARGETS, try_one

    def test_one(data: bytes) -> None:
        if data:
            try_one(TARGETS[data[0] % len(TARGETS)], data[1:])

    atheris.Setup([sys.argv[0], f"-max_total_time={given.seconds}", "-max_len=4096"], test_one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
