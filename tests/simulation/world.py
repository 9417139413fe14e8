"""A bus in memory: one shared store of refs, and one faulty view of it for each actor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge import wire
from bridge.bus.chain import Chain, Commit, Link, continue_chain
from bridge.bus.endings import Signer
from bridge.bus.profile import Profile
from bridge.bus.refs import Refs
from bridge.bus.remote import Outcome, Update
from bridge.bus.view import Snapshot
from bridge.errors import BusError, IntegrityError
from bridge.git import Git, RefTip
from bridge.objects import GitObject, parse_commit, parse_tree
from bridge.records import BusIdentity, Heartbeat
from bridge.states import TERMINAL_STATES, Event, State

BUS_ID = "01K00000000000000000000000"
FASTEST = 1.25
"""How much faster than true time a machine's monotonic clock may run here."""
SLACK_S = 2.0
"""A beat that lists no claim yet, or not any more, is a sign of life of its runner alone."""


@dataclass
class World:
    """Every ref and object, and what has become of each job.

    `transitions` counts (state before, event) over all valid steps that landed.
    """

    refs: dict[str, str] = field(default_factory=dict)
    objects: dict[str, GitObject] = field(default_factory=dict)
    transitions: Counter[tuple[State | None, Event]] = field(default_factory=Counter)
    links: dict[str, tuple[Link, ...]] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)
    names: Refs = field(default_factory=Refs)
    broken: list[str] = field(default_factory=list)
    held: dict[str, Chain] = field(default_factory=dict)
    now_s: float = 0.0
    alive_s: dict[str, float] = field(default_factory=dict)
    ledger: dict[str, Chain] = field(default_factory=dict)

    def fold(self, refs: Sequence[str]) -> tuple[str, ...]:
        """Move ended jobs into the ledger, with their wishes; the ids of those that were."""
        chains = [self.load(ref) for ref in refs if ref in self.refs]
        ended = [chain for chain in chains if chain.ended and chain.ref not in self.ledger]
        for chain in ended:
            self.ledger[chain.ref] = chain
            self.refs.pop(chain.ref)
            self.refs.pop(self.names.wish(chain.job.id), None)
        return tuple(chain.job.id for chain in ended)

    def put(self, update: Update, *, leased: bool = True) -> bool:
        """Swap one ref; False where it does not stand at the old value."""
        now = self.refs.get(update.ref)
        if now != update.old and leased:
            return False
        if update.new is None:
            self.refs.pop(update.ref, None)
            return True
        for item in update.new.objects:
            self.objects[item.oid] = item
        self.refs[update.ref] = update.new.oid
        self.alive_s[update.ref] = self.now_s
        self._watch(update.ref)
        return True

    def _watch(self, ref: str) -> None:
        """Hold every move of a job against the invariants."""
        if self.names.parse_job(ref) is None:
            return
        if ref in self.ledger:
            self.broken.append(f"{ref}: came back after it was folded")
            return
        held = self.held.get(ref)
        chain = self.load(ref)
        self.held[ref] = chain
        before = self.links.get(ref, ())
        self._watch_reaping(held, chain)
        if chain.links[: len(before)] != before:
            self.broken.append(f"{ref}: history was rewritten")
        if chain.fault is not None:
            self.broken.append(f"{ref}: a step of our own does not count: {chain.fault}")
        self.links[ref] = chain.links
        state: State | None = None
        for index, link in enumerate(chain.links):
            if state in TERMINAL_STATES:
                self.broken.append(f"{ref}: {link.event.value} after the end")
            if index >= len(before):
                self.transitions[(state, link.event)] += 1
            state = _after(state, link.event)

    def _watch_reaping(self, held: Chain | None, chain: Chain) -> None:
        """Nobody takes a claim from a runner that beat within its lease."""
        if held is None or held.claim is None or chain.claim is not None or chain.ended:
            return
        last = chain.links[-1].subject
        beat_s = self.alive_s.get(self.names.heartbeat(held.claim.runner), 0.0)
        silent_s = self.now_s - beat_s
        by_other = not last.endswith(f"by {held.claim.runner}")
        if by_other and silent_s < held.claim.lease_s / FASTEST - SLACK_S:
            self.broken.append(f"{chain.ref}: reaped {silent_s:.1f} s after a beat: {last}")

    def tip(self, ref: str) -> RefTip | None:
        """Where a ref stands."""
        oid = self.refs.get(ref)
        return None if oid is None else RefTip(ref, oid, self._message(oid).split("\n", 1)[0])

    def descends(self, oid: str | None, ancestor: str) -> bool:
        """Whether `ancestor` is `oid` or behind it."""
        while oid is not None:
            if oid == ancestor:
                return True
            parents = parse_commit(self.objects[oid].data)[1]
            oid = parents[0] if parents else None
        return False

    def load(self, ref: str) -> Chain:
        """A job's chain as the real bus reads it."""
        job = self.names.parse_job(ref)
        tip = self.refs.get(ref)
        if tip is None and ref in self.ledger:
            return self.ledger[ref]
        if job is None or tip is None:
            raise BusError("the ref is gone", where=ref)
        commits: list[Commit] = []
        oid: str | None = tip
        while oid is not None and oid not in self.chains:
            tree, parents, message = parse_commit(self.objects[oid].data)
            commits.append(Commit(oid, parents, message, self.files(tree)))
            oid = parents[0] if parents else None
        chain = self.chains[oid] if oid else Chain(ref, job, "", files={})
        for commit in reversed(commits):
            chain = continue_chain(chain, [commit], self.blob, bus_id=BUS_ID)
            self.chains[chain.tip] = chain
        return chain

    def blob(self, oid: str) -> bytes:
        """The content of a blob."""
        if oid not in self.objects:
            raise IntegrityError(f"{oid} is not here")
        return self.objects[oid].data

    def files(self, tree: str) -> dict[str, str]:
        """The files of a tree by path."""
        found: dict[str, str] = {}
        for name, (mode, oid) in parse_tree(self.objects[tree].data).items():
            if mode == "40000":
                found.update({f"{name}/{path}": blob for path, blob in self.files(oid).items()})
            else:
                found[name] = oid
        return found

    def _message(self, oid: str) -> str:
        return parse_commit(self.objects[oid].data)[2]


