"""The records and commits that a runner writes, made from what it knows. Decides nothing."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace

from bridge import wire
from bridge.bus.chain import Chain, Link
from bridge.bus.commits import compose_step, runner_identity
from bridge.bus.endings import Signer
from bridge.objects import Prepared
from bridge.records import Claim, LogChunk, Result
from bridge.runner.attempt import Attempt
from bridge.runner.config import RunnerConfig
from bridge.runner.policy import Take
from bridge.states import Event, next_state

Record = Claim | LogChunk | Result


class Steps:
    """Writes one runner's steps.

    Args:
        config: who writes, and under which lease.
        wall: Unix seconds, for people alone.
        sign: signs its commits, None where nothing does.
    """

    def __init__(
        self,
        config: RunnerConfig,
        wall: Callable[[], float],
        sign: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.author = runner_identity(config.name, sign)
        self._config = config
        self._wall = wall

    def compose(
        self, chain: Chain, event: Event, record: Record, files: Mapping[str, bytes] | None = None
    ) -> Prepared:
        """The commit of one step."""
        return compose_step(
            chain,
            event,
            record,
            author=self.author,
            when_s=int(self._wall()),
            files=files,
        )

    def claim(self, chain: Chain, take: Take, session: str, trusted: str) -> Claim:
        """The claim of a queued job."""
        profile = self._config.profile
        return Claim(
            request=wire.digest_of(take.request),
            attempt=chain.attempt,
            runner=self._config.name,
            session=session,
            trusted=trusted,
            preset=take.preset.digest,
            executor=take.executor,
            isolation=self._config.isolation,
            lease_s=profile.lease_s,
            heartbeat_s=profile.heartbeat_s,
            nonce=secrets.token_hex(8),
        )

    def log(self, attempt: Attempt, chain: Chain) -> tuple[LogChunk, dict[str, bytes]] | None:
        """The next chunk of log or progress with its file, None if there is nothing new."""
        piece, progress = attempt.take_log(), attempt.take_progress()
        checkpoint = attempt.take_checkpoint()
        moved = progress is not None and progress != chain.progress
        if not piece and not moved and checkpoint in (None, chain.checkpoint):
            return None
        chunk = LogChunk(
            request=attempt.claim.request,
            claim=attempt.claim_oid,
            attempt=attempt.claim.attempt,
            sequence=chain.log_sequence + 1,
            bytes=len(piece),
            nonce=secrets.token_hex(8),
            progress=progress,
            checkpoint=checkpoint,
        )
        name = f"logs/{chunk.attempt}-{chunk.sequence:06d}.txt"
        return chunk, ({name: piece} if piece else {})

    def ending(self, attempt: Attempt, chain: Chain) -> Result:
        """The terminal record of an attempt that ended."""
        ended = attempt.ended
        assert ended is not None
        return Result(
            state=ended.state,
            request=attempt.claim.request,
            request_commit=chain.request_oid,
            attempt=attempt.claim.attempt,
            by=self._config.name,
            nonce=secrets.token_hex(8),
            message=ended.message,
            claim=attempt.claim_oid,
            exit=ended.exit,
            verdict=ended.verdict,
            evidence=ended.evidence,
            artifacts=ended.artifacts,
            work=ended.work,
            reused_from=ended.reused_from,
        )

    def signer(self) -> Signer:
        """The hand that this runner has under a step that anyone may take."""
        return Signer(self._config.name, self.author, secrets.token_hex(8), int(self._wall()))


def advance(chain: Chain, event: Event, record: Record, commit: Prepared) -> Chain:
    """The chain after a step of our own that won, without asking the bus again."""
    subject = f"kakeya: {event.value}"
    changes: dict[str, object] = {}
    if isinstance(record, Claim):
        changes = {"claim": record, "claim_oid": commit.oid, "log_sequence": 0, "progress": None}
    elif isinstance(record, LogChunk):
        changes = {
            "log_sequence": record.sequence,
            "progress": record.progress or chain.progress,
            "checkpoint": record.checkpoint or chain.checkpoint,
        }
    elif isinstance(record, Result):
        changes = {"result": record}
    return replace(
        chain,
        tip=commit.oid,
        head=commit.oid,
        state=next_state(chain.state, event),
        links=(*chain.links, Link(commit.oid, event, subject)),
        files=commit.files,
        fault=None,
        **changes,  # type: ignore[arg-type]
    )
