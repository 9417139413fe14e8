"""A campaign's chain: which steps count, what was launched and decided, what comes next. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from bridge import wire
from bridge.bus.chain import Commit
from bridge.campaigns import Event, State, next_state
from bridge.cells import Cell, cells_of
from bridge.errors import BusError, IntegrityError, KakeyaError, ManifestError
from bridge.plans import Campaign, Decision, Edge, Move, Node

PLAN, PLAN_SIGNATURE, MOVE = "campaign.json", "campaign.sig", "move.json"
_SUBJECT = "kakeya: "
_AMENDED = frozenset({PLAN, PLAN_SIGNATURE, MOVE})


class Standing(StrEnum):
    """Where a node stands."""

    WAITING = "waiting"
    OPEN = "open"
    CLOSED = "closed"
    DECIDED = "decided"


@dataclass(frozen=True, slots=True)
class Course:
    """What is known of a campaign from its commits.

    Attributes:
        id, ref: the campaign, and where it lies.
        tip: oid of the ref's tip, valid or not; `head` is the last valid commit.
        state: None where not even the plan stands.
        plan: in force now; `plan_digest` is its digest, `plan_oid` the first commit.
        launched: (node, cell) to the job that it became.
        decisions: by node.
        last: the latest step.
        links: oid and subject of every valid commit, oldest first.
        files: path to blob id of the last valid commit's tree.
        problems: why the plan is malformed.
        fault: why the commits after `head` do not count.
    """

    id: str
    ref: str
    tip: str = ""
    head: str = ""
    state: State | None = None
    plan: Campaign | None = None
    plan_digest: str = ""
    plan_oid: str = ""
    launched: Mapping[tuple[str, str], str] = field(default_factory=dict)
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    last: Move | None = None
    links: tuple[tuple[str, str], ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    fault: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the campaign has its record."""
        return self.state is State.DONE

    def standing(self, node: Node) -> Standing:
        """Where a node stands, by the decisions so far."""
        if node.id in self.decisions:
            return Standing.DECIDED
        answers = [self._answer(edge) for edge in node.after]
        if Standing.CLOSED in answers:
            return Standing.CLOSED
        return Standing.WAITING if Standing.WAITING in answers else Standing.OPEN

    def _answer(self, edge: Edge) -> Standing:
        assert self.plan is not None
        found = self.decisions.get(edge.node)
        if found is None:
            before = self.standing(self.plan.node(edge.node))
            return Standing.CLOSED if before is Standing.CLOSED else Standing.WAITING
        verdict = found.verdict if edge.gate is None else found.gates.get(edge.gate, "missing")
        return Standing.OPEN if verdict in edge.opens else Standing.CLOSED

    def unlaunched(self, node: Node) -> list[Cell]:
        """The cells of a node that are not on the bus yet."""
        return [cell for cell in cells_of(node) if (node.id, cell.name) not in self.launched]


def subject_event(subject: str) -> Event | None:
    """The event that a commit's subject names, None for a foreign commit."""
    if not subject.startswith(_SUBJECT):
        return None
    try:
        return Event(subject[len(_SUBJECT) :].split(",", 1)[0].split(" ", 1)[0])
    except ValueError:
        return None


def read_course(
    campaign_id: str,
    ref: str,
    commits: Sequence[Commit],
    read_blob: Callable[[str], bytes],
    *,
    bus_id: str,
) -> Course:
    """Judge `commits`, oldest first, as the chain of one campaign.

    Args:
        campaign_id: as the ref names it.
        ref: its ref on the remote.
        commits: each with its whole tree.
        read_blob: content of a blob that was fetched.
        bus_id: the bus's own id.

    Raises:
        BusError: from `read_blob`: nothing can be said now.
    """
    course = Course(campaign_id, ref)
    for commit in commits:
        try:
            course = replace(_extend(course, commit, read_blob, bus_id), tip=commit.oid, fault=None)
        except BusError:
            raise
        except KakeyaError as error:
            course = replace(course, tip=commit.oid, fault=f"{commit.oid[:12]}: {error}")
    return course


