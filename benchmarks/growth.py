"""How latency grows: with live refs, ended jobs, runners and the length of the queue."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.drain import drain
from benchmarks.ledger import fill_ledger
from benchmarks.measure import Fact, Table
from benchmarks.scene import NAMES, SLOTS, Scene, missing_parts, open_scene
from bridge.bus.commits import compose_request
from bridge.bus.remote import Update

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "img" / "growth.svg"
LIVE = (0, 50, 200, 1000)
ENDED = (0, 1000, 10_000)
RUNNERS = (1, 2, 4, 8)
QUEUE = (10, 50, 200)
_JOBS = 5
Curve = list[tuple[int, float]]


def measure() -> Iterator[Table]:
    """One table and one picture of four panels."""
    curves: dict[str, dict[str, Curve]] = {}
    panels: Sequence[tuple[str, Callable[[str], Curve]]] = (
        ("live refs", _by_live_refs),
        ("ended jobs in the ledger", _by_ended),
        ("idle runners", _by_runners),
        ("length of the queue, ms for each job, 4 runners", _by_queue),
    )
    for title, panel in panels:
        for name in ("file", "fast"):
            if not missing_parts(name):
                curves.setdefault(title, {})[NAMES[name]] = panel(name)
    _draw(curves)
    rows = [
        Fact(f"{title}: {count:,}, {name}", _JOBS, value, "ms")
        for title, each in curves.items()
        for name, curve in each.items()
        for count, value in curve
    ]
    note = (
        f"Median of {_JOBS} no-op jobs one after another, bus only, profile `local`; of the queue, "
        "the time of the whole drain divided by its jobs."
    )
    yield Table("Growth", note, tuple(rows), "![Growth of latency](img/growth.svg)")


def _start(scene: Scene, count: int) -> None:
    names = [f"grow-{number}" for number in range(count)]
    for name in names:
        scene.start_runner(name, launch=False, slots=SLOTS)
    scene.wait_for_runners(names)


def _latency_ms(scene: Scene) -> float:
    found = []
    for _ in range(_JOBS + 1):
        request = scene.make_request()
        start_s = time.monotonic()
        scene.run_job(request)
        found.append((time.monotonic() - start_s) * 1000)
    return statistics.median(found[1:])


def _by_live_refs(name: str) -> Curve:
    """Live refs of jobs that this runner has no label for."""
    curve, live = [], 0
    with open_scene(name) as scene:
        _start(scene, 1)
        for count in LIVE:
            requests = [
                scene.make_request(label="elsewhere", labels=("elsewhere",))
                for _ in range(count - live)
            ]
            updates = [
                Update(scene.ref_of(item), None, compose_request(item, when_s=0))
                for item in requests
            ]
            scene.bus.swap(updates)
            live = count
            curve.append((count, _latency_ms(scene)))
    return curve


def _by_ended(name: str) -> Curve:
    curve: Curve = []
    for count in ENDED:
        with open_scene(name) as scene:
            _start(scene, 1)
            fill_ledger(scene, count)
            scene.stop_runners()
            _start(scene, 1)
            curve.append((count, _latency_ms(scene)))
    return curve


def _by_runners(name: str) -> Curve:
    curve: Curve = []
    with open_scene(name) as scene:
        for count in RUNNERS:
            scene.stop_runners()
            _start(scene, count)
            curve.append((count, _latency_ms(scene)))
    return curve


def _by_queue(name: str) -> Curve:
    with open_scene(name) as scene:
        _start(scene, 4)
        return [(count, drain(scene, count) * 1000 / count) for count in QUEUE]


def _draw(curves: dict[str, dict[str, Curve]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "kakeya"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6), layout="constrained")
    for axis, (title, each) in zip(axes.flat, curves.items(), strict=False):
        for name, curve in each.items():
            axis.plot(*zip(*curve, strict=True), marker="o", label=name)
        axis.set_title(title, fontsize=10)
        axis.set_ylabel("ms")
        axis.set_xscale("symlog", linthresh=10)
        counts = sorted({count for curve in each.values() for count, _ in curve})
        axis.set_xticks(counts, [f"{count:,}" for count in counts])
        axis.set_xticks([], minor=True)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})
    pyplot.close(figure)
