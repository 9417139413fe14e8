"""Waiting for one job: poll its exact ref, tell what changes, expire or reap it where that is due.

Three clocks, never one: `--timeout` bounds the waiting, the request's queue timeout bounds the
time unclaimed, the claim's lease bounds its runner's silence. All run on this process's monotonic
clock.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

from bridge.bus.binding import require_readable
from bridge.bus.chain import Chain
from bridge.bus.commits import requester_identity
from bridge.bus.endings import Signer, compose_end, compose_reap
from bridge.bus.lease import SilenceWatch, lease_of, sign_of_life
from bridge.bus.remote import Outcome as Swap
from bridge.bus.remote import Update
from bridge.bus.requester import RequesterBus, Sight
from bridge.client.outcomes import JobStatus, Outcome, outcome_of, status_of
from bridge.client.queueing import Queue, RunnerWatch
from bridge.clock import Backoff, Clock
from bridge.errors import BusError, ExitCode, IntegrityError
from bridge.states import Event, State

STEADY_POLLS = 20
"""Polls at the shortest pause after every move: most jobs are claimed, or end, within them."""

STAMP_S = 0.005
READ_BEATS_AFTER_S = 1.0
"""How long a job must not have moved before the runners' heartbeats are read."""

OUTAGE_LIMIT_S = 600.0
"""How long a bus may stay out of reach before the wait gives up."""


class Watcher(Protocol):
    """Who is told while a client waits."""

    def begin(self) -> None:
        """A wait begins."""

    def end(self) -> None:
        """It ended, by whatever means."""

    def update(self, status: JobStatus) -> None:
        """The job moved."""

    def note(self, text: str) -> None:
        """Something that a person should know."""


class Silent:
    """A watcher that tells nobody."""

    def begin(self) -> None:
        """See `Watcher.begin`."""

    def end(self) -> None:
        """See `Watcher.end`."""

    def update(self, status: JobStatus) -> None:
        """See `Watcher.update`."""

    def note(self, text: str) -> None:
        """See `Watcher.note`."""


def sign(by: str, clock: Clock) -> Signer:
    """The client's own hand under a step of a job."""
    return Signer(by, requester_identity(by), clock.nonce(), int(clock.wall_s()))


