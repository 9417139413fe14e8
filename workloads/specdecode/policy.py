"""When to draft: as long as a block yields more tokens than plain steps would in its time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

MEMORY = 4
PATIENCE = 16
LONGEST_PATIENCE = 256


class Policy(Protocol):
    """Chooses between a block and a plain step."""

    def drafts(self) -> bool:
        """Whether the next forward verifies a draft."""

    def learn(self, gained: float | None) -> None:
        """A block gained so many tokens in each row; None after a plain step."""


class Always:
    """Drafts whatever comes of it."""

    def drafts(self) -> bool:
        """See `Policy.drafts`."""
        return True

    def learn(self, gained: float | None) -> None:
        """Nothing to learn."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Milliseconds of a plain step and of a block (all its parts), medians of a warm-up."""

    step_ms: float
    block_ms: float

    @property
    def ratio(self) -> float:
        """Tokens that a block must yield to be no slower than plain steps."""
        return self.block_ms / self.step_ms


class Adaptive:
    """Falls back to plain steps when blocks yield too little, and tries again now and then.

    The mean of the last four blocks (at least two) decides. After a fall-back a single block is
    tried when `PATIENCE` plain steps have gone by; each vain one doubles the wait, so that what
    is lost stays a few per cent.
    """

    def __init__(self, costs: Costs) -> None:
        self._needed = costs.ratio
        self._recent: deque[float] = deque(maxlen=MEMORY)
        self._wait = 0
        self._patience = PATIENCE
        self.fallbacks = 0

    def drafts(self) -> bool:
        """See `Policy.drafts`."""
        return self._wait == 0

    def learn(self, gained: float | None) -> None:
        """See `Policy.learn`."""
        if gained is None:
            self._wait -= 1
            return
        probing = self.fallbacks > 0 and not self._recent
        self._recent.append(gained)
        if not probing and len(self._recent) < 2:
            return
        if sum(self._recent) / len(self._recent) >= self._needed:
            self._patience = PATIENCE
            return
        self.fallbacks += 1
        self._wait = self._patience
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self._recent.clear()
