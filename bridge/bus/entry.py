"""An ended job as the ledger keeps it: one record beside the files of its last valid commit. Pure.

The log stays with the chain, in the archive of the day, and goes when that is expired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from bridge import records
from bridge.bus.chain import Chain, Commit, Link, read_chain
from bridge.bus.refs import JobRef
from bridge.errors import IntegrityError
from bridge.records import Claim, LedgerEntry, Result, Step, clean_text
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
    )


def restore_chain(
    entry: LedgerEntry,
    job: JobRef,
    files: Mapping[str, str],
    read_blob: Callable[[str], bytes],
    *,
    bus_id: str | None,
) -> Chain:
    """The chain that an entry tells of, without its log.

    Args:
        entry: the record.
        job: its ref taken apart.
        files: what the ledger keeps: path to blob id.
        read_blob: content of a blob.
        bus_id: the bus's own id, None if unknown.

    Raises:
        IntegrityError: the result is not bound to the request beside it.
        ManifestError: a record does not parse.
    """
    first = Commit(entry.request_commit, (), entry.steps[0].subject, files)
    asked = read_chain(entry.ref, job, [first], read_blob, bus_id=bus_id)
    if "result.json" not in files:
        raise IntegrityError("the ledger's entry holds no result", where=entry.ref)
    result = cast("Result", records.parse("result", read_blob(files["result.json"])))
    bound = (result.request, result.request_commit) == (asked.request_digest, asked.request_oid)
    if not bound or result.state != entry.steps[-1].event:
        raise IntegrityError("the ledger's result is bound to another request", where=entry.ref)
    claim: Claim | None = None
    if result.claim is not None and "claim.json" in files:
        claim = cast("Claim", records.parse("claim", read_blob(files["claim.json"])))
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
        archive=entry.archive,
    )
