"""Steps that anyone may take on a job: cancel or expire it, and reap a silent runner's claim. Pure.

Runners and waiting clients share these, so that both write the same record for the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.bus.chain import Chain
from bridge.bus.commits import compose_step
from bridge.objects import Identity, Prepared
from bridge.records import Requeue, Result, clean_text
from bridge.states import Event

_MAX_REASON = 300
_MAX_MESSAGE = 2_000
_MAX_PROBLEM = 1_000
_MAX_PROBLEMS = 64


@dataclass(frozen=True, slots=True)
class Signer:
    """Who writes a step, and what makes its commit unlike any other.

    Attributes:
        by: the name in the record.
        author: the commit's author.
        nonce: fresh randomness, 16 to 64 hex digits.
        when_s: Unix time, for people alone.
    """

    by: str
    author: Identity
    nonce: str
    when_s: int


def compose_end(
    chain: Chain, event: Event, message: str, signer: Signer, problems: Sequence[str] = ()
) -> Prepared:
    """The commit that ends a job with no result: cancelled, rejected, expired or lost."""
    result = Result(
        state=event.value,
        request=chain.request_digest,
        request_commit=chain.request_oid,
        attempt=chain.attempt,
        by=clean_text(signer.by, 200),
        nonce=signer.nonce,
        message=clean_text(message, _MAX_MESSAGE),
        claim=chain.claim_oid,
        problems=tuple(clean_text(line, _MAX_PROBLEM) for line in problems[:_MAX_PROBLEMS]),
    )
    return compose_step(chain, event, result, author=signer.author, when_s=signer.when_s)


def compose_requeue(chain: Chain, reason: str, signer: Signer) -> Prepared:
    """The commit that takes a claim away and puts the job back into the queue."""
    assert chain.request_digest is not None
    assert chain.claim_oid is not None
    record = Requeue(
        request=chain.request_digest,
        claim=chain.claim_oid,
        attempt=chain.attempt,
        reason=clean_text(reason, _MAX_REASON),
        by=clean_text(signer.by, 200),
        nonce=signer.nonce,
    )
    return compose_step(chain, Event.REQUEUE, record, author=signer.author, when_s=signer.when_s)


def compose_reap(chain: Chain, reason: str, signer: Signer, *, wished: bool) -> Prepared:
    """The commit that answers a claim whose runner is gone.

    Args:
        chain: a held job.
        reason: why the claim counts as dead.
        signer: who reaps.
        wished: somebody wished the job cancelled (`<root>/ctl/<id>`): then it is not queued again.
    """
    assert chain.request is not None
    if wished:
        return compose_end(chain, Event.CANCELLED, f"cancelled on request; {reason}", signer)
    if chain.attempt >= chain.request.max_attempts:
        story = f"lost after attempt {chain.attempt} of {chain.request.max_attempts}; {reason}"
        return compose_end(chain, Event.LOST, story, signer)
    return compose_requeue(chain, reason, signer)
