"""The gate language as a typed tree. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any, Literal, TypeAlias

Operator: TypeAlias = Literal["<", "<=", ">", ">=", "==", "!="]
OPERATORS: tuple[Operator, ...] = ("<", "<=", ">", ">=", "==", "!=")


class Kind(StrEnum):
    """What a gate is for: a bar, a prediction (never blocks), or a control of the experiment."""

    GATE = "gate"
    PREDICTION = "prediction"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Constant:
    """A decimal string of the rule."""

    value: Fraction
    text: str


@dataclass(frozen=True, slots=True)
class MetricTerm:
    """A metric by name; `at` values of None lift the place that an outer `each` gives."""

    name: str
    arm: str | None = None
    at: tuple[tuple[str, str | None], ...] = ()
    stat: str | None = None
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """left - right."""

    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class Ratio:
    """left / right."""

    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class Magnitude:
    """|inner|."""

    inner: Term


Term: TypeAlias = Constant | MetricTerm | Difference | Ratio | Magnitude


@dataclass(frozen=True, slots=True)
class Compare:
    """`cmp`: left op right."""

    left: Term
    op: Operator
    right: Term


@dataclass(frozen=True, slots=True)
class Within:
    """`within`: |left - right| <= tolerance."""

    left: Term
    right: Term
    tolerance: Constant


@dataclass(frozen=True, slots=True)
class Each:
    """`each`: the rule at every planned place of a dimension, or at a share of them."""

    dimension: str
    rule: Rule
    min_frac: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class AllOf:
    """`all`."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """`any`."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`not`."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class Cases:
    """`cases`: counts over a table of cases, best against a base's table.

    Attributes:
        base: the baseline whose table is compared with, None for the record's own counts alone.
        lost_max: at most so many that passed there and do not pass here.
        pass_min: at least so many that pass here.
        gained_min: at least so many that failed there and pass here under the same gate.
        redefined_max: at most so many whose gate's digest changed.
        require: cases that must pass here.
    """

    base: str | None = None
    lost_max: int | None = None
    pass_min: int | None = None
    gained_min: int | None = None
    redefined_max: int | None = None
    require: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cover:
    """`cover`: the record covers at least these (a count, or names), else the gate is missing."""

    items: tuple[tuple[str, int | tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Same:
    """`same`: these digests are equal here and in the base."""

    base: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Disjoint:
    """`disjoint`: these named sets share no member."""

    sets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Untouched:
    """`untouched`: no changed path matches one of these globs."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """`trend`: a series rises or falls (Kendall's S)."""

    series: MetricTerm
    direction: Literal["up", "down"]


Rule: TypeAlias = (
    Compare
    | Within
    | Each
    | AllOf
    | AnyOf
    | Not
    | Cases
    | Cover
    | Same
    | Disjoint
    | Untouched
    | Trend
)


@dataclass(frozen=True, slots=True)
class Decide:
    """How noise counts: by the point estimate, or by an interval at `conf`."""

    by: Literal["point", "ci"] = "point"
    conf: Fraction = Fraction(19, 20)
    method: str = "auto"


@dataclass(frozen=True, slots=True)
class Gate:
    """One rule, fixed before the run.

    Attributes:
        digest: of id, rule, decide, needs, blocking and kind, defaults filled in; annotations
            (tags, note, expect) do not count.
        document: the rule and decide as JSON data, for the record.
    """

    id: str
    rule: Rule
    digest: str
    decide: Decide = Decide()
    needs: tuple[str, ...] = ()
    blocking: bool = True
    kind: Kind = Kind.GATE
    tags: tuple[str, ...] = ()
    note: str = ""
    expect: str | None = None
    document: dict[str, Any] = field(default_factory=dict, compare=False)
