"""What one cycle of a runner pushes: many refs in one push, each with its own outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bridge.bus.interface import Bus
from bridge.bus.remote import Outcome, Update
from bridge.runner.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Entry:
    """One swap, what to do about its outcome, and the letter that keeps it across a crash.

    Attributes:
        pause_s: how long it rests after the remote let nobody move its ref; 0 if that never was.
        due_s: when it is tried again.
    """

    update: Update
    then: Callable[[Outcome], None]
    letter: str | None
    pause_s: float = 0.0
    due_s: float = float("-inf")


class Batch:
    """Swaps that wait for the next push; the very same commits again until each is settled.

    A swap that the remote leaves unsettled (a dead server's lock lies on the ref, its disk is full)
    is set aside and tried again later: one stuck job may not stop the heart, nor the others.

    Args:
        bus: where they go.
        outbox: keeps those that must outlive this process.
        say: told of a ref that nobody can move.
        clock_s: this process's monotonic clock.
        ended: told the ref of each job that a swap of ours has brought to its end.
    """

    def __init__(
        self,
        bus: Bus,
        outbox: Outbox,
        say: Callable[[str], None],
        clock_s: Callable[[], float],
        ended: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._bus, self._outbox, self._ended = bus, outbox, ended
        self._say, self._clock_s = say, clock_s
        # a lease's half at most: a heart that was stuck must be heard again in time
        self._first_s, self._limit_s = bus.profile.heartbeat_s, bus.profile.lease_s / 2
        self._entries: list[Entry] = []
        self._aside: dict[str, Entry] = {}

    def __len__(self) -> int:
        """How many are due now."""
        return len(self._entries)

    def __contains__(self, ref: object) -> bool:
        """Whether a swap of `ref` is not settled yet."""
        return ref in self._aside or any(entry.update.ref == ref for entry in self._entries)

    def add(
        self, update: Update, then: Callable[[Outcome], None], *, letter: str | None = None
    ) -> None:
        """Queue a swap; a ref whose earlier swap is not settled yet keeps that one.

        Args:
            update: the swap.
            then: told whether it won or lost, once.
            letter: name under which the commit is kept on disk until that is known.

        Raises:
            BusError: the letter cannot be kept; nothing was queued.
        """
        if update.ref in self:
            return
        if letter is not None and update.new is not None:
            self._outbox.put(letter, update.ref, update.old, update.new)
        self._entries.append(Entry(update, then, letter))

    def restore(self) -> None:
        """Make due what the session before could not push: the very same commits."""
        for letter in self._outbox.letters():

            def tell(outcome: Outcome, name: str = letter.name) -> None:
                self._say(f"delivered {name} of the session before: {outcome.value}")

            update = Update(letter.ref, letter.old, letter.commit)
            self._entries.append(Entry(update, tell, letter.name))

    def take_up(self) -> None:
        """Make the swaps due again that have been set aside for long enough."""
        now_s = self._clock_s()
        for ref, entry in list(self._aside.items()):
            if now_s >= entry.due_s:
                self._entries.append(self._aside.pop(ref))

    def flush(self) -> None:
        """Push everything that is due in one go.

        Raises:
            BusError: the remote does not answer; everything waits for the next flush.
        """
        entries = self._entries
        if not entries:
            return
        outcomes = self._bus.swap([entry.update for entry in entries])
        self._entries = []
        for entry, outcome in zip(entries, outcomes, strict=True):
            if outcome is Outcome.UNSETTLED:
                self._set_aside(entry)
                continue
            if entry.letter is not None:
                self._outbox.drop(entry.letter)
            entry.then(outcome)
            if outcome is Outcome.WON and ends(entry.update):
                self._ended(entry.update.ref)

    def _set_aside(self, entry: Entry) -> None:
        ref = entry.update.ref
        if not entry.pause_s:
            self._say(
                f"{ref}: the remote lets nobody move it now; it is tried again. If it stays so, "
                f"look on the server for a full disk, or for {ref}.lock, which a dead git left"
            )
        pause_s = min(self._limit_s, max(self._first_s, 2 * entry.pause_s))
        self._aside[ref] = replace(entry, pause_s=pause_s, due_s=self._clock_s() + pause_s)


def ends(update: Update) -> bool:
    """Whether a swap brings a job to its end: only its last commit holds a result."""
    return update.new is not None and "result.json" in update.new.files