def _after(state: State | None, event: Event) -> State | None:
    from bridge.states import TRANSITIONS

    transition = TRANSITIONS.get((state, event))
    return transition.state if transition else state


@dataclass
class Network:
    """What goes wrong between one actor and the world.

    Attributes:
        down: nothing gets through.
        lose_reply: the next push lands, and its sender is told nothing.
        drop_push: the next push does not land, and its sender is told nothing.
        cut_after: so many refs of the next push land, the others do not.
        stale: polls show an old snapshot until this is taken away.
    """

    down: bool = False
    lose_reply: bool = False
    drop_push: bool = False
    cut_after: int | None = None
    stale: Snapshot | None = None


class MemoryBus:
    """One actor's view of the world, with the contract of `GitBus`."""

    leased = True

    def __init__(self, world: World, profile: Profile, network: Network) -> None:
        self.url = "memory:"
        self.refs = world.names
        self.profile = profile
        self._world, self._network = world, network

    def close(self) -> None:
        """Nothing is held."""

    def identity(self) -> BusIdentity:
        """The bus's own id."""
        return BusIdentity(BUS_ID, "2026-01-02T03:04:05Z")

    def poll(self) -> Snapshot:
        """Every ref, or those of a while ago."""
        self._reach()
        return self._network.stale or self.snapshot()

    def snapshot(self) -> Snapshot:
        """Every ref as it stands."""
        jobs, beats, wishes = {}, {}, {}
        for ref in self._world.refs:
            tip = self._world.tip(ref)
            assert tip is not None
            job = self.refs.parse_job(ref)
            if job is not None:
                jobs[ref] = (job, tip)
            elif "/hb/" in ref:
                beats[ref] = tip
            elif "/ctl/" in ref:
                wishes[ref] = tip
        return Snapshot(jobs, beats, wishes, ())

    def stamp(self) -> None:
        """Only a look can tell."""

    def peek(self, ref: str) -> RefTip | None:
        """Where one ref stands now."""
        self._reach()
        return self._world.tip(ref)

    def load(self, ref: str) -> Chain:
        """A job's chain."""
        self._reach()
        return self._world.load(ref)

    def load_all(self, refs: Sequence[str]) -> list[Chain]:
        """The chains of several jobs."""
        self._reach()
        return [self._world.load(ref) for ref in refs if ref in self._world.refs]

    def load_heartbeat(self, ref: str) -> Heartbeat:
        """A runner's latest heartbeat."""
        self._reach()
        tip = self._world.tip(ref)
        if tip is None:
            raise BusError("the ref is gone", where=ref)
        tree = parse_commit(self._world.objects[tip.oid].data)[0]
        data = self._world.blob(self._world.files(tree)["heartbeat.json"])
        beat: Heartbeat = wire.parse("heartbeat", data)
        return beat

    def read(self, oid: str) -> bytes:
        """The content of a blob."""
        return self._world.blob(oid)

    def fold(self, refs: Sequence[str], signer: Signer) -> tuple[str, ...]:
        """Fold under what goes wrong with any push."""
        del signer
        self._reach()
        network = self._network
        dropped, lost = network.drop_push, network.lose_reply
        network.drop_push = network.lose_reply = False
        if dropped:
            raise BusError("the push was dropped", where=self.url)
        ids = self._world.fold(refs)
        if lost:
            raise BusError("the reply was lost", where=self.url)
        return ids

    def expire(self, before: str) -> tuple[str, ...]:
        """There are no archives here."""
        del before
        return ()

    def sweep(self, before_s: int | None) -> tuple[str, ...]:
        """There are no artifacts here."""
        del before_s
        return ()

    def fetch_code(self, commit: str) -> Git:
        """There is no code here."""
        raise BusError("no code in memory", where=commit)

    def swap(self, updates: Sequence[Update], *, atomic: bool = False) -> tuple[Outcome, ...]:
        """Push under leases; a sender that is told nothing asks again, as the real bus does."""
        del atomic
        self._reach()
        network = self._network
        dropped, lost, cut = network.drop_push, network.lose_reply, network.cut_after
        network.drop_push = network.lose_reply = False
        network.cut_after = None
        if dropped:
            raise BusError("the push was dropped", where=self.url)
        outcomes = []
        for index, update in enumerate(updates):
            if cut is not None and index >= cut:
                raise BusError("the connection broke", where=self.url)
            outcomes.append(self._swap_one(update))
        if lost:
            raise BusError("the reply was lost", where=self.url)
        return tuple(outcomes)

    def _swap_one(self, update: Update) -> Outcome:
        wanted = update.new.oid if update.new else None
        now = self._world.refs.get(update.ref)
        if now == wanted or (wanted and self._world.descends(now, wanted)):
            return Outcome.WON
        folded = self._world.ledger.get(update.ref)
        if now is None and folded and wanted in {link.oid for link in folded.links}:
            return Outcome.WON
        return Outcome.WON if self._world.put(update, leased=self.leased) else Outcome.LOST

    def _reach(self) -> None:
        if self._network.down:
            raise BusError("the network is down", where=self.url)
