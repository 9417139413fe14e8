"""From a term to the metrics it reads and its exact value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product

from evidence.gates.syntax import Constant, Difference, Magnitude, MetricTerm, Ratio, Term
from evidence.gates.verdicts import Verdict
from evidence.gates.view import View, number_of
from evidence.metrics import Metric
from evidence.reducers import REDUCERS

_ARM_DIMENSIONS = ("arm", "arm_")


class UnreadError(Exception):
    """A term has no value: the data is missing, or the rule does not fit it."""

    def __init__(self, verdict: Verdict, why: str) -> None:
        super().__init__(why)
        self.verdict = verdict
        self.why = why


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a rule is judged: the record, its named baselines, and the places bound by `each`."""

    view: View
    bases: Mapping[str, View] = field(default_factory=dict)
    places: tuple[tuple[str, str], ...] = ()

    def at(self, dimension: str, place: str) -> Scope:
        """The scope at one place of a dimension."""
        kept = tuple(pair for pair in self.places if pair[0] != dimension)
        return replace(self, places=(*kept, (dimension, place)))

    def base(self, name: str) -> View:
        """A baseline.

        Raises:
            UnreadError: it was not given.
        """
        if name not in self.bases:
            raise UnreadError(Verdict.MISSING, f"no baseline {name!r} was given")
        return self.bases[name]

    def swap(self, old: Metric, new: Metric) -> Scope:
        """The same scope with one metric exchanged, in the record or a baseline."""
        bases = {name: view.swap(old, new) for name, view in self.bases.items()}
        return replace(self, view=self.view.swap(old, new), bases=bases)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A metric term with what it reads: one metric, or several that a statistic pools."""

    term: MetricTerm
    metrics: tuple[Metric, ...]

    @property
    def stat(self) -> str:
        """The reducer that makes one number of it."""
        return self.term.stat or self.metrics[0].stat

    @property
    def unit(self) -> str | None:
        """Its unit, "1" for a count."""
        return "1" if self.term.stat == "count" else self.metrics[0].unit

    def label(self) -> str:
        """How a person reads it."""
        inner = self.metrics[0].label() if len(self.metrics) == 1 else self.term.name
        inner = f"{self.term.stat} of {inner}" if self.term.stat else inner
        return f"{inner} of {self.term.base}" if self.term.base else inner

    def value(self) -> Fraction:
        """Its exact value."""
        metric = self.metrics[0]
        if len(self.metrics) == 1 and metric.is_proportion and self.term.stat in ("count", "sum"):
            return Fraction((metric.n if self.term.stat == "count" else metric.k) or 0)
        try:
            numbers: list[Fraction] = []
            for one in self.metrics:
                scores = one.values if one.values and not one.is_proportion else (number_of(one),)
                numbers.extend(scores)
            return REDUCERS[self.stat](numbers)
        except ValueError as error:
            raise UnreadError(Verdict.ERROR, f"{self.label()}: {error}") from error


def find_leaf(term: MetricTerm, scope: Scope) -> Leaf:
    """The metrics that a term reads.

    A term without `arm` reads metrics without an arm; without `at`, metrics without coordinates.
    With `stat` it may pool several, and then every planned place must be there.

    Raises:
        UnreadError: missing, ambiguous, or unreadable.
    """
    metrics = find_metrics(term, scope)
    faults = [f"{metric.label()}: {metric.fault}" for metric in metrics if metric.fault]
    if faults:
        raise UnreadError(Verdict.ERROR, "; ".join(faults))
    absent = [metric.label() for metric in metrics if metric.missing]
    if absent:
        raise UnreadError(Verdict.MISSING, f"no samples: {', '.join(absent)}")
    return Leaf(term, metrics)


def find_metrics(term: MetricTerm, scope: Scope, *, series: bool = False) -> tuple[Metric, ...]:
    """The metrics that a term names, several only for a statistic or a series; raises as above."""
    view = scope.view if term.base is None else scope.base(term.base)
    places = dict(scope.places)
    bound_arm = next((places.pop(name) for name in _ARM_DIMENSIONS if name in places), None)
    arm = term.arm if term.arm is not None else bound_arm
    named = [metric for metric in view.metrics if metric.name == term.name]
    found = [metric for metric in named if metric.arm == arm]
    wanted = _wanted_places(term, places, view, found)
    matches = [
        metric
        for metric in found
        if all(metric.coordinate(dimension) == place for dimension, place in wanted.items())
    ]
    label = Metric(term.name, arm, tuple(sorted(wanted.items()))).label()
    label = f"{label} of {term.base}" if term.base else label
    if not matches:
        raise _explain_absence(label, arm, named)
    exact = [metric for metric in matches if len(metric.at) == len(wanted)]
    if len(exact) > 1:
        raise UnreadError(Verdict.ERROR, f"{label}: the record has it {len(exact)} times")
    if exact and not series:
        return tuple(exact)
    spread = [metric for metric in matches if metric not in exact] or exact
    if term.stat is None and not series:
        raise UnreadError(
            Verdict.ERROR,
            f"{label}: stands for {len(spread)} metrics; name their `at`, or pool them by a `stat`",
        )
    return _complete(label, spread, wanted, view)


def _wanted_places(
    term: MetricTerm, places: dict[str, str], view: View, found: list[Metric]
) -> dict[str, str]:
    wanted: dict[str, str | None] = dict(places)
    if term.base is not None:
        # A baseline that was measured once stands for every place of a dimension it never had.
        for dimension in places:
            known = dimension in view.dims or any(one.coordinate(dimension) for one in found)
            if not known:
                wanted[dimension] = None
    wanted.update(term.at)
    return {dimension: place for dimension, place in wanted.items() if place is not None}


def _explain_absence(label: str, arm: str | None, named: list[Metric]) -> UnreadError:
    arms = sorted({metric.arm for metric in named if metric.arm})
    if arm is None and arms and all(metric.arm for metric in named):
        return UnreadError(Verdict.ERROR, f"{label}: name one of its arms: {', '.join(arms)}")
    return UnreadError(Verdict.MISSING, f"{label} is not in the record")


def _complete(
    label: str, metrics: list[Metric], wanted: dict[str, str], view: View
) -> tuple[Metric, ...]:
    dimensions = sorted({key for metric in metrics for key, _ in metric.at} - set(wanted))
    open_ones = [dimension for dimension in dimensions if dimension not in view.dims]
    if open_ones:
        raise UnreadError(
            Verdict.ERROR, f"{label}: the record plans no places of {', '.join(open_ones)} to pool"
        )
    found: dict[tuple[str | None, ...], Metric] = {}
    for metric in metrics:
        place = tuple(metric.coordinate(dimension) for dimension in dimensions)
        if place in found:
            raise UnreadError(Verdict.ERROR, f"{label}: the record has it twice at one place")
        found[place] = metric
    planned = list(product(*(view.dims[dimension] for dimension in dimensions)))
    for place in planned:
        if place not in found:
            raise UnreadError(
                Verdict.MISSING, f"{label} is not in the record at {', '.join(place)}"
            )
    return tuple(found[place] for place in planned)


def leaves_of(term: Term) -> Iterator[MetricTerm]:
    """Every metric term inside a term."""
    if isinstance(term, MetricTerm):
        yield term
    elif isinstance(term, (Difference, Ratio)):
        yield from leaves_of(term.left)
        yield from leaves_of(term.right)
    elif isinstance(term, Magnitude):
        yield from leaves_of(term.inner)


def value_of(term: Term, scope: Scope) -> Fraction:
    """The exact value of a term; raises UnreadError."""
    if isinstance(term, Constant):
        return term.value
    if isinstance(term, MetricTerm):
        return find_leaf(term, scope).value()
    if isinstance(term, Magnitude):
        return abs(value_of(term.inner, scope))
    left, right = value_of(term.left, scope), value_of(term.right, scope)
    if isinstance(term, Difference):
        return left - right
    if right == 0:
        raise UnreadError(Verdict.ERROR, "a ratio divides by zero")
    return left / right


def unit_of(term: Term, scope: Scope) -> str | None:
    """The unit of a term, None where the record names none.

    Raises:
        UnreadError: two units that do not fit together.
    """
    if isinstance(term, Constant):
        return None
    if isinstance(term, MetricTerm):
        return find_leaf(term, scope).unit
    if isinstance(term, Magnitude):
        return unit_of(term.inner, scope)
    left, right = unit_of(term.left, scope), unit_of(term.right, scope)
    if isinstance(term, Difference):
        return match_units(left, right)
    if left is None or right is None or left == right:
        return "1" if left == right else None
    return f"{left}/{right}"


def match_units(left: str | None, right: str | None) -> str | None:
    """The common unit of two sides of a comparison; raises UnreadError where they differ."""
    if left is not None and right is not None and left != right:
        raise UnreadError(Verdict.ERROR, f"{left!r} cannot be compared with {right!r}")
    return left if left is not None else right