class Waiting:
    """One wait for one job.

    Args:
        bus: where the job lies.
        ref: its ref.
        by: who waits, for the records it may have to write.
        clock: time and randomness.
        watcher: who is told.
        check: called before every poll; raises to end the wait.
    """

    def __init__(
        self,
        bus: RequesterBus,
        ref: str,
        *,
        by: str,
        clock: Clock,
        watcher: Watcher,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._bus, self._ref, self._by = bus, ref, by
        self._clock, self._watcher, self._check = clock, watcher, check
        profile = bus.profile
        self._backoff = Backoff(profile.poll_min_s, profile.poll_max_s, steady=STEADY_POLLS)
        self._runners = RunnerWatch(bus.profile, bus.read_beat)
        self._silence = SilenceWatch(bus.profile.heartbeat_s)
        self._chain: Chain | None = None
        self._queued_at_s: tuple[int, float] | None = None  # attempt, first sight
        self._stamp: tuple[int, ...] | None = None
        self._poll_cost_s = 0.0
        self._moved_at_s = clock.monotonic_s()
        self._outage_since_s: float | None = None
        self._told: set[str] = set()
        self._started_s = clock.monotonic_s()

    def run(self, timeout_s: float | None) -> Outcome:
        """Wait until the job has ended, nobody will take it, or `timeout_s` has passed.

        Raises:
            BusError: the bus did not answer at all, or not for ten minutes.
            IntegrityError: the job's ref is gone, or its commits cannot be read.
        """
        while True:
            self._check()
            self._stamp = self._bus.stamp(self._ref)
            polled_s = self._clock.monotonic_s()
            outcome = self._poll()
            self._poll_cost_s = self._clock.monotonic_s() - polled_s
            if outcome is not None:
                return outcome
            left_s = None if timeout_s is None else timeout_s - self._waited_s()
            if left_s is not None and left_s <= 0 and self._chain is not None:
                return self._unfinished(self._chain)
            self._pause(self._pause_s(left_s))

    def _pause(self, pause_s: float) -> None:
        """Wait for the next poll; where the bus shows at once that the job moved, no longer."""
        before = self._stamp
        if before is None:
            self._clock.pause(pause_s)
            return
        end_s = self._clock.monotonic_s() + pause_s
        while (left_s := end_s - self._clock.monotonic_s()) > 0:
            self._clock.pause(min(left_s, max(STAMP_S, pause_s / 8)))
            if self._bus.stamp(self._ref) != before:
                return

    def _outcome(self, chain: Chain) -> Outcome:
        required = self._bus.keyring.required
        return outcome_of(status_of(chain), self._waited_s(), require_enrolled=required)

    def _waited_s(self) -> float:
        return self._clock.monotonic_s() - self._started_s

    def _pause_s(self, left_s: float | None) -> float:
        # whoever waits leaves the machine to those that work for as long as the poll took
        pause_s = max(self._backoff.next_s(left_s), min(self._poll_cost_s, left_s or inf))
        claim = self._chain.claim if self._chain else None
        # silence counts only between polls at most a heartbeat apart
        return pause_s if claim is None else min(pause_s, claim.heartbeat_s / 2)

    def _poll(self) -> Outcome | None:
        try:
            sight = self._bus.glance(self._ref)
            chain = self._look(sight)
            self._outage_since_s = None
            require_readable(chain)
            if chain.ended:
                return self._outcome(chain)
            if chain.state is State.QUEUED:
                return self._poll_queued(chain, sight)
            if chain.held:
                self._poll_held(chain, sight)
                return None
        except BusError as error:
            self._note_outage(error)
            return None
        raise IntegrityError(
            f"not even the request can be read: {chain.fault}",
            where=self._ref,
            remedy="look at the branch itself: git log " + self._ref,
        )

    def _look(self, sight: Sight) -> Chain:
        if sight.tip is None:
            self._chain = self._bus.load(self._ref)  # folded, or an integrity error
            self._watcher.update(status_of(self._chain))
            return self._chain
        if self._chain is None or self._chain.tip != sight.tip.oid:
            self._chain = self._bus.load(self._ref, seen=sight.tip.oid)
            self._moved_at_s = self._clock.monotonic_s()
            self._backoff.reset()
            self._watcher.update(status_of(self._chain))
            if self._chain.fault:
                self._note_once(f"a commit on the job's branch does not count: {self._chain.fault}")
        return self._chain

    # -- queued ----------------------------------------------------------------------------

    def _poll_queued(self, chain: Chain, sight: Sight) -> Outcome | None:
        now_s = self._clock.monotonic_s()
        if self._queued_at_s is None or self._queued_at_s[0] != chain.attempt:
            self._queued_at_s = (chain.attempt, now_s)
        limit_s = chain.request.queue_timeout_s if chain.request else None
        if limit_s is not None and now_s - self._queued_at_s[1] >= limit_s:
            return self._expire(chain, limit_s)
        if not self._stands_still():
            return None
        queue = self._runners.observe(now_s, sight.beats, chain.job.id)
        if queue.refused:
            return self._refused(chain, queue)
        for line in queue.tell():
            if ": declines" in line:
                self._note_once(line)
        if not queue.live and now_s - self._queued_at_s[1] >= 2 * self._bus.profile.heartbeat_s:
            self._note_once("no live runner has been seen on this bus yet; the job is queued")
        return None

    def _expire(self, chain: Chain, limit_s: float) -> Outcome | None:
        """Swap the request for expired; only the swap that wins may say that it expired."""
        story = f"no runner claimed it within {limit_s:g} s"
        step = compose_end(chain, Event.EXPIRED, story, sign(self._by, self._clock))
        (swap,) = self._bus.swap([Update(self._ref, chain.tip, step)])
        if swap is not Swap.WON:
            return None
        self._chain = self._bus.load(self._ref)
        self._watcher.update(status_of(self._chain))
        return self._outcome(self._chain)

    def _refused(self, chain: Chain, queue: Queue) -> Outcome:
        return Outcome(
            status_of(chain),
            ExitCode.REFUSED,
            "every live runner declines this job; it stays queued "
            f"(kakeya_remote cancel {chain.job.id} takes it back)",
            details=queue.tell(),
            resume=resume_command(chain.job.id),
            waited_s=self._waited_s(),
        )

    def _stands_still(self) -> bool:
        """Whether the job has not moved for so long that heartbeats are worth reading."""
        return self._clock.monotonic_s() - self._moved_at_s >= READ_BEATS_AFTER_S

    # -- held ------------------------------------------------------------------------------

    def _poll_held(self, chain: Chain, sight: Sight) -> None:
        claim, claim_oid = chain.claim, chain.claim_oid
        assert claim is not None
        assert claim_oid is not None
        tip = sight.beats.get(claim.runner)
        # a job that has just moved shows that its runner lives; whether it lists it can wait
        is_read = self._stands_still()
        beat = self._runners.beat_of(claim.runner, sight.beats) if is_read else None
        mark = sign_of_life(claim_oid, tip.oid if tip else None, beat)
        silent_s = self._silence.observe(
            self._clock.monotonic_s(), claim_oid, mark, chain.tip, gap_s=claim.heartbeat_s
        )
        if silent_s < lease_of(claim):
            return
        reason = f"{claim.runner} was silent for {silent_s:.0f} s, its lease is {claim.lease_s:g} s"
        self._watcher.note(reason)
        wished = self._bus.peek(self._bus.refs.wish(chain.job.id)) is not None
        step = compose_reap(chain, reason, sign(self._by, self._clock), wished=wished)
        self._bus.swap([Update(self._ref, chain.tip, step)])

    # -- the rest --------------------------------------------------------------------------

    def _unfinished(self, chain: Chain) -> Outcome:
        state = chain.state.value if chain.state else "unknown"
        return Outcome(
            status_of(chain),
            ExitCode.STILL_RUNNING,
            f"the wait ended after {self._waited_s():.0f} s; the job goes on ({state})",
            resume=resume_command(chain.job.id),
            waited_s=self._waited_s(),
        )

    def _note_outage(self, error: BusError) -> None:
        now_s = self._clock.monotonic_s()
        if self._chain is None:
            raise error
        if self._outage_since_s is None:
            self._outage_since_s = now_s
            self._watcher.note(f"the bus does not answer, trying on: {error}")
        elif now_s - self._outage_since_s >= OUTAGE_LIMIT_S:
            raise BusError(
                f"no answer for {OUTAGE_LIMIT_S:.0f} s: {error.message}",
                where=error.where,
                remedy=f"{error.remedy}; then {resume_command(self._chain.job.id)}",
            ) from error

    def _note_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._watcher.note(text)


def resume_command(job_id: str) -> str:
    """The command that goes on waiting for a job."""
    return f"kakeya_remote wait {job_id}"
