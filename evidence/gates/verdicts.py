"""The five verdicts and how they combine. Pure.

The tables of docs/gates.md are tested against these functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from fractions import Fraction

from bridge.errors import ExitCode


class Verdict(StrEnum):
    """What a gate came to."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"
    ERROR = "error"


class PredictionOutcome(StrEnum):
    """What a prediction came to; never mixed with gate verdicts."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    PARTIAL = "partial"
    UNRESOLVED = "unresolved"


_UNDECIDED = (Verdict.MISSING, Verdict.INCONCLUSIVE)
EXIT_CODES = {
    Verdict.PASS: ExitCode.DONE,
    Verdict.FAIL: ExitCode.GATE_FAILED,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Verdict.MISSING: ExitCode.INCONCLUSIVE,
    Verdict.ERROR: ExitCode.USAGE,
}


def _first(order: Iterable[Verdict], verdicts: Iterable[Verdict], default: Verdict) -> Verdict:
    present = set(verdicts)
    return next((verdict for verdict in order if verdict in present), default)


def combine_all(verdicts: Iterable[Verdict]) -> Verdict:
    """`all`: error, then fail, then missing, then inconclusive; pass only if every part passes."""
    found = tuple(verdicts)
    order = (Verdict.ERROR, Verdict.FAIL, *_UNDECIDED)
    return _first(order, found, Verdict.PASS if found else Verdict.MISSING)


def combine_any(verdicts: Iterable[Verdict]) -> Verdict:
    """`any`: error, then pass, then missing, then inconclusive; fail if every part fails."""
    found = tuple(verdicts)
    order = (Verdict.ERROR, Verdict.PASS, *_UNDECIDED)
    return _first(order, found, Verdict.FAIL if found else Verdict.MISSING)


def negate(verdict: Verdict) -> Verdict:
    """`not`: pass and fail change places, the rest stay: absent data never passes."""
    return {Verdict.PASS: Verdict.FAIL, Verdict.FAIL: Verdict.PASS}.get(verdict, verdict)


def combine_each(verdicts: Iterable[Verdict], min_frac: Fraction = Fraction(1)) -> Verdict:
    """`each`: at least `min_frac` of the places pass; a place without a verdict counts as both.

    Pass if enough pass already, fail if too few could ever; else missing before inconclusive.
    """
    found = tuple(verdicts)
    if not found:
        return Verdict.MISSING
    if Verdict.ERROR in found:
        return Verdict.ERROR
    passed = sum(verdict is Verdict.PASS for verdict in found)
    failed = sum(verdict is Verdict.FAIL for verdict in found)
    if passed >= min_frac * len(found):
        return Verdict.PASS
    if len(found) - failed < min_frac * len(found):
        return Verdict.FAIL
    return _first(_UNDECIDED, found, Verdict.FAIL)


def apply_needs(own: Verdict, needed: Iterable[Verdict]) -> Verdict:
    """A gate whose needs do not all pass is inconclusive, whatever it says itself (but error)."""
    if own is Verdict.ERROR or all(verdict is Verdict.PASS for verdict in needed):
        return own
    return Verdict.INCONCLUSIVE


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of a list of blocking gates; no gate at all is `missing`, never a pass."""
    return combine_all(verdicts)


def resolve_prediction(verdict: Verdict, parts: Iterable[Verdict] = ()) -> PredictionOutcome:
    """What a prediction came to: partial where some of its parts hold and some do not."""
    found = set(parts)
    if verdict in (Verdict.PASS, Verdict.FAIL) and {Verdict.PASS, Verdict.FAIL} <= found:
        return PredictionOutcome.CONFIRMED if verdict is Verdict.PASS else PredictionOutcome.PARTIAL
    if verdict is Verdict.PASS:
        return PredictionOutcome.CONFIRMED
    return PredictionOutcome.REFUTED if verdict is Verdict.FAIL else PredictionOutcome.UNRESOLVED
