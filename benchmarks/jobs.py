"""A job that does nothing, from its submission to its result seen, against one bare push."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.ledger import fill_ledger
from benchmarks.measure import Action, Prepare, Row, Table, compare
from benchmarks.scene import NAMES, SLOTS, Scene, missing_parts, open_scene
from benchmarks.stopwatch import Call, read_calls, split_time, time_calls

GOALS = {"file": 5.0, "http": 5.0, "fast": 2.0}
ENDED = 10_000
_ROUNDS, _LAUNCHES = 10, 5
_ORDER = (
    ("client", "swap"),
    ("runner", "swap"),
    ("runner", "load"),
    ("runner", "load_all"),
    ("runner", "poll"),
    ("client", "load"),
    ("client", "glance"),
)
_NOTE = (
    "From the push of the request to the result seen by the waiting client, jobs one after "
    "another, profile `local`, one runner. *Bus only*: the job ends by itself inside the runner. "
    "*With launch*: export, process, judgement, signed record. *By hand* is the floor: three "
    "pushes and two fetches of plain git in one loop, with nothing between them."
)


def measure() -> Iterator[Table]:
    """One table for each transport."""
    for name, title in NAMES.items():
        missing = missing_parts(name)
        if missing:
            yield Table(f"A no-op job over {title}", f"Not measured: {missing}.", ())
        else:
            yield _measure(name)


def _measure(name: str) -> Table:
    with open_scene(name) as empty, open_scene(name) as full:
        calls: list[Call] = []
        spans: list[tuple[float, float]] = []
        for scene in (empty, full):
            scene.start_runner("bench-1", launch=False, slots=SLOTS)
            scene.wait_for_runners(["bench-1"])
        time_calls(empty.bus, "client", calls.append)
        fill_ledger(full, ENDED)
        full.stop_runners()
        full.start_runner("bench-2", launch=False, slots=SLOTS)
        full.wait_for_runners(["bench-2"])
        ended = f"no-op job, bus only, {ENDED:,} ended"
        cases: dict[str, Prepare] = {
            "bare push of a new ref": empty.new_ref,
            "by hand, plain git": lambda: _by_hand(empty),
            "no-op job, bus only": lambda: _job(empty, spans),
            ended: lambda: _job(full, []),
        }
        rows = list(compare(cases, rounds=_ROUNDS, goals={"no-op job, bus only": GOALS[name]}))
        alone = rows[2].median_ms
        rows[3] = replace(rows[3], base_ms=alone, goal_ratio=1.2, name=f"{ended}, against none")
        rows += _launch(empty)
        seen = calls + read_calls(empty.calls)
        return Table(
            f"A no-op job over {NAMES[name]}", _NOTE, tuple(rows), _profile(spans, seen, rows)
        )


def _launch(scene: Scene) -> list[Row]:
    scene.stop_runners()
    scene.start_runner("bench-3", launch=True, slots=SLOTS)
    scene.wait_for_runners(["bench-3"])
    name = "no-op job, with launch"
    found = compare({"bare push": scene.new_ref, name: lambda: _job(scene, [])}, rounds=_LAUNCHES)
    return [found[1]]


def _job(scene: Scene, spans: list[tuple[float, float]]) -> Action:
    request = scene.make_request()

    def run() -> None:
        start_s = time.monotonic()
        scene.run_job(request)
        spans.append((start_s, time.monotonic()))

    return run


def _by_hand(scene: Scene) -> Action:
    commits = scene.make_commits(3)
    ref = scene.next_ref()

    def run() -> None:
        for number, commit in enumerate(commits):
            scene.git("push", "--quiet", scene.remote.url, f"{commit}:{ref}")
            if number != 1:  # the runner's look, and the client's
                scene.git("fetch", "--quiet", scene.remote.url, f"+{ref}:refs/seen/{number}")

    return run


def _profile(spans: list[tuple[float, float]], calls: list[Call], rows: list[Row]) -> str:
    """Where the time of the bus-only jobs went."""
    found = split_time(spans[1:], calls, _ORDER)
    push_ms = rows[0].median_ms
    lines = [
        "Where the time of a bus-only job goes, median ms and bare pushes:",
        "",
        "| | ms | bare pushes |",
        "|---|--:|--:|",
    ]
    for what, each_ms in sorted(found.items(), key=lambda item: -item[1]):
        if each_ms >= 0.05:
            lines.append(f"| {what} | {each_ms:.1f} | {each_ms / push_ms:.2f} |")
    if rows[2].goal_ratio is not None and rows[2].ratio > rows[2].goal_ratio:
        swaps = found["client: swap"] + found["runner: swap"]
        lines += [
            "",
            f"The goal of {rows[2].goal_ratio:g} is missed. The three pushes alone (`swap`: the "
            f"request, the claim, the result) are {swaps / push_ms:.1f} bare pushes, and the floor "
            f"by hand is {rows[1].ratio:.1f}.",
        ]
    return "\n".join(lines)
