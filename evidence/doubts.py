"""Signs that a run is not what it looks like: read from the facts and the raw samples. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evidence.measuring import Selection
from evidence.samples import Sample

MIN_TWINS = 8
MIN_CONSTANT = 8


def find_doubts(facts: Mapping[str, Any], selection: Selection) -> list[dict[str, str]]:
    """Every sign found, as `{check, detail}`; none of them moves a verdict, all are shown first."""
    return [
        {"check": check, "detail": detail}
        for check, detail in (
            *_doubt_code(facts.get("code", {})),
            *_doubt_trust(facts.get("trusted", {})),
            *_doubt_samples(selection),
        )
    ]


def _doubt_code(code: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if code.get("dirty"):
        yield "dirty-tree", f"files that ran are not the commit's: {_some(code.get('differing'))}"
    if _count(code.get("hidden_index")):
        yield "hidden-index", "git was told to overlook changes (assume-unchanged, skip-worktree)"
    if _count(code.get("lfs_pointers")):
        yield "lfs-pointers", f"LFS pointers stand for files: {_some(code.get('lfs_pointers'))}"
    if _count(code.get("ignored_inputs")):
        yield "ignored-inputs", f"read files that git ignores: {_some(code.get('ignored_inputs'))}"
    if _count(code.get("foreign")):
        yield "foreign-code", f"imported from outside the commit: {_some(code.get('foreign'))}"


def _doubt_trust(trusted: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if _count(trusted.get("edited")):
        yield "edited-judge", f"the trusted checkout was edited: {_some(trusted.get('edited'))}"


def _doubt_samples(selection: Selection) -> Iterator[tuple[str, str]]:
    if selection.overlap:
        arms = sorted({row.arm for row in selection.overlap})
        yield (
            "warmup-overlap",
            f"{len(selection.overlap)} rows reuse an input of the warm-up and do not count: "
            f"{_some(arms)}",
        )
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for row in selection.counted:
        groups[row.arm, row.measure].append(row)
    for (arm, measure), rows in sorted(groups.items()):
        yield from _doubt_repeats(arm, measure, rows)
        yield from _doubt_constant_time(arm, measure, rows)
        yield from _doubt_twin_seeds(arm, measure, rows)


def _doubt_repeats(arm: str, measure: str, rows: Sequence[Sample]) -> Iterator[tuple[str, str]]:
    keys = [row.key for row in rows]
    if len(set(keys)) < len(keys):
        yield (
            "repeated-rows",
            f"{measure}[{arm}]: {len(keys) - len(set(keys))} rows measure a unit again",
        )


def _doubt_constant_time(
    arm: str, measure: str, rows: Sequence[Sample]
) -> Iterator[tuple[str, str]]:
    times = [row.t_ms for row in rows if row.t_ms is not None]
    if len(times) >= MIN_CONSTANT and len(set(times)) == 1:
        yield (
            "zero-variance",
            f"{measure}[{arm}]: {len(times)} rows took the same time to the digit",
        )


def _doubt_twin_seeds(arm: str, measure: str, rows: Sequence[Sample]) -> Iterator[tuple[str, str]]:
    """Scores that vary within a seed and are the same in every seed were not drawn anew."""
    seeds: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        seeds[row.seed].append((row.unit, row.at, row.score))
    tables = [tuple(table) for table in seeds.values()]
    scores = {score for table in tables for _, _, score in table}
    if (
        len(tables) > 1
        and len(tables[0]) >= MIN_TWINS
        and len(set(tables)) == 1
        and len(scores) > 2
    ):
        yield "identical-seeds", f"{measure}[{arm}]: {len(tables)} seeds gave the same scores"


def _count(value: object) -> int:
    if isinstance(value, int):
        return value
    return len(value) if isinstance(value, (list, tuple, dict)) else 0


def _some(value: object) -> str:
    names = (
        [str(item) for item in value] if isinstance(value, (list, tuple, dict)) else [str(value)]
    )
    return ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
