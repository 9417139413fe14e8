"""Five hundred jobs that do nothing, drained by eight runners."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.measure import Fact, Table
from benchmarks.scene import NAMES, SLOTS, Scene, missing_parts, open_scene, wait_for_end
from benchmarks.stopwatch import read_calls
from bridge.bus.commits import compose_request
from bridge.bus.remote import Outcome, Update

JOBS, RUNNERS = 500, 8
GOALS = {"file": 3.0, "http": 3.0, "fast": 9.0}
_NOTE = (
    f"{JOBS} jobs pushed at once, {RUNNERS} runners with 16 slots each as processes of their own, "
    "bus only, profile `local`; from the push of the requests to the last result seen. A bare push "
    "is the median of nine right before. *By hand* is the floor, in the same run: plain git with "
    f"commits made before the clock starts, {RUNNERS} loops side by side that each fetch an equal "
    "share, push its claims and push its results, three commands each, and never meet."
)


def measure() -> Iterator[Table]:
    """One table, three rows for each transport."""
    rows: list[Fact] = []
    skipped = []
    for name, title in NAMES.items():
        missing = missing_parts(name)
        if missing:
            skipped.append(f"{title} is not measured: {missing}.")
            continue
        with open_scene(name) as scene:
            rows += _drain(scene, title, GOALS[name])
    yield Table(f"Draining {JOBS} no-op jobs", " ".join([_NOTE, *skipped]), tuple(rows))


def drain(scene: Scene, jobs: int) -> float:
    """Seconds in which the runners of a scene end so many jobs."""
    requests = [scene.make_request() for _ in range(jobs)]
    updates = [
        Update(scene.ref_of(item), None, compose_request(item, when_s=0)) for item in requests
    ]
    start_s = time.monotonic()
    assert set(scene.bus.swap(updates)) == {Outcome.WON}
    wait_for_end(scene, [update.ref for update in updates], 600.0)
    return time.monotonic() - start_s


def _drain(scene: Scene, title: str, goal: float) -> list[Fact]:
    names = [f"bench-{number}" for number in range(RUNNERS)]
    for name in names:
        scene.start_runner(name, launch=False, slots=SLOTS)
    scene.wait_for_runners(names)
    push_s = bare_push_s(scene, 9)
    floor_s = _drain_by_hand(scene)
    start_s = time.monotonic()
    took_s = drain(scene, JOBS)
    calls = [call for call in read_calls(scene.calls) if call.start_s > start_s]
    spent = {
        name: sum(call.end_s - call.start_s for call in calls if call.name == name)
        for name in ("poll", "load_all", "load", "swap")
    }
    busy = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items())
    swaps = sum(call.name == "swap" for call in calls)
    remark = f"{swaps} pushes of all runners together; their time: {busy}"
    per_push = JOBS / took_s * push_s
    return [
        Fact(f"{title}, jobs per bare push", 1, per_push, "", goal, True, remark),
        Fact(f"{title}, by hand, jobs per bare push", 1, JOBS / floor_s * push_s, ""),
        Fact(f"{title}, jobs a second", 1, JOBS / took_s, "/s", None, True),
    ]


def _drain_by_hand(scene: Scene) -> float:
    """Seconds in which plain git moves as many refs through the same three steps."""
    jobs = [(scene.next_ref(), scene.make_commits(3)) for _ in range(JOBS)]

    def push(share: list[tuple[str, list[str]]], step: int) -> None:
        scene.git("push", "--quiet", scene.remote.url, *(f"{c[step]}:{ref}" for ref, c in share))

    def serve(number: int) -> None:
        share = jobs[number::RUNNERS]
        specs = [f"+{ref}:refs/floor/{ref}" for ref, _ in share]
        scene.git("fetch", "--quiet", "--no-write-fetch-head", scene.remote.url, *specs)
        push(share, 1)
        push(share, 2)

    start_s = time.monotonic()
    push(jobs, 0)
    with ThreadPoolExecutor(RUNNERS) as pool:
        list(pool.map(serve, range(RUNNERS)))
    scene.git("ls-remote", scene.remote.url)
    return time.monotonic() - start_s


def bare_push_s(scene: Scene, times: int) -> float:
    """The median of so many bare pushes of a new ref."""
    found = []
    for _ in range(times):
        action = scene.new_ref()
        start_s = time.monotonic()
        action()
        found.append(time.monotonic() - start_s)
    return statistics.median(found)
