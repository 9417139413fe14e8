"""`python -m tests.drills.memory`: is a runner that has done many jobs as large as at first?

The shipped runner serves jobs that do nothing, in its own process. After each portion of jobs its
memory, its children and its descriptors are looked at from outside.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bridge import proc
from bridge.bus.commits import compose_request
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome, Update
from bridge.records import PresetRef
from presets.binding import bind
from tests import samples
from tests.actors import WHEN_S
from tests.lab import REPO, Lab, make_bare, make_checkout, open_lab
from tests.waiting import until

MAX_KIB_PER_JOB = 16.0
"""A quarter of the largest manifest: who keeps what a job says, or its chain, is above this."""
WARM_UP = 0.4
"""Share of the samples that do not count: caches and allocators fill at first."""


@dataclass(frozen=True)
class Sample:
    """How large the runner is after `jobs` jobs; children and descriptors while it is idle."""

    jobs: int
    rss_kib: int
    children: int
    descriptors: int


def slope(samples_: Sequence[Sample]) -> float:
    """KiB of memory for each job, by the least squares, over the samples after the warm-up."""
    late = samples_[int(len(samples_) * WARM_UP) :]
    fit = statistics.linear_regression([s.jobs for s in late], [s.rss_kib for s in late])
    return float(fit.slope)


def check(samples_: Sequence[Sample]) -> None:
    """The runner must be flat.

    Raises:
        AssertionError: memory, children or descriptors grew.
    """
    early, late = samples_[: len(samples_) // 2], samples_[len(samples_) // 2 :]
    grown = slope(samples_)
    assert grown <= MAX_KIB_PER_JOB, f"{grown:.1f} KiB more for each job: {samples_}"
    for what in ("children", "descriptors"):
        before = max(getattr(sample, what) for sample in early)
        after = statistics.median(getattr(sample, what) for sample in late)
        assert after <= before, f"{what} are left behind: {samples_}"


def _submit(lab: Lab, jobs: int) -> list[str]:
    preset = lab.catalog.get("noop")
    updates = []
    for _ in range(jobs):
        request = samples.make_request(
            lab.bus.identity().id,
            preset=PresetRef(preset.name, preset.digest),
            params=bind(preset, {}),
            code=lab.commit,
            labels=preset.labels,
            resources=preset.resources,
        )
        ref = lab.bus.refs.job(JobRef(request.label, request.priority, request.id))
        updates.append(Update(ref, None, compose_request(request, when_s=WHEN_S)))
    assert set(lab.bus.swap(updates)) == {Outcome.WON}
    return [update.ref for update in updates]


def _all_ended(lab: Lab, refs: Sequence[str]) -> bool:
    live = lab.bus.poll().jobs
    tips = [live[ref][1].subject for ref in refs if ref in live]  # the others are folded
    return all(subject.startswith("kakeya: done") for subject in tips)


def _look(process: psutil.Process, jobs: int) -> Sample:
    """When nothing is under way: git commands of a poll come and go."""

    def idle() -> Sample | None:
        children = process.children(recursive=True)
        busy = any("cat-file" not in " ".join(child.cmdline()) for child in children)
        rss_kib = process.memory_info().rss // 1024
        return None if busy else Sample(jobs, rss_kib, len(children), process.num_fds())

    def settled() -> Sample | None:
        try:
            one, two = idle(), idle()
        except psutil.NoSuchProcess:
            assert process.is_running(), "the runner has ended"
            return None
        same = one and two and (one.descriptors, one.children) == (two.descriptors, two.children)
        return two if same else None

    found = until(settled, bound_s=60, what="a quiet moment of the runner")
    assert found is not None
    return found


def measure(folder: Path, jobs: int, portion: int, *, keep: int) -> list[Sample]:
    """Let one runner do `jobs` jobs; a sample after each `portion`.

    Args:
        folder: empty.
        jobs: in all.
        portion: jobs that are on the bus at a time.
        keep: ended jobs that stay on the bus unfolded.
    """
    checkout = folder / "trusted"
    checkout.mkdir()
    make_checkout(checkout)
    make_bare(folder / "bus.git")
    lab = open_lab(checkout, str(folder / "bus.git"), folder / "lab")
    settings = lab.settings("memory", fold={"keep": keep, "after_s": 0})
    process = proc.spawn(
        [sys.executable, "-m", "tests.instant", str(settings)],
        cwd=REPO,
        env={**proc.base_env(), "PYTHONPATH": str(REPO)},
        stdout=settings.with_suffix(".log"),
    )
    seen = []
    try:
        lab.wait_for_beat("memory", process)
        for done in range(portion, jobs + 1, portion):
            refs = _submit(lab, portion)
            until(
                lambda refs=refs: _all_ended(lab, refs),  # type: ignore[misc]
                bound_s=300,
                what=f"{done} jobs",
            )
            seen.append(_look(psutil.Process(process.pid), done))
    except AssertionError as error:
        raise AssertionError(f"{error}\n{lab.words('memory')[-4000:]}") from error
    finally:
        process.terminate()
        process.wait(timeout=60)
        lab.bus.close()
    return seen


def draw(seen: Sequence[Sample], path: Path) -> None:
    """The plot: memory, and children with descriptors, against jobs."""
    from matplotlib import pyplot

    jobs = [sample.jobs for sample in seen]
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 4.5))
    above.plot(jobs, [sample.rss_kib / 1024 for sample in seen], marker=".")
    above.set_ylabel("resident memory, MiB")
    above.set_ylim(0, 1.2 * max(sample.rss_kib for sample in seen) / 1024)
    above.set_title("One runner, jobs that do nothing, bus in a local folder")
    below.plot(jobs, [sample.descriptors for sample in seen], marker=".", label="descriptors")
    below.plot(jobs, [sample.children for sample in seen], marker=".", label="child processes")
    below.set_ylim(bottom=0)
    below.set_xlabel("jobs done")
    below.legend()
    figure.tight_layout()
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and draw where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--portion", type=int, default=50)
    parser.add_argument("--keep", type=int, default=100, help="ended jobs left unfolded")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        seen = measure(Path(folder), given.jobs, given.portion, keep=given.keep)
    for sample in seen:
        sys.stdout.write(f"{sample}\n")
    sys.stdout.write(f"{slope(seen):.2f} KiB for each job after the warm-up\n")
    if given.plot:
        draw(seen, given.plot)
    check(seen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
