"""The rules over tables, digests, sets and paths: cases, cover, same, disjoint, untouched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from evidence.gates.resolve import Scope, UnreadError
from evidence.gates.syntax import Cases, Cover, Disjoint, Rule, Same, Untouched
from evidence.gates.verdicts import Verdict, combine_all

CaseTable = Mapping[str, tuple[str, str]]
Answer = tuple[Verdict, str]


def judge_table(rule: Rule, scope: Scope) -> Answer:
    """Verdict and explanation of a rule of this module; raises UnreadError."""
    return TABLE_RULES[type(rule)](rule, scope)


def transition(name: str, before: CaseTable, now: CaseTable) -> str:
    """What became of a case of the base: kept, lost, gained, still-failing, vanished, redefined.

    A case whose gate's digest changed is `redefined` whatever its verdicts: never a gain.
    """
    if name not in now:
        return "vanished"
    (old, old_gate), (new, new_gate) = before[name], now[name]
    if old_gate != new_gate:
        return "redefined"
    if old == "pass":
        return "kept" if new == "pass" else "lost"
    return "gained" if new == "pass" else "still-failing"


def _judge_cases(rule: Cases, scope: Scope) -> Answer:
    now = scope.view.cases
    if not now:
        raise UnreadError(Verdict.MISSING, "the record has no table of cases")
    before: CaseTable = {}
    if rule.base is not None:
        table = scope.base(rule.base).cases
        if not table:
            raise UnreadError(Verdict.MISSING, f"the baseline {rule.base!r} has no table of cases")
        before = table
    answers = []
    if rule.lost_max is not None:
        answers.append(_count_lost(rule.lost_max, before, now))
    if rule.pass_min is not None:
        count = sum(_passes(name, before, now) for name in now)
        answers.append((_at_least(count, rule.pass_min), f"{count} of {len(now)} cases pass"))
    if rule.gained_min is not None:
        names = [name for name in before if transition(name, before, now) == "gained"]
        answers.append((_at_least(len(names), rule.gained_min), f"{len(names)} cases gained"))
    if rule.redefined_max is not None:
        names = [name for name in before if transition(name, before, now) == "redefined"]
        verdict = Verdict.PASS if len(names) <= rule.redefined_max else Verdict.FAIL
        answers.append((verdict, f"{len(names)} cases redefined: {_some(names)}"))
    answers += [_require(name, before, now) for name in rule.require]
    return combine_all(verdict for verdict, _ in answers), "; ".join(why for _, why in answers)


def _passes(name: str, before: CaseTable, now: CaseTable) -> bool:
    """Whether a case counts as passing: a redefinition that turned it from failing does not."""
    if now[name][0] != "pass":
        return False
    if name not in before or before[name][0] == "pass":
        return True
    return before[name][1] == now[name][1]


def _count_lost(limit: int, before: CaseTable, now: CaseTable) -> Answer:
    passing = [name for name, (verdict, _) in before.items() if verdict == "pass"]
    lost = [name for name in passing if name in now and now[name][0] != "pass"]
    vanished = [name for name in passing if name not in now]
    why = f"{len(lost)} cases lost: {_some(lost)}"
    if len(lost) > limit:
        return Verdict.FAIL, why
    if len(lost) + len(vanished) > limit:
        return Verdict.MISSING, f"{why}; vanished: {_some(vanished)}"
    return Verdict.PASS, why


def _require(name: str, before: CaseTable, now: CaseTable) -> Answer:
    if name not in now:
        return Verdict.MISSING, f"case {name} is not in the record"
    passes = _passes(name, before, now)
    return (Verdict.PASS if passes else Verdict.FAIL), f"case {name}: {now[name][0]}"


def _at_least(count: int, limit: int) -> Verdict:
    return Verdict.PASS if count >= limit else Verdict.FAIL


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else "none"


def _judge_cover(rule: Cover, scope: Scope) -> Answer:
    lacking = []
    for key, wanted in rule.items:
        present = set(scope.view.cover.get(key, ()))
        if isinstance(wanted, int):
            if len(present) < wanted:
                lacking.append(f"{key}: {len(present)} of {wanted}")
            continue
        absent = [name for name in wanted if name not in present]
        if absent:
            lacking.append(f"{key}: without {_some(absent)}")
    if lacking:
        return Verdict.MISSING, "; ".join(lacking)
    return Verdict.PASS, f"covers {', '.join(key for key, _ in rule.items)}"


def _judge_same(rule: Same, scope: Scope) -> Answer:
    here, there = scope.view.digests, scope.base(rule.base).digests
    absent = [key for key in rule.keys if not here.get(key) or not there.get(key)]
    differing = [key for key in rule.keys if key not in absent and here[key] != there[key]]
    if differing:
        return Verdict.FAIL, f"differs from {rule.base}: {_some(differing)}"
    if absent:
        return Verdict.MISSING, f"no digest to compare: {_some(absent)}"
    return Verdict.PASS, f"as in {rule.base}: {_some(list(rule.keys))}"


def _judge_disjoint(rule: Disjoint, scope: Scope) -> Answer:
    absent = [name for name in rule.sets if not scope.view.sets.get(name)]
    if absent:
        raise UnreadError(Verdict.MISSING, f"no members of {_some(absent)} in the record")
    for one, two in combinations(rule.sets, 2):
        shared = sorted(set(scope.view.sets[one]) & set(scope.view.sets[two]))
        if shared:
            return Verdict.FAIL, f"{one} and {two} share {_some(shared)}"
    return Verdict.PASS, f"{' and '.join(rule.sets)} share nothing"


def _judge_untouched(rule: Untouched, scope: Scope) -> Answer:
    paths = scope.view.changed_paths
    if paths is None:
        raise UnreadError(Verdict.MISSING, "the record does not say which paths changed")
    touched = [path for path in paths if any(_matches(path, glob) for glob in rule.patterns)]
    if touched:
        return Verdict.FAIL, f"touched: {_some(touched)}"
    return Verdict.PASS, f"none of {len(paths)} changed paths matches"


def _matches(path: str, glob: str) -> bool:
    """A glob matches the whole path, a file name anywhere, or all below `folder/`."""
    if glob.endswith("/"):
        return path.startswith(glob) or f"/{glob}" in f"/{path}"
    if fnmatchcase(path, glob):
        return True
    return "/" not in glob and fnmatchcase(path.rsplit("/", 1)[-1], glob)


TABLE_RULES: dict[type, Callable[[Any, Scope], Answer]] = {
    Cases: _judge_cases,
    Cover: _judge_cover,
    Same: _judge_same,
    Disjoint: _judge_disjoint,
    Untouched: _judge_untouched,
}
