"""What this runner knows of the bus's jobs: which wait, since when, and what it decided of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from bridge.bus.chain import Chain, subject_event
from bridge.bus.interface import Bus
from bridge.bus.lease import lease_of, sign_of_life
from bridge.bus.view import Snapshot
from bridge.errors import BusError, IntegrityError, KakeyaError
from bridge.git import RefTip
from bridge.records import Decline, Heartbeat, Resources, clean_text
from bridge.runner.config import RunnerConfig
from bridge.runner.policy import Decision, Pass, decide, fits, order_queue, subtract
from bridge.runner.signature import find_signer
from bridge.runner.trust import Trust
from bridge.runner.workspace import is_merged
from bridge.states import TERMINAL_EVENTS, Event, State

LOADS_PER_LOOK = 16  # a flood of requests may not keep the heart from beating
_QUEUED = frozenset({Event.REQUEST, Event.REQUEUE})


class Haste(IntEnum):
    """How soon a job should be read, by what its tip says of itself; the least is read first."""

    QUEUED = 0
    UNDER_WAY = 1
    ENDED = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A queued job and what this runner would do with it."""

    chain: Chain
    decision: Decision


@dataclass(frozen=True, slots=True)
class ForeignHold:
    """Another runner's claim, with the sign of life that its heartbeat gives it."""

    chain: Chain
    mark: str | None
    lease_s: float
    heartbeat_s: float


