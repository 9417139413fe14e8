"""Who vouches for a step of a job, and what is wrong where nobody rightly does. Pure.

A step that only a runner may take is signed with that runner's key. What a list of enrolled keys
says decides between *enrolled* and *not enrolled*; a step that contradicts the list, or its own
claim, is forged and counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bridge.errors import IntegrityError
from bridge.objects import Sealed
from bridge.signers import Keyring
from bridge.sshsig import GIT, read_signature
from bridge.states import Event

RUNNER_EVENTS = frozenset({Event.CLAIM, Event.LOG, Event.DONE, Event.FAILED, Event.REJECTED})
"""What nobody but a runner may write; the rest of the steps are anybody's."""
SIGNED_STEPS = "steps: signed"
"""A line in the message of a request whose client expects signed steps of enrolled runners."""
_MAX_MOVES = 200


class Fault(StrEnum):
    """Why a commit on a job's branch counts for nothing."""

    FOREIGN = "foreign"
    FORGED = "forged"
    REPLAYED = "replayed"
    MOVED = "moved"


class Word(StrEnum):
    """How a step is vouched for."""

    ENROLLED = "enrolled"
    UNENROLLED = "not enrolled"
    UNSIGNED = "unsigned"
    VOID = "void"


_RANK = {Word.ENROLLED: 0, Word.UNENROLLED: 1, Word.UNSIGNED: 2, Word.VOID: 3}


@dataclass(frozen=True, slots=True)
class Standing:
    """Who vouches for what a runner wrote.

    Attributes:
        word: enrolled, not enrolled, unsigned, or void where a signature counts for nothing any
            more in a job that was folded before.
        runner: the name in the record.
        key: fingerprint of the key that signed, "" where none did.
        why: why it is void.
    """

    word: Word
    runner: str
    key: str = ""
    why: str = ""

    def __str__(self) -> str:
        if self.word is Word.ENROLLED:
            return f"signed by {self.runner}, enrolled ({self.key})"
        if self.word is Word.UNENROLLED:
            return f"signed by {self.runner}, who is not enrolled ({self.key})"
        if self.word is Word.VOID:
            return f"void: {self.why}"
        return f"unsigned: nobody vouches that {self.runner} wrote it"


class ForgedError(IntegrityError):
    """A signature is missing, does not fit, or is by a key that may not sign this."""


def weaker(one: Standing | None, two: Standing) -> Standing:
    """The one of two standings that vouches for less."""
    return two if one is None or _RANK[two.word] >= _RANK[one.word] else one


def vouch(
    event: Event,
    runner: str,
    sealed: Sealed | None,
    keyring: Keyring,
    *,
    claim: Standing | None,
    strict: bool,
) -> Standing:
    """The standing of a step.

    Args:
        event: what the step records.
        runner: who it says wrote it.
        sealed: its signature, None where it has none.
        keyring: the keys that the reader knows.
        claim: the standing of the claim that the step answers, None for a claim and the like.
        strict: whether the request came with `SIGNED_STEPS`, so that a step without a signature
            cannot be of a runner older than signatures.

    Raises:
        ForgedError: the step counts for nothing.
    """
    if sealed is None:
        _check_unsigned(event, runner, keyring, claim, strict=strict)
        return Standing(Word.UNSIGNED, runner)
    key = _checked_key(sealed, keyring)
    owner = keyring.names.get(key)
    if event in RUNNER_EVENTS:
        _check_owner(runner, key, owner, keyring)
        if claim is not None and claim.key and key != claim.key and owner != runner:
            raise ForgedError(f"signed with {key}, its claim with {claim.key}")
    return Standing(Word.ENROLLED if owner == runner else Word.UNENROLLED, runner, key)


def vouch_newer(event: Event, sealed: Sealed, keyring: Keyring, claim: Standing | None) -> None:
    """Hold a signed step that this program cannot read to what can be told of its signature.

    Raises:
        ForgedError: it is no reason to leave the job alone.
    """
    key = _checked_key(sealed, keyring)
    owner = keyring.names.get(key)
    if keyring.required and owner is None:
        raise ForgedError("it is of a newer program, by a runner that is not enrolled")
    answers = claim if event in RUNNER_EVENTS else None
    if answers is not None and answers.key and key != answers.key and owner != answers.runner:
        raise ForgedError(f"signed with {key}, its claim with {answers.key}")


def _check_unsigned(
    event: Event, runner: str, keyring: Keyring, claim: Standing | None, *, strict: bool
) -> None:
    if event not in RUNNER_EVENTS:
        return
    if claim is not None:
        if claim.key:
            raise ForgedError(f"it is not signed, though its claim by {runner!r} is")
        return
    if strict and keyring.enrols(runner):
        raise ForgedError(f"it is not signed, and {runner!r} is enrolled")
    if strict and keyring.required:
        raise ForgedError(f"it is not signed, and {runner!r} is not enrolled (require_enrolled)")


def _checked_key(sealed: Sealed, keyring: Keyring) -> str:
    try:
        signature = read_signature(sealed.signature)
    except IntegrityError as error:
        raise ForgedError(error.message) from error
    if not signature.fits(sealed.payload, GIT):
        raise ForgedError(f"its signature by {signature.fingerprint} does not fit")
    if signature.fingerprint in keyring.revoked:
        raise ForgedError(f"signed with the revoked key {signature.fingerprint}")
    return signature.fingerprint


def _check_owner(runner: str, key: str, owner: str | None, keyring: Keyring) -> None:
    if owner is not None and owner != runner:
        raise ForgedError(f"says {runner!r}, signed with the key of {owner!r}")
    if owner is None and keyring.enrols(runner):
        raise ForgedError(f"says {runner!r}, signed with {key}, which is not enrolled for it")
    if owner is None and keyring.required:
        raise ForgedError(f"{runner!r} is not enrolled (require_enrolled)")


def stood_on(sealed: Sealed, places: Iterable[str]) -> str | None:
    """The commit that a signed one was made to stand on, None where it is none of `places`.

    Who copies a commit to another place can keep its signature, which then fits with the parent
    that it had.
    """
    try:
        signature = read_signature(sealed.signature)
    except IntegrityError:
        return None
    lines = sealed.payload.split(b"\n")
    at = next((n for n, line in enumerate(lines[:4]) if line.startswith(b"parent ")), None)
    if at is None:
        return None
    for place in list(places)[-_MAX_MOVES:]:
        payload = b"\n".join([*lines[:at], b"parent " + place.encode(), *lines[at + 1 :]])
        if signature.fits(payload, GIT):
            return place
    return None
