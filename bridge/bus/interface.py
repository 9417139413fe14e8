"""What a runner needs of a bus: the contract that `GitBus` keeps, and a bus in memory may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bridge.bus.chain import Chain
from bridge.bus.endings import Signer
from bridge.bus.profile import Profile
from bridge.bus.refs import Refs
from bridge.bus.remote import Outcome, Update
from bridge.bus.view import Snapshot
from bridge.git import Git, RefTip
from bridge.records import BusIdentity, Heartbeat


class Bus(Protocol):
    """One bus, as one actor sees it; `BusError` wherever it does not answer."""

    @property
    def refs(self) -> Refs:
        """The names of its refs."""
        ...

    @property
    def profile(self) -> Profile:
        """Its clocks."""
        ...

    def identity(self) -> BusIdentity:
        """See `BusView.identity`."""
        ...

    def poll(self) -> Snapshot:
        """See `BusView.poll`."""
        ...

    def stamp(self) -> tuple[int, ...] | None:
        """See `BusView.stamp`."""
        ...

    def peek(self, ref: str) -> RefTip | None:
        """See `BusView.peek`."""
        ...

    def load(self, ref: str) -> Chain:
        """See `BusView.load`."""
        ...

    def load_all(self, refs: Sequence[str]) -> list[Chain]:
        """See `BusView.load_all`."""
        ...

    def load_heartbeat(self, ref: str) -> Heartbeat:
        """See `BusView.load_heartbeat`."""
        ...

    def read(self, oid: str) -> bytes:
        """See `BusView.read`."""
        ...

    def swap(self, updates: Sequence[Update], *, atomic: bool = False) -> tuple[Outcome, ...]:
        """See `GitBus.swap`."""
        ...

    def fold(self, refs: Sequence[str], signer: Signer) -> tuple[str, ...]:
        """See `GitBus.fold`."""
        ...

    def expire(self, before: str) -> tuple[str, ...]:
        """See `GitBus.expire`."""
        ...

    def sweep(self, before_s: int | None) -> tuple[str, ...]:
        """See `GitBus.sweep`."""
        ...

    def fetch_code(self, commit: str) -> Git:
        """See `GitBus.fetch_code`."""
        ...

    def close(self) -> None:
        """See `BusView.close`."""
        ...
