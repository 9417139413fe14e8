"""The jobs that this session holds: their logs and results on the way to the bus."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from bridge.bus.chain import Chain
from bridge.bus.remote import GitBus, Outcome, Snapshot, Update
from bridge.objects import Prepared
from bridge.records import LogChunk, Resources
from bridge.runner.attempt import Attempt
from bridge.runner.config import RunnerConfig
from bridge.runner.outbox import Outbox
from bridge.runner.steps import Steps, advance
from bridge.runner.trust import Trust
from bridge.states import Event

_THREADS = 8


class HeldJobs:
    """Attempts by job id, each from its claim to its result.

    Args:
        config: the runner's own settings.
        bus: where their refs lie.
        steps: composes what is pushed.
        outbox: keeps results until the bus has them.
        say: told each event in one line.
    """

    def __init__(
        self,
        config: RunnerConfig,
        bus: GitBus,
        steps: Steps,
        outbox: Outbox,
        say: Callable[[str], None],
    ) -> None:
        self.ended = 0
        self._config, self._bus, self._steps, self._outbox = config, bus, steps, outbox
        self._say = say
        self._attempts: dict[str, Attempt] = {}
        self._log_at: dict[str, float] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="attempt")

    def __len__(self) -> int:
        return len(self._attempts)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._attempts

    def close(self) -> None:
        """Let the threads end; processes of jobs go on."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def claims(self) -> dict[str, str]:
        """The claims in force, job id to claim oid, as the heartbeat lists them."""
        return {job_id: attempt.claim_oid for job_id, attempt in self._attempts.items()}

    def used(self) -> list[Resources]:
        """What each held job occupies."""
        return [attempt.resources for attempt in self._attempts.values()]

    def hold(self, chain: Chain, trust: Trust) -> Attempt:
        """Take up a claimed job; the caller starts or adopts it."""
        assert chain.request is not None
        assert chain.claim is not None
        assert chain.claim_oid is not None
        attempt = Attempt(
            chain,
            chain.claim,
            chain.claim_oid,
            trust.catalog.get(chain.request.preset.name),
            self._config,
            trust,
            self._pool,
            self._bus.fetch_code,
            lambda line: self._say(f"{chain.job.id}: {line}"),
        )
        self._attempts[chain.job.id] = attempt
        return attempt

    def heed_wishes(self, snapshot: Snapshot) -> None:
        """Cancel the held jobs that somebody wishes cancelled."""
        for job_id, attempt in self._attempts.items():
            if not attempt.cancelled and self._bus.refs.wish(job_id) in snapshot.wishes:
                self._say(f"{job_id}: cancel wished")
                attempt.cancel()

    def advance(self, now_s: float) -> None:
        """Move every job on, and push the results and logs that are due."""
        for attempt in list(self._attempts.values()):
            attempt.advance()
            if attempt.ended is not None:
                self._push_result(attempt)
            elif now_s >= self._log_at.get(attempt.request.id, float("-inf")):
                self._log_at[attempt.request.id] = now_s + self._config.profile.log_s
                self._push_log(attempt)

    def _push_result(self, attempt: Attempt) -> None:
        if not self._push_logs_left(attempt):
            return
        assert attempt.ended is not None
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

    def _push_logs_left(self, attempt: Attempt) -> bool:
        """Send all that the job printed; whether the claim still stands."""
        while (chunk := self._steps.log(attempt)) is not None:
            if not self._push_chunk(attempt, *chunk):
                return False
        return True

    def _push_log(self, attempt: Attempt) -> None:
        chunk = self._steps.log(attempt)
        if chunk is not None:
            self._push_chunk(attempt, *chunk)

    def _push_chunk(self, attempt: Attempt, chunk: LogChunk, files: Mapping[str, bytes]) -> bool:
        commit = self._steps.compose(attempt.chain, Event.LOG, chunk, files)
        won = self._swap(attempt, commit)
        if won:
            attempt.chain = advance(attempt.chain, Event.LOG, chunk, commit)
        else:
            attempt.return_log(chunk.bytes)
        return won

    def _swap(self, attempt: Attempt, commit: Prepared) -> bool:
        """Move a held job's ref; on a loss find out whether the claim still stands."""
        (outcome,) = self._bus.swap([Update(attempt.chain.ref, attempt.chain.tip, commit)])
        if outcome is Outcome.LOST:
            chain = self._bus.load(attempt.chain.ref)
            if chain.held and chain.claim_oid == attempt.claim_oid:
                self._say(f"{chain.job.id}: writing over a foreign commit: {chain.fault}")
                attempt.chain = chain
            else:
                attempt.cancel()
                self._let_go(attempt, f"fenced off: the bus says {chain.state}")
        return outcome is Outcome.WON

    def _let_go(self, attempt: Attempt, why: str) -> None:
        del self._attempts[attempt.request.id]
        self._log_at.pop(attempt.request.id, None)
        self._say(f"{attempt.request.id}: {why}")
        self._tidy()

    def _tidy(self) -> None:
        """Delete the folders of all but the latest ended jobs."""
        busy = {attempt.folder for attempt in self._attempts.values()}
        folders = [path for path in (self._config.state_dir / "jobs").glob("*") if path not in busy]
        folders.sort(key=lambda path: path.stat().st_mtime)
        for folder in folders[: max(0, len(folders) - self._config.keep_jobs)]:
            shutil.rmtree(folder, ignore_errors=True)
