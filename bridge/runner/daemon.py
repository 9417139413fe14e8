"""The runner's loop: poll, claim, advance, beat; one thread talks to the bus.

A cycle makes at most one push, of everything that is due, and waits no longer than one git
command; the slow steps of a job run on other threads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

from filelock import FileLock, Timeout

from bridge.bus.chain import Chain
from bridge.bus.endings import compose_end
from bridge.bus.interface import Bus
from bridge.bus.remote import Outcome, Update
from bridge.bus.view import Snapshot
from bridge.clock import Clock
from bridge.errors import BusError, IntegrityError, UsageError
from bridge.records import Facts
from bridge.runner.attempt import Attempt
from bridge.runner.batch import Batch
from bridge.runner.campaigns import CampaignThread
from bridge.runner.config import RunnerConfig
from bridge.runner.heart import Heart
from bridge.runner.held import HeldJobs, MakeAttempt
from bridge.runner.housekeeping import Housekeeping
from bridge.runner.key import RunnerKey
from bridge.runner.notifying import Notifier, make_notice
from bridge.runner.outbox import Outbox
from bridge.runner.policy import Refuse, Take, spread
from bridge.runner.queue import Queue
from bridge.runner.recovery import Recovery
from bridge.runner.reuse import Memory
from bridge.runner.steps import Steps, advance
from bridge.runner.trust import Trust
from bridge.states import Event
from bridge.version import VERSION

_TICK_S = 0.01
_STEADY_POLLS = 20  # at the shortest pause after every move: often another follows
_VAIN_SHARE = 10  # a look at a changed stamp that found nothing is followed by a rest ten times it
_LEAST_PAUSE_S = 0.002
_CANCEL_S = 8.0
"""GitHub Actions kills a cancelled step ten seconds after it asked it to end."""


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Runner:
    """One session of one runner on one bus.

    Args:
        config: its settings.
        trust: its trusted commit.
        bus: the bus, opened for this runner alone.
        clock: time and chance.
        say: told each event in one line.
        make_attempt: makes an attempt of a claimed job.
        key: signs its steps; None for a runner that signs nothing.
    """

    def __init__(
        self,
        config: RunnerConfig,
        trust: Trust,
        bus: Bus,
        *,
        clock: Clock | None = None,
        say: Callable[[str], None] = _tell,
        make_attempt: MakeAttempt = Attempt,
        key: RunnerKey | None = None,
        campaigns: CampaignThread | None = None,
    ) -> None:
        self.config, self.trust, self.bus = config, trust, bus
        self.draining = False
        self._clock = clock or Clock()
        self._say = say
        self._steps = Steps(config, self._clock.wall_s, key.sign if key else None)
        self._heart = Heart(config, bus, self._clock.wall_s)
        memory = Memory(config.state_dir / "reuse", bus)
        self._queue = Queue(config, trust, self._clock.chance, memory.note)
        self._notifier = Notifier(config.notify, say)
        outbox = Outbox(config.state_dir / "outbox")
        self._batch = Batch(bus, outbox, say, self._clock.monotonic_s, self._notify)
        self._held = HeldJobs(config, bus, self._steps, say, make_attempt, memory)
        self._recovery = Recovery(
            config, trust, bus, self._queue, self._steps, say, self._heart.session
        )
        self._housekeeping = Housekeeping(
            bus, config.retention, self._steps.signer, self._clock.chance, say
        )
        self._campaigns = campaigns
        self._refused: set[str] = set()
        self._claiming: dict[str, str] = {}
        self._polled_at_s = self._push_from_s = float("-inf")
        self._has_pushed = self._more_wait = False
        self._stamp: tuple[int, ...] | None = None
        self._steady = 0
        self._rest_until_s = float("-inf")
        self._gap_s = config.profile.push_gap_s
        self._poll_every_s = config.profile.poll_min_s
        self._lock = FileLock(config.state_dir / "session.lock", timeout=0)

    # -- life ------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no job is held."""
        return len(self._held) == 0

    @property
    def ended(self) -> int:
        """How many jobs this session has brought to an end."""
        return len(self._held.ended | self._refused)

    def open(self) -> None:
        """Take the runner's name on the bus and go on with what an earlier session left.

        Raises:
            UsageError: this machine runs it already, or there is no bus.
            RefusedError: another machine's live session has this name.
        """
        try:
            self._lock.acquire()
        except Timeout as error:
            raise UsageError(
                f"a runner named {self.config.name} runs on this machine already",
                where=str(self.config.state_dir),
                remedy="stop that one first, or give this one another name",
            ) from error
        self.bus.identity()
        self._heart.take_over(self._clock.pause)
        self._batch.restore()
        self._batch.flush()
        now_s = self._clock.monotonic_s()
        snapshot = self._poll()
        self._queue.update(snapshot, now_s)
        self._recovery.look(
            self._batch, snapshot, self._held, now_s, fresh_s=self._heart.fresh_s(snapshot)
        )
        self._add_beat(now_s)
        self._batch.flush()
        self._say(
            f"runner {self.config.name} is up: labels {', '.join(self.config.labels)}; "
            f"trusts {self.trust.commit[:12]}; code policy {self.config.code_policy}; "
            f"isolation {self.config.isolation}"
        )

    def close(self) -> None:
        """End the session; jobs that still run are found again by the next one."""
        if self._campaigns is not None:
            self._campaigns.close()
        self._held.close()
        self._notifier.close()
        self.bus.close()
        self._lock.release()

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until `stop` says so, or, when draining, until nothing is held."""
        while not stop() and not (self.draining and self.idle):
            self.step()
            self._clock.pause(self._pause_s())

    def cancel_all(self, *, limit_s: float) -> None:
        """Cancel what is held and write the results, for at most `limit_s`."""
        self.draining = True
        self._held.cancel_all()
        end_s = self._clock.monotonic_s() + limit_s
        while not self.idle and self._clock.monotonic_s() < end_s:
            self.step()
            self._clock.pause(self._pause_s())

    def run_once(
        self,
        *,
        timeout_s: float,
        job_id: str | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Serve until one job has ended, or none came for `timeout_s`; the number of jobs ended.

        Args:
            timeout_s: how long to wait for a job.
            job_id: the one job that may be claimed, None for any.
            stop: asked in between; True cancels what is held, and ends this.
        """
        self._queue.only = job_id
        begun_s = self._clock.monotonic_s()
        while not (self.ended if job_id is None else self._has_ended(job_id)):
            if stop():
                self.cancel_all(limit_s=_CANCEL_S)
                break
            self.step()
            self.draining = not self.idle  # nothing more is claimed beside the one
            if self.idle and self._clock.monotonic_s() - begun_s > timeout_s:
                break
            self._clock.pause(self._pause_s())
        return self.ended

    def _pause_s(self) -> float:
        """How long to rest between two cycles: not at all after a push, which may start a job."""
        if self._has_pushed:
            return 0.0
        next_s = max(self._polled_at_s + self._poll_every_s, self._push_from_s)
        return min(_TICK_S, max(_LEAST_PAUSE_S, next_s - self._clock.monotonic_s()))

    def _has_ended(self, job_id: str) -> bool:
        return job_id in self._held.ended or job_id in self._refused

    def step(self) -> None:
        """One cycle with at most one push; a fault of the network is told, and tried again.

        Raises:
            RefusedError: another session has taken this runner's name.
        """
        now_s = self._clock.monotonic_s()
        self._has_pushed = False
        self._held.advance()
        if now_s < self._push_from_s:
            return
        try:
            if not self._batch:
                self._held.add_steps(self._batch, now_s)
                if self._is_look_due(now_s):
                    self._look(now_s)
                self._add_beat(now_s)
                self._batch.take_up()  # beside the others, never instead of them
            if self._batch:
                self._push_from_s = now_s + self._gap_s
                self._batch.flush()
                self._has_pushed = True
                self._stamp = self.bus.stamp()
            elif self._housekeeping.tidy(now_s):
                self._push_from_s = now_s + self._gap_s
        except BusError as error:
            self._say(f"bus: {error}")
            self._polled_at_s = now_s
            self._poll_every_s = self.config.profile.poll_max_s
            self._push_from_s = now_s + self.config.profile.poll_max_s

    # -- claiming --------------------------------------------------------------------------

    def _is_look_due(self, now_s: float) -> bool:
        """Whether to poll in this cycle; a result does not wait for that unless jobs wait too."""
        waited_s = now_s - self._polled_at_s
        rested = waited_s >= self.config.profile.poll_min_s and now_s >= self._rest_until_s
        if rested and self.bus.stamp() != self._stamp:
            return True
        if self._batch and not self._more_wait:
            return waited_s >= self.config.profile.poll_max_s
        return waited_s >= self._poll_every_s

    def _poll(self) -> Snapshot:
        snapshot = self.bus.poll()
        return replace(snapshot, jobs=spread(snapshot.jobs, self._clock.chance))

    def _look(self, now_s: float) -> None:
        self._stamp = self.bus.stamp()
        begun_s = self._clock.monotonic_s()
        snapshot = self._poll()
        self._polled_at_s = self._clock.monotonic_s()
        cost_s = self._polled_at_s - begun_s
        self._gap_s = self.config.profile.gap_s(len(snapshot.heartbeats))
        moved = self._queue.update(snapshot, now_s)
        self._housekeeping.observe(snapshot, now_s)
        if self._campaigns is not None:
            self._campaigns.observe(snapshot.campaigns)
        self._held.heed_wishes(snapshot)
        if not self.draining:
            self._claim(snapshot, now_s)
        self._recovery.look(
            self._batch,
            snapshot,
            self._held,
            self._clock.monotonic_s(),
            fresh_s=self._heart.fresh_s(snapshot),
        )
        profile = self.config.profile
        if self._stamp is not None:  # it tells when to look again
            self._rest_until_s = self._polled_at_s + (0.0 if moved else _VAIN_SHARE * cost_s)
        self._steady = _STEADY_POLLS if moved else max(0, self._steady - 1)
        slower_s = min(self._poll_every_s * 1.5, profile.poll_max_s)
        soon_s = max(profile.poll_min_s, cost_s)  # leaves the machine to the jobs as long
        hurries = self._steady and self._stamp is None
        self._poll_every_s = soon_s if hurries else slower_s

    def _claim(self, snapshot: Snapshot, now_s: float) -> None:
        used = self._held.used()
        self._more_wait = False
        for found in self._queue.candidates(self.bus, self._held):
            chain, decision = found.chain, found.decision
            if chain.newer:
                continue  # declined, and left as it is: not even a wish can be answered rightly
            if chain.ref in self._batch:
                continue  # a step of ours is under way there
            if self.bus.refs.wish(chain.job.id) in snapshot.wishes:
                self._refuse(chain, Event.CANCELLED, "cancelled before it was claimed")
            elif isinstance(decision, Refuse):
                self._refuse(chain, Event.REJECTED, decision.message, decision.problems)
            elif self._queue.is_expired(chain, now_s):
                self._refuse(chain, Event.EXPIRED, "no runner took it in time")
            elif isinstance(decision, Take):
                if self._queue.has_room(decision.request.resources, used):
                    used.append(decision.request.resources)
                    self._take(chain, decision)
                else:
                    self._more_wait = True
                    self._queue.decline_busy(chain, f"{len(used)} jobs hold what it needs")

    def _take(self, chain: Chain, take: Take) -> None:
        claim = self._steps.claim(chain, take, self._heart.session, self.trust.commit)
        commit = self._steps.compose(chain, Event.CLAIM, claim)

        def settle(outcome: Outcome) -> None:
            del self._claiming[chain.job.id]
            self._queue.forget(chain.ref)
            if outcome is Outcome.WON:
                self._held.hold(advance(chain, Event.CLAIM, claim, commit), self.trust).start()
                self._say(f"{chain.job.id}: claimed {take.preset.name}, attempt {chain.attempt}")

        letter = f"{chain.job.id}-{claim.attempt}.claim"
        try:
            self._batch.add(Update(chain.ref, chain.tip, commit), settle, letter=letter)
        except BusError as error:  # this machine's disk is full: somebody else may take it
            self._queue.decline_busy(chain, error.message)
            return
        self._claiming[chain.job.id] = commit.oid
        self._queue.claims_made += 1

    def _refuse(
        self, chain: Chain, event: Event, message: str, problems: tuple[str, ...] = ()
    ) -> None:
        commit = compose_end(chain, event, message, self._steps.signer(), problems)

        def settle(outcome: Outcome) -> None:
            self._queue.forget(chain.ref)
            self._refused |= {chain.job.id} if outcome is Outcome.WON else set()
            self._say(f"{chain.job.id}: {event.value} ({outcome.value}): {message}")

        self._batch.add(Update(chain.ref, chain.tip, commit), settle)

    def _notify(self, ref: str) -> None:
        """Tell whom the operator named that a job has ended here."""
        if not self._notifier:
            return
        try:
            chain = self.bus.load(ref)
        except (BusError, IntegrityError) as error:
            self._say(f"{ref}: nobody was told of its end: {error}")
            return
        if chain.result is not None:
            self._notifier.tell(make_notice(chain, self.config.name))

    # -- heartbeat -------------------------------------------------------------------------

    def _add_beat(self, now_s: float) -> None:
        claims = {**self._held.claims(), **self._claiming}
        if not self._heart.due(now_s, claims):
            return
        beat = self._heart.compose(self._facts(), claims, self._queue.declines())
        self._batch.add(
            beat,
            lambda outcome: self._heart.settle(
                beat, outcome, self._clock.monotonic_s(), claims, composed_s=now_s
            ),
        )

    def _facts(self) -> Facts:
        return Facts(
            labels=self.config.labels,
            resources=self.config.slots,
            free=self._queue.free(self._held.used()),
            trusted=self.trust.commit,
            code_policy=self.config.code_policy,
            isolation=self.config.isolation,
            executors=self._queue.executors,
            os=sys.platform,
            version=VERSION,
            draining=self.draining,
        )
