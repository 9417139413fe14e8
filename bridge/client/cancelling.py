"""Ending a job on request: a swap before the claim, a wish after it, a swap if nobody answers."""

from __future__ import annotations

from bridge.bus.binding import require_readable
from bridge.bus.chain import Chain
from bridge.bus.commits import compose_note, requester_identity
from bridge.bus.endings import compose_end
from bridge.bus.remote import Outcome as Swap
from bridge.bus.remote import Update
from bridge.bus.requester import RequesterBus
from bridge.client.outcomes import JobStatus, status_of
from bridge.client.waiting import Watcher, sign
from bridge.clock import Backoff, Clock
from bridge.errors import BusError, UsageError
from bridge.records import CancelWish, clean_text
from bridge.states import Event, State

WISH_HEARTBEATS = 2
"""How many heartbeats a runner has to answer a wish before the client ends the job itself."""
_SWAPS = 8


class Cancelling:
    """One cancellation of one job.

    Args:
        bus: where the job lies.
        ref: its ref.
        by: who wants it ended.
        clock: time and randomness.
        watcher: who is told.
    """

    def __init__(
        self, bus: RequesterBus, ref: str, *, by: str, clock: Clock, watcher: Watcher
    ) -> None:
        self._bus, self._ref, self._by = bus, ref, by
        self._clock, self._watcher = clock, watcher

    def run(self, reason: str) -> JobStatus:
        """End the job; returns its status with the terminal record.

        Raises:
            UsageError: it had ended otherwise before.
            BusError: the bus did not answer, or the job moved on at every try.
        """
        chain = self._bus.load(self._ref)
        require_readable(chain)
        self._refuse_ended(chain)
        if chain.held:
            self._wish(chain, reason)
            chain = self._await_answer(chain)
        for _ in range(_SWAPS):
            if chain.ended:
                self._refuse_ended(chain)
                return status_of(chain)
            message = f"cancelled by {self._by}: {reason}" if reason else f"cancelled by {self._by}"
            step = compose_end(chain, Event.CANCELLED, message, sign(self._by, self._clock))
            self._bus.swap([Update(self._ref, chain.tip, step)])
            chain = self._bus.load(self._ref)
        raise BusError(
            f"the job moved on at each of {_SWAPS} tries",
            where=self._ref,
            remedy=f"the wish stands; look again: kakeya_remote status {chain.job.id}",
        )

    def _refuse_ended(self, chain: Chain) -> None:
        if chain.ended and chain.state is not State.CANCELLED:
            assert chain.state is not None
            raise UsageError(
                f"the job has ended already: {chain.state.value}",
                where=chain.job.id,
                remedy=f"kakeya_remote results {chain.job.id}",
            )

    def _wish(self, chain: Chain, reason: str) -> None:
        assert chain.request_digest is not None
        wish = CancelWish(
            id=chain.job.id,
            request=chain.request_digest,
            by=self._by,
            nonce=self._clock.nonce(),
            reason=clean_text(reason, 300),
        )
        commit = compose_note(
            "cancel.json",
            wish,
            f"cancel wish, by {self._by}",
            requester_identity(self._by),
            int(self._clock.wall_s()),
        )
        (swap,) = self._bus.swap([Update(self._bus.refs.wish(chain.job.id), None, commit)])
        said = "the runner is asked to end it" if swap is Swap.WON else "it was asked for before"
        self._watcher.note(f"{said}; waiting for {chain.claim.runner if chain.claim else 'it'}")

    def _await_answer(self, chain: Chain) -> Chain:
        assert chain.claim is not None
        deadline_s = self._clock.monotonic_s() + WISH_HEARTBEATS * chain.claim.heartbeat_s
        backoff = Backoff(self._bus.profile.poll_min_s, self._bus.profile.poll_max_s)
        while not chain.ended and self._clock.monotonic_s() < deadline_s:
            left_s = deadline_s - self._clock.monotonic_s()
            self._clock.pause(backoff.next_s(left_s))
            tip = self._bus.peek(self._ref)
            if tip is None or tip.oid != chain.tip:
                chain = self._bus.load(self._ref)
                self._watcher.update(status_of(chain))
        if not chain.ended:
            self._watcher.note("no answer within two heartbeats; ending it from here")
        return chain
