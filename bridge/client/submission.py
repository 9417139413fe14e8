"""Putting a request on the bus: one push, with its idempotency key in the same atomic one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from bridge import wire
from bridge.bus.commits import compose_note, compose_request, requester_identity
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome as Swap
from bridge.bus.remote import Update
from bridge.bus.requester import RequesterBus
from bridge.clock import Clock
from bridge.errors import BusError, KakeyaError, UsageError
from bridge.objects import Base, Prepared
from bridge.records import KeyNote, Request

_MAX_KEY = 200


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a request's commit has beside the request.

    Attributes:
        signature: the requester's, over the request's bytes.
        base: the commit of a branch that it stands on; None makes it an orphan.
    """

    signature: bytes | None = None
    base: Base | None = None

    def compose(self, request: Request, when_s: int) -> Prepared:
        """The commit that submits `request`."""
        return compose_request(request, when_s=when_s, signature=self.signature, base=self.base)


BARE = Envelope()


def push_request(
    bus: RequesterBus, request: Request, *, when_s: int, envelope: Envelope = BARE
) -> str:
    """Push a request as a new branch; returns its ref.

    Raises:
        BusError: the remote refuses it, or has a job of this id already.
    """
    ref = bus.refs.job(JobRef(request.label, request.priority, request.id))
    (swap,) = bus.swap([Update(ref, None, envelope.compose(request, when_s))])
    _check_swap(swap, ref)
    return ref


def push_keyed(
    bus: RequesterBus, request: Request, key: str, clock: Clock, envelope: Envelope
) -> tuple[str, str, bool]:
    """Push a request under an idempotency key, or find the job that has it.

    Returns the job's ref, its id, and whether it was created now.

    Raises:
        UsageError: another manifest has the key, or the key is too long.
        BusError: the remote refuses it.
    """
    key_ref = bus.refs.key(key_digest(key))
    taken = bus.load_key(key_ref)
    if taken is None:
        taken = _push_both(bus, request, key_ref, clock, envelope)
    if taken is None:
        return bus.refs.job(JobRef(request.label, request.priority, request.id)), request.id, True
    if taken.manifest != wire.manifest_digest(request):
        raise UsageError(
            f"the key {key!r} belongs to another manifest: job {taken.id} has "
            f"{taken.manifest}, this one is {wire.manifest_digest(request)}",
            where="--id",
            problems=_differences(bus, taken.id, request),
            remedy="use another key, or submit the same manifest again",
        )
    ref = bus.refs.job(JobRef(request.label, request.priority, taken.id))
    return ref, taken.id, False


def key_digest(key: str) -> str:
    """The name of a key's ref: any text is taken, and none of it reaches a ref.

    Raises:
        UsageError: empty or longer than 200 characters.
    """
    if not key or len(key) > _MAX_KEY:
        raise UsageError(f"a key has 1 to {_MAX_KEY} characters", where="--id")
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _push_both(
    bus: RequesterBus, request: Request, key_ref: str, clock: Clock, envelope: Envelope
) -> KeyNote | None:
    """Create job and key in one push; returns who had the key, None where it is ours now."""
    when_s = int(clock.wall_s())
    note = KeyNote(request.id, wire.manifest_digest(request), clock.nonce())
    author = requester_identity(request.requested_by)
    subject = f"key of {request.id}, by {request.requested_by}"
    ref = bus.refs.job(JobRef(request.label, request.priority, request.id))
    updates = [
        Update(ref, None, envelope.compose(request, when_s)),
        Update(key_ref, None, compose_note("key.json", note, subject, author, when_s)),
    ]
    swap = bus.swap(updates, atomic=True)[0]
    if swap is Swap.WON:
        return None
    taken = bus.load_key(key_ref)
    if taken is None:
        _check_swap(swap, ref)
    return taken


def _check_swap(swap: Swap, ref: str) -> None:
    if swap is not Swap.WON:
        raise BusError(
            "the remote did not take the request",
            where=ref,
            remedy="try again; kakeya_remote doctor says whether this machine may push",
        )


def _differences(bus: RequesterBus, job_id: str, request: Request) -> tuple[str, ...]:
    """Which fields differ from the job that has the key, as far as it can still be read."""
    ref = bus.find(job_id)
    if ref is None:
        return ()
    try:
        earlier = bus.load(ref).request
    except KakeyaError:
        return ()
    if earlier is None:
        return ()
    old, new = wire.to_json(earlier), wire.to_json(request)
    free = {"id", "nonce", "requested_at"}
    return tuple(
        f"$.{name}: {old.get(name)!r} there, {new.get(name)!r} here"[:300]
        for name in sorted((old.keys() | new.keys()) - free)
        if old.get(name) != new.get(name)
    )
