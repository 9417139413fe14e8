"""Looking at every ref of a bus for what is broken, stuck, foreign or left over.

It works where a poll does not: one ref that points nowhere fails the fetch of all the others, so
the refs are listed first and then read one kind at a time.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.bus.chain import Chain
from bridge.bus.refs import is_name
from bridge.bus.requester import RequesterBus
from bridge.bus.retention import Retention
from bridge.canonical import is_ulid
from bridge.client.artifacts import make_store
from bridge.client.check_art import check_arts
from bridge.client.fleet import RunnerView, read_fleet
from bridge.client.outcomes import status_of
from bridge.client.why import explain
from bridge.clock import Clock
from bridge.errors import BusError, KakeyaError
from bridge.git import RefTip

FAULT, WARNING = "fault", "warning"
_NOWHERE = "0" * 40
_CHUNK = 50
_GRAMMAR: dict[str, Callable[[str], object]] = {
    "hb": is_name,
    "ctl": is_ulid,
    "camp": is_ulid,
    "key": re.compile(r"[0-9a-f]{64}\Z").match,
    "art": re.compile(r"[0-9a-f]{64}\Z").match,
    "code": re.compile(r"[0-9a-f]{40}\Z").match,
    "archive": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z").match,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: zero-length, broken, grammar, other-bus, malformed, foreign, forged, replayed, moved,
            newer, twice, came-back, stuck, key, wish, heartbeat, artifact, ledger or crowded.
        level: fault or warning.
        ref: what it is about; the bus's address where it is about all of it.
        text: what was found.
        remedy: what to do.
    """

    kind: str
    level: str
    ref: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Check:
    """What a look at a whole bus came to; `refs` is how many there are."""

    refs: int
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether no fault was found."""
        return all(item.level != FAULT for item in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The check as `--json` prints it."""
        return {
            "schema": "kakeya.check/1",
            "healthy": self.healthy,
            "refs": self.refs,
            "findings": [
                {
                    "kind": item.kind,
                    "level": item.level,
                    "ref": item.ref,
                    "text": item.text,
                    "remedy": item.remedy,
                }
                for item in self.findings
            ],
        }


def check_bus(bus: RequesterBus, clock: Clock) -> Check:
    """Look at every ref below the bus's root.

    Raises:
        BusError: the bus does not even list its refs.
        UsageError: it is no bus.
    """
    listed = bus.list_refs()
    return Check(len(listed), tuple(_Inspection(bus, clock, listed).findings()))