def _extend(
    course: Course, commit: Commit, read_blob: Callable[[str], bytes], bus_id: str
) -> Course:
    subject = commit.message.split("\n", 1)[0]
    event = subject_event(subject)
    if event is None:
        raise IntegrityError(f"foreign commit, its subject is {subject[:80]!r}")
    if commit.fault is not None:
        raise IntegrityError(commit.fault)
    linked = (*course.links, (commit.oid, subject))
    if course.state is None:
        if event is not Event.CAMPAIGN or course.tip:
            raise IntegrityError("the chain does not begin with a plan")
        plan = _read_plan(commit, read_blob)
        _check_names(plan, course.id, bus_id)
        return replace(
            course,
            head=commit.oid,
            state=next_state(None, event),
            plan=plan,
            plan_digest=wire.digest_of(plan),
            plan_oid=commit.oid,
            links=linked,
            files=commit.files,
        )
    if commit.parents != (course.tip,):
        raise IntegrityError("is not the child of the commit before it")
    state = next_state(course.state, event)
    _check_kept_files(course, commit, event)
    if MOVE not in commit.files:
        raise IntegrityError(f"a {event.value} commit without {MOVE}")
    move: Move = wire.parse("move", read_blob(commit.files[MOVE]), where=MOVE)
    if move.event != event.value or move.campaign != course.plan_digest:
        raise IntegrityError(f"the {event.value} is bound to another plan or event")
    changes = _apply(course, event, move, commit, read_blob)
    return replace(
        course,
        head=commit.oid,
        state=state,
        last=move,
        links=linked,
        files=commit.files,
        **changes,
    )


def _read_plan(commit: Commit, read_blob: Callable[[str], bytes]) -> Campaign:
    if PLAN not in commit.files:
        raise ManifestError(f"the commit holds no {PLAN}")
    plan: Campaign = wire.parse("campaign", read_blob(commit.files[PLAN]), where=PLAN)
    return plan


def _check_names(plan: Campaign, campaign_id: str, bus_id: str) -> None:
    if plan.id != campaign_id or plan.bus != bus_id:
        raise IntegrityError(
            f"the plan is of campaign {plan.id} on bus {plan.bus}, not of {campaign_id} here"
        )


def _check_kept_files(course: Course, commit: Commit, event: Event) -> None:
    free = _AMENDED if event is Event.AMEND else {MOVE}
    rewritten = sorted(
        path
        for path, oid in course.files.items()
        if commit.files.get(path) != oid and path not in free
    )
    if rewritten:
        raise IntegrityError(f"rewrites or drops {', '.join(rewritten[:4])}")


def _apply(
    course: Course,
    event: Event,
    move: Move,
    commit: Commit,
    read_blob: Callable[[str], bytes],
) -> dict[str, Any]:
    if event is Event.LAUNCH:
        fresh = {(item.node, item.cell): item.job for item in move.cells}
        again = sorted(f"{node}/{cell}" for node, cell in fresh.keys() & course.launched.keys())
        if again or not fresh:
            raise IntegrityError(f"launches {', '.join(again[:4]) or 'nothing'} a second time")
        return {"launched": {**course.launched, **fresh}}
    if event is Event.DECIDE:
        if move.decision is None or move.decision.node in course.decisions:
            raise IntegrityError("decides no node, or one that was decided before")
        return {"decisions": {**course.decisions, move.decision.node: move.decision}}
    if event is Event.AMEND:
        plan = _read_plan(commit, read_blob)
        if plan.amends != course.plan_digest or plan.id != course.id:
            raise IntegrityError("the amended plan does not name the plan that it replaces")
        assert course.plan is not None
        frozen = frozen_nodes(course)
        if any(node not in plan.nodes for node in course.plan.nodes if node.id in frozen):
            raise IntegrityError("the amendment changes a node that has begun")
        return {"plan": plan, "plan_digest": wire.digest_of(plan)}
    return {}


def frozen_nodes(course: Course) -> set[str]:
    """The nodes that no amendment may change: launched, if only in part, or decided."""
    return {node for node, _ in course.launched} | set(course.decisions)
