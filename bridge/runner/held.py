"""The jobs that this session holds: their logs and results on the way to the bus."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bridge.bus.chain import Chain
from bridge.bus.endings import compose_requeue
from bridge.bus.interface import Bus
from bridge.bus.remote import Outcome, Update
from bridge.bus.view import Snapshot
from bridge.errors import BusError, IntegrityError
from bridge.objects import Prepared
from bridge.records import Resources
from bridge.runner.attempt import Attempt, Surroundings
from bridge.runner.batch import Batch
from bridge.runner.config import RunnerConfig
from bridge.runner.reuse import Memory
from bridge.runner.steps import Steps, advance
from bridge.runner.trust import Trust
from bridge.states import Event, State
from executors import make_executor
from executors.contract import Executor
from presets.definition import Preset

MakeAttempt = Callable[[Chain, Preset, Surroundings], Attempt]

_THREADS = 8


@dataclass(slots=True)
class Held:
    """One attempt with the bus's side of it.

    Attributes:
        attempt: the job itself.
        pushing: a step of it waits for its outcome.
        log_due_s: when its log may be pushed next.
        rest_until_s: no step is tried before, since this machine's disk did not take the last one.
    """

    attempt: Attempt
    pushing: bool = False
    log_due_s: float = float("-inf")
    rest_until_s: float = float("-inf")


class HeldJobs:
    """Attempts by job id, each from its claim to its result.

    Args:
        config: the runner's own settings.
        bus: where their refs lie.
        steps: composes what is pushed.
        say: told each event in one line.
        make: makes an attempt of a claimed job.
        memory: finished evidence that may answer a request.
    """

    def __init__(
        self,
        config: RunnerConfig,
        bus: Bus,
        steps: Steps,
        say: Callable[[str], None],
        make: MakeAttempt,
        memory: Memory | None = None,
    ) -> None:
        self.ended: set[str] = set()
        self._make, self._memory = make, memory
        self._config, self._bus, self._steps, self._say = config, bus, steps, say
        self._held: dict[str, Held] = {}
        self._executors: dict[str, Executor] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="attempt")

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._held

    def close(self) -> None:
        """Let the threads end; processes of jobs go on."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def claims(self) -> dict[str, str]:
        """The claims in force, job id to claim oid, as the heartbeat lists them."""
        return {job_id: held.attempt.claim_oid for job_id, held in self._held.items()}

    def used(self) -> list[Resources]:
        """What each held job occupies."""
        return [held.attempt.resources for held in self._held.values()]

    def hold(self, chain: Chain, trust: Trust) -> Attempt:
        """Take up a claimed job; the caller starts or adopts it."""
        assert chain.request is not None
        surroundings = Surroundings(
            self._config,
            trust,
            self._pool,
            self._bus.fetch_code,
            self.executor,
            lambda line: self._say(f"{chain.job.id}: {line}"),
            self._memory,
        )
        preset = trust.catalog.get(chain.request.preset.name)
        attempt = self._make(chain, preset, surroundings)
        self._held[chain.job.id] = Held(attempt)
        return attempt

    def executor(self, name: str) -> Executor:
        """The executor of a name; every job of this runner is given the same one."""
        if name not in self._executors:
            self._executors[name] = make_executor(name, self._config.executors[name])
        return self._executors[name]

    def heed_wishes(self, snapshot: Snapshot) -> None:
        """Cancel the held jobs that somebody wishes cancelled."""
        for job_id, held in self._held.items():
            if not held.attempt.cancelled and self._bus.refs.wish(job_id) in snapshot.wishes:
                self._say(f"{job_id}: cancel wished")
                held.attempt.cancel()

    def cancel_all(self) -> None:
        """Cancel every held job."""
        for held in self._held.values():
            held.attempt.cancel()

    def advance(self) -> None:
        """Move every job on; nothing is pushed."""
        for held in self._held.values():
            held.attempt.advance()

    def add_steps(self, batch: Batch, now_s: float) -> None:
        """Put the logs that are due and the results that are there into the batch."""
        for held in self._held.values():
            if held.pushing or (held.attempt.ended is None and now_s < held.log_due_s):
                continue
            if now_s < held.rest_until_s:
                continue
            held.log_due_s = now_s + self._config.profile.log_s
            before = held.attempt.chain
            chain, commit = self._compose(held.attempt)
            if commit is None:
                continue
            job_id, attempt = held.attempt.request.id, held.attempt
            name = f"{job_id}-{attempt.claim.attempt}.result" if chain.ended else None
            try:
                batch.add(
                    Update(before.ref, before.tip, commit),
                    lambda outcome, held=held, chain=chain: self._settle(  # type: ignore[misc]
                        held, chain, outcome
                    ),
                    letter=name,
                )
            except BusError as error:  # it comes again, and the heart goes on meanwhile
                held.rest_until_s = now_s + self._config.profile.heartbeat_s
                attempt.settle_log(won=False)
                self._say(f"{job_id}: {error}")
                continue
            held.pushing = True

    def _compose(self, attempt: Attempt) -> tuple[Chain, Prepared | None]:
        """All the steps that an attempt is ready for, as one commit with the others behind it."""
        chain = attempt.chain
        commits: list[Prepared] = []
        while (found := self._steps.log(attempt, chain)) is not None:
            chunk, files = found
            commits.append(self._steps.compose(chain, Event.LOG, chunk, files))
            chain = advance(chain, Event.LOG, chunk, commits[-1])
            if attempt.ended is None:
                break  # the rest of a flood waits its turn
        if attempt.ended is not None and self._may_retry(attempt, chain):
            commits.append(compose_requeue(chain, attempt.ended.again, self._steps.signer()))
            chain = replace(chain, state=State.QUEUED, tip=commits[-1].oid)
        elif attempt.ended is not None:
            event, result = Event(attempt.ended.state), self._steps.ending(attempt, chain)
            commits.append(self._steps.compose(chain, event, result, attempt.ended.files))
            chain = advance(chain, event, result, commits[-1])
        if not commits:
            return chain, None
        objects = tuple(item for commit in commits for item in commit.objects)
        return chain, Prepared(commits[-1].oid, objects, commits[-1].files)

    def _may_retry(self, attempt: Attempt, chain: Chain) -> bool:
        assert attempt.ended is not None
        return bool(attempt.ended.again) and chain.attempt < attempt.request.max_attempts

    def _settle(self, held: Held, chain: Chain, outcome: Outcome) -> None:
        held.pushing = False
        attempt = held.attempt
        attempt.settle_log(won=outcome is Outcome.WON)
        ended = attempt.ended
        if outcome is not Outcome.WON and self._memory is not None and ended and ended.work:
            self._memory.forget(ended.work)  # the bus may end this job with other evidence
        if outcome is Outcome.WON:
            attempt.chain = chain
            if attempt.ended is not None and not chain.held:
                self.ended |= {chain.job.id} if chain.ended else set()
                self._let_go(attempt, chain, f"{chain.state}: {attempt.ended.message}")
            return
        try:
            chain = self._bus.load(attempt.chain.ref)
        except IntegrityError as error:  # deleted by somebody, and not folded
            attempt.cancel()
            self._let_go(attempt, attempt.chain, f"given up: {error.message}")
            return
        if chain.held and chain.claim_oid == attempt.claim_oid:
            self._say(f"{chain.job.id}: writing over a foreign commit: {chain.fault}")
            attempt.chain = chain
        else:
            attempt.cancel()
            self._let_go(attempt, chain, f"fenced off: the bus says {chain.state}")

    def _let_go(self, attempt: Attempt, chain: Chain, why: str) -> None:
        del self._held[attempt.request.id]
        attempt.release(chain)
        self._say(f"{attempt.request.id}: {why}")
        self._tidy()

    def _tidy(self) -> None:
        """Delete the folders of all but the latest ended jobs."""
        busy = {held.attempt.folder for held in self._held.values()}
        folders = [path for path in (self._config.state_dir / "jobs").glob("*") if path not in busy]
        folders.sort(key=lambda path: path.stat().st_mtime)
        for folder in folders[: max(0, len(folders) - self._config.keep_jobs)]:
            shutil.rmtree(folder, ignore_errors=True)
