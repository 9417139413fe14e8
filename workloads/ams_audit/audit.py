"""The 26 cases over one memory, the four axes, and what became of each case since a baseline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from workloads.ams_audit import fidelity, keywords, mechanics, stability
from workloads.ams_audit.config import Reader
from workloads.ams_audit.lexicon import SET_A
from workloads.ams_audit.protocol import Case, Figures, Subject
from workloads.ams_audit.stage import MIXED, Stage

CASES: tuple[Case, ...] = tuple(
    sorted(
        (*mechanics.CASES, *fidelity.CASES, *keywords.CASES, *stability.CASES),
        key=lambda case: int(case.id.split(".")[1]),
    )
)
COMPRESSION = 10.0  # A, as the specification has it
FIDELITY = 9  # C: of eleven

Table = Mapping[str, tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One case of one memory; without figures it could not be measured, and `error` says why."""

    case: Case
    passed: bool
    digest: str
    figures: Figures
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """All findings of one memory, and the figures of the axes A and B."""

    findings: tuple[Finding, ...]
    compression: float
    growth: float

    @property
    def passed(self) -> int:
        """How many cases pass."""
        return sum(finding.passed for finding in self.findings)

    def axes(self) -> dict[str, tuple[float, bool]]:
        """Figure and verdict of each axis: ratio, growth of the prefix, passes of C and of D."""
        counts = {axis: [f.passed for f in self.findings if f.case.axis == axis] for axis in "CD"}
        return {
            "A": (self.compression, self.compression >= COMPRESSION),
            "B": (self.growth, self.growth == 1),
            "C": (sum(counts["C"]), sum(counts["C"]) >= FIDELITY),
            "D": (sum(counts["D"]), all(counts["D"])),
        }

    def table(self) -> Table:
        """Whether each case passes, and the digest of its definition."""
        return {one.case.id: (one.passed, one.digest) for one in self.findings}

    def as_record(self) -> dict[str, Any]:
        """The table of cases as records hold it, for `kakeya_remote evidence gate --record`."""
        return {
            "cases": {
                finding.case.id: {
                    "verdict": "pass" if finding.passed else "fail",
                    "gate": finding.digest,
                }
                for finding in self.findings
            }
        }


def run_audit(subject: Subject, *, reader: Reader = "primary", traced: int = 24) -> Audit:
    """Every case over a memory; the same memory gives the same findings."""
    stage = Stage(subject, reader=reader, traced=traced)
    findings = tuple(run_case(case, stage) for case in CASES)
    kept, context = stage.store(MIXED).footprint()
    lengths = [len(stage.store(name).prefix(SET_A[0])) for name in (MIXED, "music")]
    return Audit(findings, context / kept, lengths[0] / lengths[1])


def run_case(case: Case, stage: Stage) -> Finding:
    """One case; what a memory raises is a finding and not the end of the audit."""
    torch.manual_seed(case.seed)
    digest = case.digest(stage.reader)
    try:
        figures = {name: float(value) for name, value in case.measure(stage).items()}
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        return Finding(case, False, digest, {}, f"{type(error).__name__}: {error}")
    return Finding(case, case.judge(figures), digest, figures)


def compare(before: Table, after: Table) -> dict[str, str]:
    """What became of each case: kept, lost, gained, still failing, or redefined.

    A case whose definition changed is redefined whatever it says now: never a gain.
    """
    found = {}
    for name, (passes, digest) in after.items():
        passed, defined = before[name]
        if defined != digest:
            found[name] = "redefined"
        elif passed:
            found[name] = "kept" if passes else "lost"
        else:
            found[name] = "gained" if passes else "still_failing"
    return found


def count_as_defined(before: Table, after: Table) -> int:
    """Cases that pass, without those that pass since they were redefined."""
    return sum(
        passes and (before[name][0] or before[name][1] == digest)
        for name, (passes, digest) in after.items()
    )


def read_table(record: Mapping[str, Any]) -> Table:
    """The inverse of `Audit.as_record`."""
    return {
        name: (case["verdict"] == "pass", case["gate"]) for name, case in record["cases"].items()
    }


@contextlib.contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """One thread and deterministic algorithms, as under the source's AMS_DETERMINISTIC=1."""
    threads = torch.get_num_threads()
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.set_num_threads(threads)