class Queue:
    """The runner's view of one bus.

    Args:
        config: labels, slots and policy.
        trust: presets come from here.
        chance: spreads the order among racing runners.
        note: told each chain that was read.

    Attributes:
        only: id of the one job that is wanted, None for any.
    """

    def __init__(
        self,
        config: RunnerConfig,
        trust: Trust,
        chance: random.Random,
        note: Callable[[Chain], None] = lambda _: None,
    ) -> None:
        self._config, self._trust, self._chance = config, trust, chance
        self._note = note
        self._tips: dict[str, RefTip] = {}
        self._labels: dict[str, tuple[str, int]] = {}
        self._chains: dict[str, Chain] = {}
        self._beats: dict[str, tuple[str, Heartbeat | None]] = {}
        self._order: dict[str, int] = {}
        self._seen_at: dict[str, float] = {}
        self._still_since: dict[str, float] = {}
        self._now_s: float | None = None
        self._declined: dict[str, Decline] = {}
        self._unreadable: dict[str, str] = {}
        self._decisions: dict[str, tuple[str, Decision]] = {}
        self._merged: dict[str, bool] = {}
        self._signers: dict[str, str] = {}
        self._counter = 0
        self.claims_made = 0
        self.only: str | None = None
        self.executors = tuple(config.executors)

    def update(self, snapshot: Snapshot, now_s: float) -> bool:
        """Take over a poll; whether a job came, ended or went.

        The steps of a job under way do not count: nothing is to be done about them, and four
        runners that hurry after each other's logs take a third of a core each.
        """
        tips = {ref: tip for ref, (_, tip) in snapshot.jobs.items()}
        moved = [ref for ref, tip in tips.items() if self._oid(ref) != tip.oid]
        urgent = {_haste(tips[ref]) for ref in moved} - {Haste.UNDER_WAY}
        changed = bool(urgent) or len(tips) != len(self._tips)
        self._labels = {ref: (job.label, job.priority) for ref, (job, _) in snapshot.jobs.items()}
        for ref in moved:
            # what stood here when this session came may have stood for long
            self._still_since[ref] = float("-inf") if self._now_s is None else now_s
            if ref not in self._order:
                self._counter += 1
                self._order[ref] = self._counter
                self._seen_at[ref] = now_s
        self._tips, self._now_s = tips, now_s
        for known in (
            self._order,
            self._seen_at,
            self._still_since,
            self._chains,
            self._declined,
            self._unreadable,
            self._decisions,
        ):
            for ref in [ref for ref in known if ref not in tips]:
                del known[ref]
        return changed

    def _oid(self, ref: str) -> str | None:
        tip = self._tips.get(ref)
        return tip.oid if tip else None

    def is_expired(self, chain: Chain, now_s: float) -> bool:
        """Whether the job has waited past its queue timeout since this runner first saw it."""
        limit_s = chain.request.queue_timeout_s if chain.request else None
        waited_s = now_s - self._seen_at.get(chain.ref, now_s)
        return limit_s is not None and waited_s > limit_s

    def forget(self, ref: str) -> None:
        """The ref moved, or may have: read it again before deciding anything."""
        self._chains.pop(ref, None)
        self._tips.pop(ref, None)

    def candidates(self, bus: Bus, own: Container[str]) -> Iterator[Candidate]:
        """Queued jobs with a label of ours, in the order in which they should be tried.

        Args:
            bus: read where a job moved.
            own: ids of the jobs that this session holds.
        """
        self._read_moved(bus, own)
        waiting = [
            ref
            for ref in self._tips
            if self._is_known(ref)
            and self._chains[ref].state is State.QUEUED
            and self._labels[ref][0] in self._config.labels
            and self.only in (None, self._chains[ref].job.id)
        ]
        if any((request := self._chains[ref].request) and request.reuse for ref in waiting):
            self._read_moved(bus, own, ended_too=True)  # one that just ended may answer it
        priorities = {ref: self._labels[ref][1] for ref in waiting}
        for ref in order_queue(waiting, priorities, self._order, self.claims_made, self._chance):
            chain = self._chains[ref]
            decision = self._decide(bus, chain)
            if isinstance(decision, Pass):
                detail = clean_text(decision.detail, 500)
                self._declined[ref] = Decline(chain.job.id, decision.reason, detail)
            else:
                self._declined.pop(ref, None)
            yield Candidate(chain, decision)

    def held(self, bus: Bus, snapshot: Snapshot, own: Container[str]) -> Iterator[ForeignHold]:
        """Every claim in force but this session's, with its runner's sign of life."""
        self._read_moved(bus, own)
        for ref in list(self._tips):
            chain = self._chains[ref] if self._is_known(ref) else None
            if chain is None or chain.job.id in own or not chain.held:
                continue
            assert chain.claim is not None
            assert chain.claim_oid is not None
            beat_ref = bus.refs.heartbeat(chain.claim.runner)
            beat_tip = snapshot.heartbeats.get(beat_ref)
            beat = self._beat(bus, beat_tip) if beat_tip else None
            mark = sign_of_life(chain.claim_oid, beat_tip.oid if beat_tip else None, beat)
            yield ForeignHold(chain, mark, lease_of(chain.claim), chain.claim.heartbeat_s)

    def _read_moved(self, bus: Bus, own: Container[str], *, ended_too: bool = False) -> None:
        """Read the jobs that moved, the first few of them, by one fetch.

        What a commit's subject says only decides what is read when: anybody can write anything
        there, so every chain is read before it counts as held or ended. But what says that it
        waits for nobody is read only when it has stood still for a heartbeat: while others work,
        that saves most reads, and nothing is ever decided of a job that still moves.

        Args:
            bus: where the jobs are read.
            own: ids of the jobs that this session holds.
            ended_too: read at once what says that it has ended, too.
        """
        due = {Haste.QUEUED, Haste.ENDED} if ended_too else {Haste.QUEUED}
        moved = [
            ref
            for ref, tip in self._tips.items()
            if not self._is_known(ref)
            and self._unreadable.get(ref) != tip.oid
            and ref.rpartition("/")[2][1:] not in own
            and (_haste(tip) in due or self._stood_s(ref) >= self._config.profile.heartbeat_s)
        ]
        moved.sort(key=lambda ref: (_haste(self._tips[ref]), self._labels[ref][1]))
        first = moved[:LOADS_PER_LOOK]
        if len(first) > 1:
            for chain in bus.load_all(first):
                self._chains[chain.ref] = chain
                self._note(chain)
        for ref in first:  # alone, or left out above: then the reason is found here
            self._load(bus, ref)

    def _stood_s(self, ref: str) -> float:
        assert self._now_s is not None
        return self._now_s - self._still_since[ref]

    def _is_known(self, ref: str) -> bool:
        return ref in self._chains and self._chains[ref].tip == self._tips[ref].oid

    def decline_busy(self, chain: Chain, detail: str) -> None:
        """Say in the next heartbeat that only room is lacking."""
        self._declined[chain.ref] = Decline(chain.job.id, "busy", detail)

    def declines(self) -> tuple[Decline, ...]:
        """What the heartbeat lists: why each waiting job is left alone."""
        return tuple(self._declined.values())[:200]

    def free(self, used: Sequence[Resources]) -> Resources:
        """What is free beside the jobs in `used`."""
        return subtract(self._config.slots, used)

    def has_room(self, wanted: Resources, used: Sequence[Resources]) -> bool:
        """Whether a job fits beside those in `used`."""
        return fits(wanted, self.free(used))

    def _decide(self, bus: Bus, chain: Chain) -> Decision:
        """What is done with a job; asked anew only where the answer can change in a session."""
        tip, decision = self._decisions.get(chain.ref, (None, None))
        if decision is None or tip != chain.tip or _may_change(decision):
            decision = self._decide_anew(bus, chain)
            self._decisions[chain.ref] = (chain.tip, decision)
        return decision

    def _decide_anew(self, bus: Bus, chain: Chain) -> Decision:
        return decide(
            chain,
            self._config,
            self._trust.catalog,
            self.executors,
            self._is_merged,
            lambda found: self._signer(bus, found),
        )

    def _signer(self, bus: Bus, chain: Chain) -> str:
        if chain.tip not in self._signers:
            assert self._config.allowed_signers is not None
            self._signers[chain.tip] = find_signer(chain, bus.read, self._config.allowed_signers)
        return self._signers[chain.tip]

    def _is_merged(self, commit: str) -> bool:
        if not self._merged.get(commit):
            self._merged[commit] = is_merged(self._config.trusted, commit, self._trust.commit)
        return self._merged[commit]

    def _load(self, bus: Bus, ref: str) -> None:
        if self._is_known(ref):
            return
        try:
            self._chains[ref] = bus.load(ref)
            self._note(self._chains[ref])
        except IntegrityError:
            # bytes that no program of ours wrote: `bus check` names them, the runner lives on
            self._unreadable[ref] = self._tips[ref].oid
        except BusError:
            if bus.peek(ref) is not None:  # else it has gone since the poll
                self._unreadable[ref] = self._tips[ref].oid

    def _beat(self, bus: Bus, tip: RefTip) -> Heartbeat | None:
        known = self._beats.get(tip.ref)
        if known is None or known[0] != tip.oid:
            try:
                self._beats[tip.ref] = (tip.oid, bus.load_heartbeat(tip.ref))
            except KakeyaError:
                self._beats[tip.ref] = (tip.oid, None)
        return self._beats[tip.ref][1]


def _may_change(decision: Decision) -> bool:
    """Code that is not merged today may be pulled tomorrow."""
    return isinstance(decision, Pass) and decision.reason == "policy"


def _haste(tip: RefTip) -> Haste:
    event = subject_event(tip.subject)
    if event is None or event in _QUEUED:  # what says nothing is looked at
        return Haste.QUEUED
    return Haste.ENDED if event in TERMINAL_EVENTS else Haste.UNDER_WAY
