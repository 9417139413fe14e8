"""Waiting for a campaign: its steps are taken as they come due, an outage of the bus is borne."""

from __future__ import annotations

from collections.abc import Callable

from bridge.bus.course import Course
from bridge.bus.driving import Driver
from bridge.bus.requester import RequesterBus
from bridge.campaigns import State
from bridge.client.waiting import OUTAGE_LIMIT_S
from bridge.clock import Backoff, Clock
from bridge.errors import BusError, RefusedError

_ENDS = frozenset({State.DONE, State.PAUSED})


class CampaignWaiting:
    """One call that waits.

    Args:
        bus: where the campaign lies.
        name: its id.
        driver: takes the steps that are due; None to look on.
        clock: time.
        note: told what a person should know.
    """

    def __init__(
        self,
        bus: RequesterBus,
        name: str,
        driver: Driver | None,
        clock: Clock,
        note: Callable[[str], None],
    ) -> None:
        self._bus = bus
        self._name = name
        self._driver = driver
        self._clock = clock
        self._note = note
        self._told: set[str] = set()

    def run(self, timeout_s: float | None) -> Course:
        """The campaign once it is done or paused, or as it stands after `timeout_s`.

        Raises:
            BusError: the bus does not answer for ten minutes.
        """
        backoff = Backoff(self._bus.profile.poll_min_s, self._bus.profile.poll_max_s)
        begun_s = heard_s = self._clock.monotonic_s()
        tip = ""
        while True:
            course: Course | None = None
            try:
                course = self._advance()
                heard_s = self._clock.monotonic_s()
            except BusError as error:
                if self._clock.monotonic_s() - heard_s >= OUTAGE_LIMIT_S:
                    raise
                self._note(f"the bus does not answer, trying on: {error}")
            now_s = self._clock.monotonic_s()
            over = timeout_s is not None and now_s - begun_s >= timeout_s
            if course is not None:
                if course.tip != tip:
                    tip = course.tip
                    backoff.reset()
                if course.state in _ENDS or course.state is None or over:
                    return course
            left_s = None if timeout_s is None else max(0.0, timeout_s - (now_s - begun_s))
            self._clock.pause(backoff.next_s(left_s))

    def _advance(self) -> Course:
        if self._driver is None:
            return self._bus.load_campaign(self._name)
        try:
            return self._driver.advance(self._name)
        except RefusedError as error:
            if error.message not in self._told:
                self._told.add(error.message)
                self._note(f"this client cannot drive it: {error}; a runner may")
            return self._bus.load_campaign(self._name)