class _Inspection:
    """One look at one bus; `listed` is every ref and what it points at."""

    def __init__(self, bus: RequesterBus, clock: Clock, listed: Mapping[str, str]) -> None:
        self._bus, self._clock = bus, clock
        self._whole = {ref: oid for ref, oid in listed.items() if oid != _NOWHERE}
        self._empty = sorted(listed.keys() - self._whole.keys())
        self._ids: dict[str, list[str]] = {}
        for ref in self._whole:
            job = bus.refs.parse_job(ref)
            if job is not None:
                self._ids.setdefault(job.id, []).append(ref)

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong, the worst first."""
        for ref in self._empty:
            text = "it is empty or no object's name: every push and every poll of the bus fails"
            cure = self._on_server(f"delete the file {shlex.quote(ref)}")
            yield Finding("zero-length", FAULT, ref, text, cure)
        try:
            self._bus.identity()
        except KakeyaError as error:
            yield Finding("ledger", FAULT, self._bus.refs.ledger, error.message, error.remedy)
            return
        yield from self._names()
        yield from self._jobs()
        yield from self._beside()

    def _on_server(self, action: str) -> str:
        return f"on the server, in the bare repository: {action}"

    def _delete(self, ref: str) -> str:
        bus, name = shlex.quote(self._bus.url), shlex.quote(ref)
        return f"look at it (git fetch {bus} {name}), then: git push {bus} --delete {name}"

    def _names(self) -> Iterator[Finding]:
        for ref in sorted(self._whole):
            rest = ref.removeprefix(f"{self._bus.refs.root}/")
            kind, _, name = rest.partition("/")
            known = rest == "ledger" or self._bus.refs.parse_job(ref) is not None
            if not known and not (kind in _GRAMMAR and _GRAMMAR[kind](name)):
                text = "no name of the protocol; nobody reads it"
                yield Finding("grammar", FAULT, ref, text, self._delete(ref))

    # -- jobs ------------------------------------------------------------------------------

    def _jobs(self) -> Iterator[Finding]:
        refs = sorted(ref for refs in self._ids.values() for ref in refs)
        for job_id, twins in sorted(self._ids.items()):
            for twin in sorted(twins)[1:]:
                text = f"the job {job_id} is at {sorted(twins)[0]} as well"
                yield Finding("twice", FAULT, twin, text, self._delete(twin))
        folded = self._bus.ledger.holds(self._ids)
        for ref in (ref for job_id in sorted(folded) for ref in self._ids[job_id]):
            text = "the ledger holds this job's end already; it came back after that"
            yield Finding("came-back", FAULT, ref, text, self._delete(ref))
        fleet = self._fleet()
        chains: dict[str, Chain] = {}
        for start in range(0, len(refs), _CHUNK):
            chunk = refs[start : start + _CHUNK]
            chains |= {chain.ref: chain for chain in self._bus.load_all(chunk)}
        for ref in refs:
            chain = chains.get(ref)
            if chain is None:
                yield from self._unreadable(ref)
            elif not chain.archive:  # else it was folded since the refs were listed
                yield from self._chain(chain, fleet)
        ended = sum(chain.ended for chain in chains.values())
        if len(refs) > Retention().keep and ended:
            text = f"{len(refs)} jobs have refs of their own, {ended} of them ended"
            cure = "kakeya_remote bus fold --keep 50"
            yield Finding("crowded", WARNING, self._bus.url, text, cure)

    def _unreadable(self, ref: str) -> Iterator[Finding]:
        try:
            self._bus.load(ref)
        except BusError as error:
            text = f"it points at nothing that the bus has: {error.message}"
            cure = self._on_server(f"git update-ref -d {shlex.quote(ref)}")
            yield Finding("broken", FAULT, ref, text, f"{cure}; then submit the job again")
        except KakeyaError as error:
            if self._bus.peek(ref) is not None:
                yield Finding("broken", FAULT, ref, error.message, self._delete(ref))

    def _chain(self, chain: Chain, fleet: Sequence[RunnerView]) -> Iterator[Finding]:
        status = status_of(chain)
        if chain.state is None:
            text = f"not even the request can be read: {chain.fault}"
            yield Finding("broken", FAULT, chain.ref, text, self._delete(chain.ref))
            return
        elsewhere = [line for line in chain.problems if line.startswith("$.bus:")]
        if elsewhere:
            text = f"a request of another bus: {elsewhere[0]}"
            cure = f"submit it here anew; kakeya_remote cancel {chain.job.id} ends this one"
            yield Finding("other-bus", FAULT, chain.ref, text, cure)
        elif chain.problems and not chain.ended:
            text = f"malformed: {chain.problems[0]}"
            cure = "nothing: the first runner that has its label rejects it"
            yield Finding("malformed", WARNING, chain.ref, text, cure)
        if chain.newer:
            cure = "upgrade kakeya_remote here, or ask a runner of that version"
            yield Finding("newer", WARNING, chain.ref, chain.newer, cure)
            return
        if chain.fault:
            kind = str(chain.fault_kind or "foreign")
            yield Finding(kind, FAULT, chain.ref, chain.fault, self._about_foreign(chain))
        found = explain(status, fleet)
        if found.stuck and not chain.problems:
            cure = f"kakeya_remote why {chain.job.id}; start or repair a runner, or cancel the job"
            yield Finding("stuck", FAULT, chain.ref, found.message, cure)

    def _about_foreign(self, chain: Chain) -> str:
        who = f"git log {chain.tip[:12]} says who pushed it"
        if chain.ended:
            return f"the job's end stands, bus fold takes it in; {who}"
        return f"what stood before it stands, the next step is written over it; {who}"

    def _fleet(self) -> tuple[RunnerView, ...]:
        try:
            return read_fleet(self._bus, self._clock)
        except BusError:
            return ()  # a heartbeat's ref is broken: told below

    # -- beside the jobs -------------------------------------------------------------------

    def _beside(self) -> Iterator[Finding]:
        for ref in sorted(self._whole):
            kind, _, name = ref.removeprefix(f"{self._bus.refs.root}/").partition("/")
            if kind == "ctl" and is_ulid(name):
                yield from self._wish(ref, name)
            elif kind == "key" and _GRAMMAR["key"](name):
                yield from self._key(ref)
            elif kind == "hb" and is_name(name):
                yield from self._heartbeat(ref)
        yield from self._arts()

    def _arts(self) -> Iterator[Finding]:
        if not any(ref.startswith(f"{self._bus.refs.root}/art/") for ref in self._whole):
            return
        tips = [tip for ref, tip in self._bus.arts().items() if ref in self._whole]
        store = make_store(self._bus, lambda _: None)
        for found in check_arts(self._bus, store, tips, self._ids, self._delete):
            yield Finding("artifact", *found)

    def _wish(self, ref: str, job_id: str) -> Iterator[Finding]:
        if job_id not in self._ids:
            text = "a cancel wish for a job that is not there"
            yield Finding("wish", WARNING, ref, text, "kakeya_remote bus fold removes it")

    def _key(self, ref: str) -> Iterator[Finding]:
        try:
            note = self._bus.load_key(ref)
        except KakeyaError as error:
            text = f"no idempotency key: {error}"
            yield Finding("key", FAULT, ref, text, self._delete(ref))
            return
        if note is not None and note.id not in self._ids and not self._bus.ledger.holds([note.id]):
            text = f"it leads to the job {note.id}, which is neither live nor in the ledger"
            yield Finding("key", FAULT, ref, text, self._delete(ref))

    def _heartbeat(self, ref: str) -> Iterator[Finding]:
        if self._bus.read_beat(RefTip(ref, self._whole[ref], "")) is None:
            text = "it holds no heartbeat of that runner, or one of a newer version"
            cure = "bring the runner and this program to one version, or: " + self._delete(ref)
            yield Finding("heartbeat", WARNING, ref, text, cure)
