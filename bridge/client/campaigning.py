"""Campaigns from the requester's side: start, drive, wait, pause, resume, amend, tell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.bus.course import Course
from bridge.bus.driving import Driver
from bridge.bus.moves import compose_move, compose_plan
from bridge.bus.remote import Outcome as Swap
from bridge.bus.remote import Update
from bridge.campaigns import Event, State
from bridge.canonical import is_ulid, make_ulid
from bridge.client.amending import name_changes, replace_plan
from bridge.client.campaign_results import write_files
from bridge.client.campaign_waiting import CampaignWaiting
from bridge.client.checkout import requester_name, resolve_code
from bridge.client.code import check_code, push_code
from bridge.client.draft import Frame
from bridge.client.embedded import serve
from bridge.client.founding import utc_text
from bridge.client.planning import find_problems, freeze_plan
from bridge.client.progress import CampaignStatus, tell_campaign
from bridge.client.signature import sign_by
from bridge.client.waiting import sign
from bridge.errors import BusError, ManifestError, UsageError
from bridge.plans import Campaign

if TYPE_CHECKING:
    from bridge.client.api import Client

_NO_BUS = "0" * 26  # in a plan that is only checked
_TRIES = 5


class Campaigns:
    """The campaigns of a client's bus.

    Args:
        client: whose bus, checkout and clock they use.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._note: Callable[[str], None] = client.watcher.note

    def plan(self, document: Mapping[str, Any], *, code: str = "HEAD") -> Campaign:
        """The frozen plan that a campaign's document stands for; nothing is sent.

        Raises:
            ManifestError: every fault at its path.
            UsageError: the code commit cannot be told.
        """
        client = self._client
        now_s = client.clock.wall_s()
        frame = Frame(
            id=make_ulid(int(now_s * 1000), client.clock.randomness(10)),
            bus=client.bus.identity().id if client.settings.bus else _NO_BUS,
            code=resolve_code(client.checkout, code),
            labels=client.settings.labels,
            requested_by=requester_name(client.checkout),
            requested_at=utc_text(now_s),
            nonce=client.clock.nonce(),
        )
        return freeze_plan(document, client.catalog()[0], frame)

    def start(
        self, plan: Campaign, *, push: bool = False, signing_key: Path | None = None
    ) -> Course:
        """Put a plan on the bus; nothing is launched yet.

        Args:
            plan: of `plan`.
            push: send the code commit to the bus first.
            signing_key: an SSH key whose signature over the plan covers every cell; that of the
                settings, or git's own, by default.

        Raises:
            UsageError: no runner could get the code, or the key cannot sign.
            BusError: the bus does not take it.
        """
        client = self._client
        if push:
            push_code(client.bus, client.checkout, plan.code)
        elif client.embedded is None:
            check_code(client.bus, client.checkout, plan.code)
        commit = compose_plan(
            plan, when_s=int(client.clock.wall_s()), signature=self._signature(plan, signing_key)
        )
        ref = client.bus.refs.campaign(plan.id)
        (outcome,) = client.bus.swap([Update(ref, None, commit)])
        if outcome is not Swap.WON:
            raise BusError("the remote did not take the campaign", where=ref, remedy="try again")
        return client.bus.load_campaign(plan.id)

    # -- following -------------------------------------------------------------------------

    def find(self, campaign_id: str) -> str:
        """The id of a campaign of this bus.

        Raises:
            UsageError: there is none of that id.
        """
        name = campaign_id.strip().upper()
        if not is_ulid(name) or name not in self._client.bus.campaigns():
            raise UsageError(
                f"no campaign {campaign_id!r} on this bus",
                where=self._client.bus.url,
                remedy="kakeya_remote campaign status lists them",
            )
        return name

    def list(self) -> tuple[CampaignStatus, ...]:
        """Every campaign of the bus, newest first, without its cells."""
        bus = self._client.bus
        courses = [bus.load_campaign(name) for name in sorted(bus.campaigns(), reverse=True)]
        return tuple(tell_campaign(course, {}) for course in courses)

    def status(self, campaign_id: str) -> CampaignStatus:
        """Where a campaign and each of its cells stand; raises as `find`."""
        course = self._client.bus.load_campaign(self.find(campaign_id))
        return tell_campaign(course, self._states(course))

    def _states(self, course: Course) -> dict[str, str]:
        """Where each launched job stands, by its id; a job that is gone is in the ledger."""
        there = {
            job.id: ref
            for ref, (job, _) in self._client.bus.poll().jobs.items()
            if job.id in set(course.launched.values())
        }
        refs = list(there.values())
        states: dict[str, str] = {}
        for start in range(0, len(refs), 50):
            for chain in self._client.bus.load_all(refs[start : start + 50]):
                states[chain.job.id] = str(chain.state)
        return states

    def drive(self, campaign_id: str) -> Course:
        """Take every step of a campaign that is due now.

        Raises:
            RefusedError: this checkout has another version of one of its presets.
            BusError: the bus does not answer.
        """
        return self._driver().advance(self.find(campaign_id))

    def wait(
        self, campaign_id: str, timeout_s: float | None = None, *, drive: bool = True
    ) -> CampaignStatus:
        """Drive a campaign and wait until it is done or paused, or `timeout_s` has passed.

        Args:
            campaign_id: the campaign.
            timeout_s: bounds the waiting alone; the campaign goes on.
            drive: also take the steps that are due, as runners do.

        Raises:
            BusError: the bus does not answer for ten minutes.
        """
        client = self._client
        name = self.find(campaign_id)
        course = client.bus.load_campaign(name)
        labels = [
            label for node in (course.plan.nodes if course.plan else ()) for label in node.labels
        ]
        serving: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if client.embedded is not None:
            serving = serve(client.embedded, tuple(dict.fromkeys(labels)), client.clock)
        with serving:
            waiting = CampaignWaiting(
                client.bus, name, self._driver() if drive else None, client.clock, self._note
            )
            course = waiting.run(timeout_s)
        return tell_campaign(course, self._states(course))

    def _driver(self) -> Driver:
        client = self._client
        by = requester_name(client.checkout)
        catalog = client.catalog()[0]
        return Driver(client.bus, catalog, lambda: sign(by, client.clock), self._note)

    # -- changing --------------------------------------------------------------------------

    def pause(self, campaign_id: str, reason: str = "") -> Course:
        """Stop launching; what runs goes on.

        Raises:
            UsageError: it is done or paused already.
        """
        return self._move(campaign_id, Event.PAUSE, State.RUNNING, reason)

    def resume(self, campaign_id: str, reason: str = "") -> Course:
        """Go on launching; raises as `pause`."""
        return self._move(campaign_id, Event.RESUME, State.PAUSED, reason)

    def _move(self, campaign_id: str, event: Event, wanted: State, reason: str) -> Course:
        name = self.find(campaign_id)

        def compose(course: Course) -> Update:
            if course.state is not wanted:
                raise UsageError(
                    f"the campaign is {course.state}, not {wanted}",
                    where=name,
                    remedy=f"kakeya_remote campaign status {name}",
                )
            step = compose_move(course, event, self._hand(), reason=reason)
            return Update(course.ref, course.tip, step)

        return self._swap(name, compose)

    def amend(
        self,
        campaign_id: str,
        document: Mapping[str, Any],
        reason: str,
        *,
        code: str | None = None,
        signing_key: Path | None = None,
    ) -> Course:
        """Put another plan in place of the one in force, naming what it changes.

        Args:
            campaign_id: the campaign.
            document: the whole campaign as it is to be.
            reason: why.
            code: another code commit for the cells that are not launched yet.
            signing_key: signs the new plan.

        Raises:
            ManifestError: every fault at its path; nodes that have begun cannot be changed.
            UsageError: it is done, or nothing changes.
        """
        name = self.find(campaign_id)
        client = self._client

        def compose(course: Course) -> Update:
            if course.plan is None or course.ended:
                raise UsageError(f"the campaign is {course.state}", where=name)
            fresh = self.plan(document, code=code or course.plan.code)
            plan = replace_plan(course, fresh, reason)
            problems = find_problems(plan, client.catalog()[0])
            if problems:
                raise ManifestError("no plan can be made of it", problems=tuple(problems[:50]))
            changes = name_changes(course.plan, plan)
            if not changes:
                raise UsageError("the amendment changes nothing", where=name)
            step = compose_move(
                course,
                Event.AMEND,
                self._hand(),
                plan=plan,
                signature=self._signature(plan, signing_key),
                reason=reason,
                changes=changes,
            )
            return Update(course.ref, course.tip, step)

        return self._swap(name, compose)

    def _signature(self, plan: Campaign, key: Path | None) -> bytes | None:
        client = self._client
        signature, note = sign_by(plan, key or client.settings.signing_key, client.checkout)
        if note:
            self._note(note)
        return signature

    def _hand(self) -> Any:
        return sign(requester_name(self._client.checkout), self._client.clock)

    def _swap(self, name: str, compose: Callable[[Course], Update]) -> Course:
        bus = self._client.bus
        for _ in range(_TRIES):
            (outcome,) = bus.swap([compose(bus.load_campaign(name))])
            if outcome is Swap.WON:
                return bus.load_campaign(name)
        raise BusError(
            "others move this campaign faster than this client", where=name, remedy="try again"
        )

    # -- results ---------------------------------------------------------------------------

    def download(self, campaign_id: str, folder: Path) -> tuple[Path, ...]:
        """Write the records of a campaign below `folder`: its own, and `nodes/NODE/` of each node.

        Raises:
            UsageError: no such campaign, or nothing was decided yet.
            IntegrityError: a file is not what the campaign says.
        """
        course = self._client.bus.load_campaign(self.find(campaign_id))
        if not course.decisions:
            raise UsageError(
                "no node has been decided yet",
                where=course.id,
                remedy=f"kakeya_remote campaign status {course.id} --wait",
            )
        return write_files(self._client.bus, course, folder)
