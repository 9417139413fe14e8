"""A bus that notes when each of its calls began and ended, on a clock all processes share."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALLS = ("poll", "load", "load_all", "load_heartbeat", "swap", "glance", "peek")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a bus: who made it, when, on the monotonic clock of this machine."""

    who: str
    name: str
    start_s: float
    end_s: float


def time_calls(bus: Any, who: str, note: Callable[[Call], None]) -> Any:
    """The same bus, with each of `CALLS` noted."""
    for name in CALLS:
        action = getattr(bus, name, None)
        if action is not None:
            setattr(bus, name, _timed(action, Call(who, name, 0.0, 0.0), note))
    return bus


def _timed(
    action: Callable[..., object], call: Call, note: Callable[[Call], None]
) -> Callable[..., object]:
    def run(*arguments: object, **options: object) -> object:
        start_s = time.monotonic()
        try:
            return action(*arguments, **options)
        finally:
            note(Call(call.who, call.name, start_s, time.monotonic()))

    return run


def write_calls(path: Path) -> Callable[[Call], None]:
    """Notes calls in a file, one line each."""
    out = path.open("a", buffering=1, encoding="utf-8")
    return lambda call: _write(out, call)


def _write(out: Any, call: Call) -> None:
    out.write(json.dumps([call.who, call.name, call.start_s, call.end_s]) + "\n")


def read_calls(path: Path) -> list[Call]:
    """The calls noted in a file."""
    rows = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [Call(*json.loads(row)) for row in rows if row.endswith("]")]


def split_time(
    spans: Sequence[tuple[float, float]], calls: Sequence[Call], order: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """Where the time of some spans went: median milliseconds for each of `order`, and the rest.

    At every moment the first of `order` that is under way is counted, and nothing else.
    """
    shares: dict[str, list[float]] = {}
    for start_s, end_s in spans:
        taken: list[tuple[float, float]] = []
        for who, name in order:
            own = [
                (max(call.start_s, start_s), min(call.end_s, end_s))
                for call in calls
                if (call.who, call.name) == (who, name)
                and call.end_s > start_s
                and call.start_s < end_s
            ]
            fresh = list(_without(own, taken))
            taken += fresh
            total_ms = sum(end - begin for begin, end in fresh) * 1000
            shares.setdefault(f"{who}: {name}", []).append(total_ms)
        rest_s = end_s - start_s - sum(end - begin for begin, end in taken)
        shares.setdefault("nobody asks: pauses between polls, Python", []).append(rest_s * 1000)
    return {name: statistics.median(values) for name, values in shares.items()}


def _without(
    spans: Sequence[tuple[float, float]], taken: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """What of `spans` lies in none of `taken`."""
    for span in spans:
        pieces = [span]
        for low, high in taken:
            pieces = [
                piece
                for begin, end in pieces
                for piece in ((begin, min(end, low)), (max(begin, high), end))
                if piece[0] < piece[1]
            ]
        yield from pieces
