"""Driving a campaign: take every step that is due, each by a compare-and-swap on its ref.

Nothing is kept between two calls that could not be read again, so that whoever drives may die at
any moment, and as many as like may drive at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from bridge.bus.chain import Chain, subject_event
from bridge.bus.course import PLAN, PLAN_SIGNATURE, Course, Standing
from bridge.bus.endings import Signer
from bridge.bus.moves import compose_move, launch_updates
from bridge.bus.pooling import (
    EVIDENCE,
    Seal,
    pool_campaign,
    pool_node,
    preset_of,
    read_part,
)
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome, Update
from bridge.bus.requester import RequesterBus
from bridge.campaigns import Event, State
from bridge.cells import cells_of
from bridge.errors import IntegrityError
from bridge.plans import Node
from bridge.states import TERMINAL_EVENTS
from evidence.sweep import Part, hours_of
from presets.catalog import Catalog

MAX_STEPS = 1_000
"""Steps that one call takes at most."""
WAVE = 64
"""Cells that one push launches at most."""
_CHUNK = 16  # chains that one fetch brings


class Driver:
    """Drives the campaigns of one bus.

    Args:
        bus: the bus, used by this driver alone while it works.
        catalog: presets of the trusted checkout.
        sign: a fresh hand under each step.
        say: told each step in one line.
        seal: signs the records, None where the driver has no key.
    """

    def __init__(
        self,
        bus: RequesterBus,
        catalog: Catalog,
        sign: Callable[[], Signer],
        say: Callable[[str], None],
        seal: Seal | None = None,
    ) -> None:
        self._bus, self._catalog, self._sign, self._say = bus, catalog, sign, say
        self._seal = seal
        self._ended: dict[str, Chain | None] = {}
        self._hours: dict[str, float] = {}

    def advance(self, campaign_id: str) -> Course:
        """Take every step that is due now; where the campaign stands after that.

        Raises:
            BusError: the bus does not answer.
            RefusedError: this checkout has another version of a preset of the plan.
        """
        course = self._bus.load_campaign(campaign_id)
        for _ in range(MAX_STEPS):
            updates, told = self._next(course)
            if not updates:
                break
            outcomes = self._bus.swap(updates, atomic=len(updates) > 1)
            if outcomes[0] is Outcome.WON:
                self._say(f"{campaign_id}: {told}")
            elif outcomes[0] is Outcome.UNSETTLED:
                break
            course = self._bus.load_campaign(campaign_id)
        return course

    def _next(self, course: Course) -> tuple[list[Update], str]:
        """The next step that is due, and one line that tells it."""
        plan = course.plan
        if plan is None or course.ended:
            return [], ""
        self._look(course)
        standings = {node.id: course.standing(node) for node in plan.nodes}
        for node in plan.nodes:
            if standings[node.id] is Standing.OPEN and self._has_ended(course, node):
                return self._decide(course, node)
        if course.state is not State.RUNNING:
            return [], ""
        if all(word in (Standing.DECIDED, Standing.CLOSED) for word in standings.values()):
            return self._finish(course)
        ready = [node for node in plan.nodes if standings[node.id] is Standing.OPEN]
        return self._launch(course, ready)

    # -- looking ---------------------------------------------------------------------------

    def _look(self, course: Course) -> None:
        """Read the launched jobs that may have ended."""
        wanted = {
            job: self._ref(course, node, job)
            for (node, _), job in course.launched.items()
            if job not in self._ended
        }
        if not wanted:
            return
        tips = self._bus.poll().jobs
        there = {ref: tips[ref][1] for ref in wanted.values() if ref in tips}
        moved = [ref for ref, tip in there.items() if _may_have_ended(tip.subject)]
        for start in range(0, len(moved), _CHUNK):
            for chain in self._bus.load_all(moved[start : start + _CHUNK]):
                if chain.ended:
                    self._ended[chain.job.id] = chain
        for job, ref in wanted.items():
            if ref not in there:
                self._ended[job] = self._load_gone(ref)

    def _ref(self, course: Course, node: str, job: str) -> str:
        assert course.plan is not None
        found = course.plan.node(node)
        return self._bus.refs.job(JobRef(found.label, found.priority, job))

    def _load_gone(self, ref: str) -> Chain | None:
        try:
            return self._bus.load(ref)
        except IntegrityError:
            return None

    def _has_ended(self, course: Course, node: Node) -> bool:
        if course.unlaunched(node):
            return False
        return all(
            job in self._ended for (name, _), job in course.launched.items() if name == node.id
        )

    # -- launching -------------------------------------------------------------------------

    def _launch(self, course: Course, ready: Sequence[Node]) -> tuple[list[Update], str]:
        plan = course.plan
        assert plan is not None
        cells = [cell for node in ready for cell in course.unlaunched(node)]
        if not cells:
            return [], ""
        spent = self._over_budget(course)
        if spent:
            step = compose_move(course, Event.PAUSE, self._sign(), reason=spent)
            return [Update(course.ref, course.tip, step)], f"paused: {spent}"
        under_way = sum(job not in self._ended for job in course.launched.values())
        room = [plan.parallel - under_way, WAVE]
        if plan.budget.jobs is not None:
            room.append(plan.budget.jobs - len(course.launched))
        cells = cells[: max(0, min(room))]
        if not cells:
            return [], ""
        files = {
            name: self._bus.read(course.files[name])
            for name in (PLAN, PLAN_SIGNATURE)
            if name in course.files
        }
        updates = launch_updates(self._bus.refs, course, cells, self._sign(), files)
        return updates, f"launched {', '.join(cell.path for cell in cells)}"

    def _over_budget(self, course: Course) -> str:
        """Why nothing more may be launched, "" where more may."""
        assert course.plan is not None
        budget = course.plan.budget
        if budget.jobs is not None and len(course.launched) >= budget.jobs:
            return f"the budget of {budget.jobs} jobs is used up"
        if budget.hours is None:
            return ""
        hours = sum(self._read_hours(job) for job in course.launched.values())
        if hours >= budget.hours:
            return f"the budget of {budget.hours:g} hours is used up ({hours:.2f} used)"
        return ""

    def _read_hours(self, job: str) -> float:
        """Hours of an ended job, 0 of one that goes on or left no record."""
        chain = self._ended.get(job)
        if job not in self._hours and chain is not None and EVIDENCE in chain.files:
            self._bus.fetch_files([chain.files[EVIDENCE]])
            self._hours[job] = hours_of(json.loads(self._bus.read(chain.files[EVIDENCE])))
        return self._hours.get(job, 0.0)

    # -- deciding --------------------------------------------------------------------------

    def _parts(self, course: Course, node: Node) -> list[Part]:
        return [
            read_part(self._bus, course, cell, self._ended[course.launched[node.id, cell.name]])
            for cell in cells_of(node)
        ]

    def _decide(self, course: Course, node: Node) -> tuple[list[Update], str]:
        preset = preset_of(node, self._catalog)
        pooled, decision = pool_node(course, node, preset, self._parts(course, node), self._seal)
        files = {f"nodes/{node.id}/{name}": data for name, data in pooled.files.items()}
        step = compose_move(course, Event.DECIDE, self._sign(), decision=decision, files=files)
        told = f"{node.id}: {decision.verdict}, {decision.ran} of {decision.planned} cells ran"
        return [Update(course.ref, course.tip, step)], told

    def _finish(self, course: Course) -> tuple[list[Update], str]:
        plan = course.plan
        assert plan is not None
        if len(plan.nodes) == 1:
            files = self._only_node(course, plan.nodes[0])
            decision = course.decisions[plan.nodes[0].id]
            verdict, digest = decision.verdict, decision.evidence
        else:
            pooled = pool_campaign(course, self._whys(course), self._seal)
            files, verdict, digest = dict(pooled.files), pooled.verdict, pooled.digest
        step = compose_move(
            course, Event.DONE, self._sign(), verdict=verdict, evidence=digest, files=files
        )
        return [Update(course.ref, course.tip, step)], f"done, verdict {verdict}"

    def _only_node(self, course: Course, node: Node) -> dict[str, bytes]:
        prefix = f"nodes/{node.id}/"
        oids = {
            path.removeprefix(prefix): oid
            for path, oid in course.files.items()
            if path.startswith(prefix)
        }
        self._bus.fetch_files(oids.values())
        return {name: self._bus.read(oid) for name, oid in oids.items()}

    def _whys(self, course: Course) -> dict[str, str]:
        """Path of every planned cell to why it does not count, "" where it does."""
        assert course.plan is not None
        whys: dict[str, str] = {}
        for node in course.plan.nodes:
            if course.standing(node) is Standing.CLOSED:
                told = "not run: a decision gate closed the way to it"
                whys |= {cell.path: told for cell in cells_of(node)}
                continue
            record = json.loads(self._only_node(course, node)[EVIDENCE])
            found = {row["cell"]: str(row["why"]) for row in record["attempts"]}
            whys |= {cell.path: found.get(cell.name, "not run") for cell in cells_of(node)}
        return whys


def _may_have_ended(subject: str) -> bool:
    event = subject_event(subject)
    return event is None or event in TERMINAL_EVENTS
