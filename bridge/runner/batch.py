"""What one cycle of a runner pushes: many refs in one push, each with its own outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bridge.bus.interface import Bus
from bridge.bus.remote import Outcome, Update
from bridge.runner.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Entry:
    """One swap, what to do about its outcome, and the letter that keeps it across a crash."""

    update: Update
    then: Callable[[Outcome], None]
    letter: str | None


class Batch:
    """Swaps that wait for the next push; the very same commits again until each is settled.

    Args:
        bus: where they go.
        outbox: keeps those that must outlive this process.
        ended: told the ref of each job that a swap of ours has brought to its end.
    """

    def __init__(
        self, bus: Bus, outbox: Outbox, ended: Callable[[str], None] = lambda _: None
    ) -> None:
        self._bus, self._outbox, self._ended = bus, outbox, ended
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self, update: Update, then: Callable[[Outcome], None], *, letter: str | None = None
    ) -> None:
        """Queue a swap.

        Args:
            update: the swap; never two of one ref in one batch.
            then: told whether it won or lost, once.
            letter: name under which the commit is kept on disk until that is known.
        """
        if letter is not None and update.new is not None:
            self._outbox.put(letter, update.ref, update.old, update.new)
        self._entries.append(Entry(update, then, letter))

    def flush(self) -> None:
        """Push everything in one go.

        Raises:
            BusError: the remote does not answer; everything waits for the next flush.
        """
        entries = self._entries
        if not entries:
            return
        outcomes = self._bus.swap([entry.update for entry in entries])
        unsettled = zip(entries, outcomes, strict=True)
        self._entries = [entry for entry, outcome in unsettled if outcome is Outcome.UNSETTLED]
        for entry, outcome in zip(entries, outcomes, strict=True):
            if outcome is Outcome.UNSETTLED:
                continue
            if entry.letter is not None:
                self._outbox.drop(entry.letter)
            entry.then(outcome)
            if outcome is Outcome.WON and ends(entry.update):
                self._ended(entry.update.ref)


def ends(update: Update) -> bool:
    """Whether a swap brings a job to its end: only its last commit holds a result."""
    return update.new is not None and "result.json" in update.new.files
