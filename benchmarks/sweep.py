"""A sweep of 24 sleeps over four runners against its ideal packing, and what a reused job costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.measure import Fact, Table
from bridge.bus.chain import Chain
from bridge.bus.course import Course
from bridge.client.planning import sweep_document
from bridge.clock import Clock
from bridge.states import Event, State
from tests.integration.client_rig import Listener, open_client
from tests.lab import Lab, make_bare, make_checkout, open_lab
from tests.waiting import until

RUNNERS = 4
SECONDS = (4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16)
FACTORS = (1, 3)
SEEDS = 2
GOAL = 1.3
REUSE_GOAL_S = 1.0
REPEATS = 5
IDLE_S = 10.0
_BOUND_S = 1_200.0
_NOTE = (
    "Four real runners with one slot each on a bus in a folder; the cells are sleeps, each a job "
    "with its own process, export, judge and signed record, in no order that helps the packing. "
    "Two sweeps: the second one's cells sleep three times as long, so that the difference shows "
    "what a cell costs whatever it does. Wall time from the push of the plan to the push of the "
    "sweep's own record; the client is gone after the first. `ideal` is the sum of the sleeps over "
    "four."
)
_REUSE_NOTE = (
    "A `noop` job of one second, then the same request again: answered by a runner with the first "
    "one's evidence, its gates judged anew."
)


def measure() -> Iterator[Table]:
    """One table of sweeps."""
    with _four_runners() as (lab, _):
        facts = [fact for factor in FACTORS for fact in _sweep(lab, factor)]
    yield Table("A sweep over four runners", _NOTE, tuple(facts))


def measure_reuse() -> Iterator[Table]:
    """One table of the same work asked again."""
    with _four_runners() as (lab, processes):
        facts = tuple(_reuse(lab, processes))
    yield Table("The same work again", _REUSE_NOTE, facts)


@contextmanager
def _four_runners() -> Iterator[tuple[Lab, dict[str, psutil.Process]]]:
    slots = {"cpus": 1, "memory_mb": 4096}
    with tempfile.TemporaryDirectory(prefix="kakeya-sweep-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        checkout = make_checkout(folder / "trusted")
        make_bare(folder / "bus.git")
        lab = open_lab(checkout, str(folder / "bus.git"), folder / "lab")
        stack.callback(lab.bus.close)
        processes = {}
        for name in (f"lab-{number}" for number in range(RUNNERS)):
            runner = stack.enter_context(lab.runner(name, slots=slots))
            processes[name] = psutil.Process(runner.pid)
        yield lab, processes


def _sweep(lab: Lab, factor: int) -> Iterator[Fact]:
    sleeps = [factor * seconds for seconds in SECONDS]
    title = f"cells of {sleeps[0]} to {sleeps[-1]} s"
    ideal_s = sum(sleeps) * SEEDS / RUNNERS
    begun_s = time.perf_counter()
    document = sweep_document("noop-sweep", {}, {"seconds": sleeps}, SEEDS)
    cache = lab.folder / "client"
    with open_client(lab.url, lab.checkout, cache, Clock(), Listener()) as client:
        plan = client.campaigns.plan(document)
        client.campaigns.start(plan)

    def ended() -> Course | None:
        # who asks without a pause takes a core from the runners
        time.sleep(lab.bus.profile.poll_max_s)
        course = lab.bus.load_campaign(plan.id)
        return course if course.ended else None

    course = until(ended, bound_s=_BOUND_S, what="the end of the sweep")
    wall_s = time.perf_counter() - begun_s
    assert course is not None
    chains = [lab.bus.load(str(lab.bus.find(job))) for job in course.launched.values()]
    claims = sum(link.event is Event.CLAIM for chain in chains for link in chain.links)
    done = sum(chain.state is State.DONE for chain in chains)
    page = lab.bus.read(course.files["report.html"]).decode()
    yield Fact(f"{title}: done", 1, done, "of 24", 24, more_is_better=True)
    yield Fact(f"{title}: claims", 1, claims, "claims", 24, remark="every cell once")
    yield Fact(f"{title}: wall time", 1, wall_s, "s", remark=f"ideal {ideal_s:g} s")
    yield Fact(f"{title}: wall time over ideal", 1, wall_s / ideal_s, "x", GOAL)
    dots = sum(f"seed {seed}" in page for seed in range(SEEDS))
    yield Fact(f"{title}: seeds with dots", 1, dots, "of 2", SEEDS, more_is_better=True)


def _reuse(lab: Lab, processes: Mapping[str, psutil.Process]) -> Iterator[Fact]:
    """The same work again: what it costs the runner from the claim to the result on the bus."""
    idle = _idle_share(processes)
    ran, first = _run_job(lab, processes, idle)
    again = [_run_job(lab, processes, idle) for _ in range(REPEATS)]
    assert first.result is not None
    for _, chain in again:
        assert chain.result is not None
        assert chain.result.reused_from, chain.result
        assert chain.result.verdict == first.result.verdict
    yield Fact(
        "a job of 1 s, to its result", 1, ran.wall_s, "s", remark=f"{ran.cpu_s:.2f} s of CPU"
    )
    walls, cpus = (sorted(values) for values in zip(*(cost for cost, _ in again), strict=True))
    told = f"median; slowest {walls[-1]:.2f} s"
    yield Fact("the same work again, to its result", REPEATS, walls[REPEATS // 2], "s", remark=told)
    told = f"median, runner and its children, idle polls taken off; most {cpus[-1]:.2f} s"
    middle = cpus[REPEATS // 2]
    yield Fact("the same work again, CPU", REPEATS, middle, "s", REUSE_GOAL_S, remark=told)


class Cost(NamedTuple):
    """What a job cost between its request and its result; CPU without what an idle runner uses."""

    wall_s: float
    cpu_s: float


def _idle_share(processes: Mapping[str, psutil.Process]) -> float:
    """Seconds of CPU that a runner uses in each second of waiting for jobs."""
    before = sum(map(_cpu_s, processes.values()))
    time.sleep(IDLE_S)
    return (sum(map(_cpu_s, processes.values())) - before) / IDLE_S / len(processes)


def _run_job(lab: Lab, processes: Mapping[str, psutil.Process], idle: float) -> tuple[Cost, Chain]:
    before = {name: _cpu_s(process) for name, process in processes.items()}
    begun_s = time.perf_counter()
    chain = lab.wait(lab.submit("noop", {"seconds": 1}, reuse=True), bound_s=_BOUND_S)
    wall_s = time.perf_counter() - begun_s
    assert chain.claim is not None
    name = chain.claim.runner
    spent_s = _cpu_s(processes[name]) - before[name] - idle * wall_s
    return Cost(wall_s, spent_s), chain


def _cpu_s(process: psutil.Process) -> float:
    """Seconds of CPU of a runner and of its children that have ended."""
    return float(sum(process.cpu_times()[:4]))
