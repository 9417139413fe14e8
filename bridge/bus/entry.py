"""An ended job as the ledger keeps it: one record beside the files of its last valid commit. Pure.

The log stays with the chain, in the archive of the day, and goes when that is expired.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from bridge import wire
from bridge.bus.chain import Chain, Commit, Link, read_chain
from bridge.bus.refs import JobRef
from bridge.bus.standing import RUNNER_EVENTS, ForgedError, Standing, Word, vouch
from bridge.errors import IntegrityError
from bridge.objects import GitObject, Sealed, build_files, parse_commit, parse_tree
from bridge.records import Claim, LedgerEntry, Result, Seal, Step, clean_text
from bridge.signers import Keyring
from bridge.states import Event, State

ENTRY = "entry.json"
FILES = "job"
"""In an entry's folder: the record, and the folder of the job's files."""
_LEFT_OUT = ("logs/",)
_MAX_TEXT = 300
_MAX_FAULT = 1_000


def kept_files(chain: Chain) -> dict[str, str]:
    """What of an ended job's files the ledger keeps: path to blob id."""
    return {path: oid for path, oid in chain.files.items() if not path.startswith(_LEFT_OUT)}


def make_entry(chain: Chain, archive: str) -> LedgerEntry:
    """The record of an ended job whose chain goes into the ref `archive`."""
    steps = tuple(
        Step(link.oid, link.event.value, clean_text(link.subject, _MAX_TEXT))
        for link in chain.links
        if link.event is not Event.LOG
    )
    return LedgerEntry(
        id=chain.job.id,
        ref=chain.ref,
        tip=chain.tip,
        head=chain.head,
        request_commit=chain.request_oid,
        archive=archive,
        chunks=sum(link.event is Event.LOG for link in chain.links),
        steps=steps,
        fault=None if chain.fault is None else clean_text(chain.fault, _MAX_FAULT),
        seal=_keep_seal(chain),
    )


def _keep_seal(chain: Chain) -> Seal | None:
    if chain.sealed is None:
        return None
    try:
        payload = chain.sealed.payload.decode("utf-8")
        signature = chain.sealed.signature.decode("ascii")
    except UnicodeDecodeError:
        return None  # no program of ours signed it
    root = build_files({}, chain.files, chain.base)[1][-1]
    return Seal(payload, signature, base64.b64encode(root.data).decode())


def _vouch(
    entry: LedgerEntry, result: Result, files: Mapping[str, str], keyring: Keyring
) -> Standing | None:
    """Who vouches for a folded job's end, by the signature of the commit that ended it."""
    event, runner = Event(result.state), result.by
    if event not in RUNNER_EVENTS:
        return None
    if entry.seal is None:
        return Standing(Word.UNSIGNED, runner)
    sealed = Sealed(entry.seal.payload.encode(), entry.seal.signature.encode())
    try:
        _check_tree(entry.seal, files)
        return vouch(event, runner, sealed, keyring, claim=None, strict=False)
    except (IntegrityError, ValueError) as error:
        return Standing(Word.VOID, runner, why=str(error))


def _check_tree(seal: Seal, files: Mapping[str, str]) -> None:
    """Hold the kept files to the tree that was signed."""
    root = GitObject("tree", base64.b64decode(seal.tree))
    signed = parse_tree(root.data)
    kept = parse_tree(build_files({}, files)[1][-1].data)
    if parse_commit(seal.payload.encode())[0] != root.oid or not kept.items() <= signed.items():
        raise ForgedError("its signature is not over these files")


def restore_chain(
    entry: LedgerEntry,
    job: JobRef,
    files: Mapping[str, str],
    read_blob: Callable[[str], bytes],
    *,
    bus_id: str | None,
    keyring: Keyring | None = None,
) -> Chain:
    """The chain that an entry tells of, without its log.

    Args:
        entry: the record.
        job: its ref taken apart.
        files: what the ledger keeps: path to blob id.
        read_blob: content of a blob.
        bus_id: the bus's own id, None if unknown.
        keyring: the keys that vouch for its end.

    Raises:
        IntegrityError: the result is not bound to the request beside it.
        ManifestError: a record does not parse.
    """
    first = Commit(entry.request_commit, (), entry.steps[0].subject, files)
    asked = read_chain(entry.ref, job, [first], read_blob, bus_id=bus_id)
    if "result.json" not in files:
        raise IntegrityError("the ledger's entry holds no result", where=entry.ref)
    result = cast("Result", wire.parse("result", read_blob(files["result.json"])))
    bound = (result.request, result.request_commit) == (asked.request_digest, asked.request_oid)
    if not bound or result.state != entry.steps[-1].event:
        raise IntegrityError("the ledger's result is bound to another request", where=entry.ref)
    claim: Claim | None = None
    if result.claim is not None and "claim.json" in files:
        claim = cast("Claim", wire.parse("claim", read_blob(files["claim.json"])))
    return replace(
        asked,
        tip=entry.tip,
        head=entry.head,
        state=State(result.state),
        links=tuple(Link(step.oid, Event(step.event), step.subject) for step in entry.steps),
        attempt=result.attempt,
        claim=claim,
        claim_oid=result.claim,
        result=result,
        fault=entry.fault,
        standing=_vouch(entry, result, files, keyring or Keyring()),
        archive=entry.archive,
    )
