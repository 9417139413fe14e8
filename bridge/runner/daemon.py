"""The runner's loop: poll, claim, advance, push, beat; one thread talks to the bus.

Nothing here waits longer than one git command; the slow steps of a job run on other threads.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from filelock import FileLock, Timeout

from bridge.bus.chain import Chain
from bridge.bus.endings import compose_end, compose_reap
from bridge.bus.lease import SilenceWatch
from bridge.bus.remote import GitBus, Outcome, Snapshot, Update
from bridge.errors import BusError, UsageError
from bridge.objects import Prepared
from bridge.records import Claim, Facts
from bridge.runner.attempt import Attempt
from bridge.runner.config import RunnerConfig
from bridge.runner.heart import Heart
from bridge.runner.outbox import Outbox
from bridge.runner.policy import Refuse, Take
from bridge.runner.queue import Queue
from bridge.runner.steps import Steps, advance
from bridge.runner.trust import Trust, open_trust
from bridge.runner.workspace import job_folder
from bridge.states import Event

VERSION = "0.1.0"
_TICK_S = 0.05
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, so that a test can turn them."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep
    chance: random.Random = field(default_factory=random.Random)


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
    """

    def __init__(
        self,
        config: RunnerConfig,
        trust: Trust,
        bus: GitBus,
        *,
        clock: Clock | None = None,
        say: Callable[[str], None] = _tell,
    ) -> None:
        self.config, self.trust, self.bus = config, trust, bus
        self.attempts: dict[str, Attempt] = {}
        self.draining = False
        self.ended = 0
        self._clock = clock or Clock()
        self._say = say
        self._steps = Steps(config, self._clock.wall)
        self._heart = Heart(config, bus, self._clock.wall)
        self._queue = Queue(config, trust, self._clock.chance)
        self._outbox = Outbox(config.state_dir / "outbox")
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="attempt")
        self._watch = SilenceWatch(config.profile.heartbeat_s)
        self._polled_at = self._looked_for_dead_at = float("-inf")
        self._poll_every_s = config.profile.poll_min_s
        self._log_at: dict[str, float] = {}
        self._lock = FileLock(config.state_dir / "session.lock", timeout=0)

    # -- life ------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the runner's name on the bus and find what an earlier session left.

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
        self._deliver_letters()
        self._resume()
        self._beat(self._clock.monotonic())
        self._say(
            f"runner {self.config.name} is up: labels {', '.join(self.config.labels)}; "
            f"trusts {self.trust.commit[:12]}; code policy {self.config.code_policy}; "
            f"isolation {self.config.isolation}"
        )

    def close(self) -> None:
        """End the session; jobs that still run are found again by the next one."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.bus.close()
        self._lock.release()

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until `stop` says so, or, when draining, until nothing is held."""
        while not stop() and not (self.draining and not self.attempts):
            self.step()
            self._clock.pause(_TICK_S)

    def run_once(self, *, timeout_s: float) -> int:
        """Serve until one job has ended, or none came for `timeout_s`; the number of jobs ended."""
        begun = self._clock.monotonic()
        while self.ended == 0:
            self.step()
            self.draining = bool(self.attempts)  # nothing more is claimed beside the one
            if not self.attempts and self._clock.monotonic() - begun > timeout_s:
                break
            self._clock.pause(_TICK_S)
        return self.ended

    def step(self) -> None:
        """One cycle; a fault of the network is told, and the next cycle tries again.

        Raises:
            RefusedError: another session has taken this runner's name.
        """
        now = self._clock.monotonic()
        try:
            for attempt in self.attempts.values():
                attempt.advance()
            self._push_results()
            self._push_logs(now)
            if now - self._polled_at >= self._poll_every_s:
                self._look(now)
            if self._heart.due(now, self._held()):
                self._beat(now)
        except BusError as error:
            self._say(f"bus: {error}")
            self._polled_at = now
            self._poll_every_s = self.config.profile.poll_max_s

    # -- claiming --------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        snapshot = self.bus.poll()
        self._polled_at = now
        moved = self._queue.update(snapshot, now)
        for job_id, attempt in self.attempts.items():
            if not attempt.cancelled and self.bus.refs.wish(job_id) in snapshot.wishes:
                self._say(f"{job_id}: cancel wished")
                attempt.cancel()
        if not self.draining:
            self._claim(snapshot, now)
        if now - self._looked_for_dead_at >= self.config.profile.heartbeat_s / 2:
            self._looked_for_dead_at = now
            self._reap(snapshot, now)
        profile = self.config.profile
        slower = min(self._poll_every_s * 1.5, profile.poll_max_s)
        self._poll_every_s = profile.poll_min_s if moved else slower

    def _claim(self, snapshot: Snapshot, now: float) -> None:
        used = [attempt.resources for attempt in self.attempts.values()]
        for found in self._queue.candidates(self.bus):
            chain, decision = found.chain, found.decision
            if self.bus.refs.wish(chain.job.id) in snapshot.wishes:
                self._end_queued(chain, Event.CANCELLED, "cancelled before it was claimed")
            elif isinstance(decision, Refuse):
                self._end_queued(chain, Event.REJECTED, decision.message, decision.problems)
            elif self._is_expired(chain, now):
                self._end_queued(chain, Event.EXPIRED, "no runner took it in time")
            elif isinstance(decision, Take):
                if not self._queue.has_room(decision.request.resources, used):
                    self._queue.decline_busy(chain, f"{len(used)} jobs hold what it needs")
                elif self._take(chain, decision):
                    used.append(decision.request.resources)

    def _is_expired(self, chain: Chain, now: float) -> bool:
        limit_s = chain.request.queue_timeout_s if chain.request else None
        return limit_s is not None and self._queue.waited_s(chain, now) > limit_s

    def _take(self, chain: Chain, take: Take) -> bool:
        claim = self._steps.claim(chain, take, self._heart.session, self.trust.commit)
        commit = self._steps.compose(chain, Event.CLAIM, claim)
        name = f"{chain.job.id}-{claim.attempt}.claim"
        self._outbox.put(name, chain.ref, chain.tip, commit)
        held = {**self._held(), chain.job.id: commit.oid}
        beat = self._heart.compose(self._facts(), held, self._queue.declines())
        outcome, beaten = self.bus.swap([Update(chain.ref, chain.tip, commit), beat])
        self._outbox.drop(name)
        self._heart.settle(beat, beaten, self._clock.monotonic(), held)
        self._queue.forget(chain.ref)
        self._queue.claims_made += 1
        if outcome is not Outcome.WON:
            return False
        self._hold(advance(chain, Event.CLAIM, claim, commit), self.trust).start()
        self._say(f"{chain.job.id}: claimed {take.preset.name}, attempt {chain.attempt}")
        return True

    def _hold(self, chain: Chain, trust: Trust) -> Attempt:
        assert chain.request is not None
        assert chain.claim is not None
        assert chain.claim_oid is not None
        self.attempts[chain.job.id] = Attempt(
            chain,
            chain.claim,
            chain.claim_oid,
            trust.catalog.get(chain.request.preset.name),
            self.config,
            trust,
            self._pool,
            self.bus.fetch_code,
            lambda line: self._say(f"{chain.job.id}: {line}"),
        )
        return self.attempts[chain.job.id]

    def _end_queued(
        self, chain: Chain, event: Event, message: str, problems: tuple[str, ...] = ()
    ) -> None:
        commit = compose_end(chain, event, message, self._steps.signer(), problems)
        (outcome,) = self.bus.swap([Update(chain.ref, chain.tip, commit)])
        self._queue.forget(chain.ref)
        self.ended += outcome is Outcome.WON
        self._say(f"{chain.job.id}: {event.value} ({outcome.value}): {message}")

    # -- jobs that are held ----------------------------------------------------------------

    def _push_results(self) -> None:
        for attempt in list(self.attempts.values()):
            if attempt.ended is None or not self._push_log(attempt):
                continue
            event = Event(attempt.ended.state)
            result = self._steps.ending(attempt)
            commit = self._steps.compose(attempt.chain, event, result, attempt.ended.files)
            name = f"{attempt.request.id}-{attempt.claim.attempt}.result"
            self._outbox.put(name, attempt.chain.ref, attempt.chain.tip, commit)
            won = self._swap(attempt, commit)
            self._outbox.drop(name)
            if won:
                self.ended += 1
                self._let_go(attempt, f"{event.value}: {attempt.ended.message}")

    def _push_logs(self, now: float) -> None:
        for job_id, attempt in list(self.attempts.items()):
            due = self._log_at.get(job_id, float("-inf")) + self.config.profile.log_s
            if attempt.ended is None and now >= due:
                self._log_at[job_id] = now
                self._push_log(attempt)

    def _push_log(self, attempt: Attempt) -> bool:
        """Send what the job printed since; False if the claim turned out to be gone."""
        while True:
            piece, progress = attempt.take_log(), attempt.take_progress()
            if not piece and (progress is None or progress == attempt.chain.progress):
                return True
            chunk, files = self._steps.log(attempt, piece, progress)
            commit = self._steps.compose(attempt.chain, Event.LOG, chunk, files)
            if not self._swap(attempt, commit):
                attempt.return_log(piece)
                return False
            attempt.chain = advance(attempt.chain, Event.LOG, chunk, commit)
            if attempt.ended is None:
                return True

    def _swap(self, attempt: Attempt, commit: Prepared) -> bool:
        """Move a held job's ref; on a loss find out whether the claim still stands."""
        (outcome,) = self.bus.swap([Update(attempt.chain.ref, attempt.chain.tip, commit)])
        if outcome is Outcome.LOST:
            chain = self.bus.load(attempt.chain.ref)
            if chain.held and chain.claim_oid == attempt.claim_oid:
                self._say(f"{chain.job.id}: writing over a foreign commit: {chain.fault}")
                attempt.chain = chain
            else:
                attempt.cancel()
                self._let_go(attempt, f"fenced off: the bus says {chain.state}")
        return outcome is Outcome.WON

    def _let_go(self, attempt: Attempt, why: str) -> None:
        del self.attempts[attempt.request.id]
        self._log_at.pop(attempt.request.id, None)
        self._queue.forget(attempt.chain.ref)
        self._say(f"{attempt.request.id}: {why}")
        self._tidy()

    def _tidy(self) -> None:
        """Delete the folders of all but the latest ended jobs."""
        busy = {attempt.folder for attempt in self.attempts.values()}
        folders = [path for path in (self.config.state_dir / "jobs").glob("*") if path not in busy]
        folders.sort(key=lambda path: path.stat().st_mtime)
        for folder in folders[: max(0, len(folders) - self.config.keep_jobs)]:
            shutil.rmtree(folder, ignore_errors=True)

    # -- what others and earlier sessions left ---------------------------------------------

    def _reap(self, snapshot: Snapshot, now: float) -> None:
        holds = [
            hold
            for hold in self._queue.held(self.bus, snapshot)
            if hold.chain.job.id not in self.attempts
        ]
        for hold in holds:
            claim_oid = hold.chain.claim_oid or ""
            silent_s = self._watch.observe(
                now, claim_oid, hold.mark, hold.chain.tip, gap_s=hold.heartbeat_s
            )
            if silent_s >= hold.lease_s:
                assert hold.chain.claim is not None
                self._give_back(
                    hold.chain,
                    f"runner {hold.chain.claim.runner} was silent for {silent_s:.0f} s",
                    wished=self.bus.refs.wish(hold.chain.job.id) in snapshot.wishes,
                )
        self._watch.keep([hold.chain.claim_oid or "" for hold in holds])

    def _give_back(self, chain: Chain, reason: str, *, wished: bool) -> None:
        commit = compose_reap(chain, reason, self._steps.signer(), wished=wished)
        (outcome,) = self.bus.swap([Update(chain.ref, chain.tip, commit)])
        self._queue.forget(chain.ref)
        self._say(f"{chain.job.id}: given back ({outcome.value}): {reason}")

    def _deliver_letters(self) -> None:
        for letter in self._outbox.letters():
            (outcome,) = self.bus.swap([Update(letter.ref, letter.old, letter.commit)])
            self._say(f"delivered {letter.name} of the session before: {outcome.value}")
            self._outbox.drop(letter.name)

    def _resume(self) -> None:
        """Go on with this runner's own claims: adopt what runs, give back what cannot be found."""
        snapshot = self.bus.poll()
        self._queue.update(snapshot, self._clock.monotonic())
        for hold in self._queue.held(self.bus, snapshot):
            claim = hold.chain.claim
            if claim is None or claim.runner != self.config.name:
                continue
            if job_folder(self.config.state_dir, hold.chain.job.id, claim.attempt).is_dir():
                self._hold(hold.chain, self._trust_of(claim)).adopt(self._logged(hold.chain))
                self._say(f"{hold.chain.job.id}: adopted, attempt {claim.attempt}")
            else:
                self._give_back(
                    hold.chain, "its runner was restarted and does not know the job", wished=False
                )

    def _trust_of(self, claim: Claim) -> Trust:
        """The trusted commit that a claim pinned, whatever this session trusts for new ones."""
        if claim.trusted == self.trust.commit:
            return self.trust
        return open_trust(
            self.config.trusted, claim.trusted, self.config.state_dir, allow_edits=True
        )

    def _logged(self, chain: Chain) -> int:
        """Bytes of the attempt's output that the bus has."""
        prefix = f"logs/{chain.attempt}-"
        return sum(
            len(self.bus.read(oid)) for path, oid in chain.files.items() if path.startswith(prefix)
        )

    # -- heartbeat -------------------------------------------------------------------------

    def _held(self) -> dict[str, str]:
        return {job_id: attempt.claim_oid for job_id, attempt in self.attempts.items()}

    def _beat(self, now: float) -> None:
        held = self._held()
        beat = self._heart.compose(self._facts(), held, self._queue.declines())
        (outcome,) = self.bus.swap([beat])
        self._heart.settle(beat, outcome, now, held)

    def _facts(self) -> Facts:
        used = [attempt.resources for attempt in self.attempts.values()]
        return Facts(
            labels=self.config.labels,
            resources=self.config.slots,
            free=self._queue.free(used),
            trusted=self.trust.commit,
            code_policy=self.config.code_policy,
            isolation=self.config.isolation,
            executors=self._queue.executors,
            os=sys.platform,
            version=VERSION,
            draining=self.draining,
        )
