"""When to draft: as long as a block yields more tokens than plain steps would in its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MEMORY = 4
PATIENCE = 16
LONGEST_PATIENCE = 256


class Policy(Protocol):
    """Chooses between a block and a plain step."""

    def drafts(self) -> bool:
        """Whether the next forward verifies a draft."""

    def probes(self) -> bool:
        """Whether a draft is made beside the next plain steps, to see what it would have gained."""

    def learn(self, gained: float) -> None:
        """A block gained so many tokens in each row, or would have."""

    def step(self) -> None:
        """A plain step was taken."""


class Always:
    """Drafts whatever comes of it."""

    def drafts(self) -> bool:
        """See `Policy.drafts`."""
        return True

    def probes(self) -> bool:
        """See `Policy.probes`."""
        return False

    def learn(self, gained: float) -> None:
        """Nothing to learn."""

    def step(self) -> None:
        """Nothing to count."""


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
    """Falls back to plain steps when blocks yield too little, and looks again now and then.

    The mean of the last four blocks decides; the first one alone where nothing of it agreed.
    After a fall-back, a draft is made when `PATIENCE` plain steps have gone by; the steps that
    follow say what it would have gained, so that looking costs a draft and no verification. Each
    vain look doubles the wait.
    """

    def __init__(self, costs: Costs) -> None:
        self._needed = costs.ratio
        self._recent: deque[float] = deque(maxlen=MEMORY)
        self._wait: int | None = None  # plain steps until the next look; None while drafting
        self._patience = PATIENCE
        self.fallbacks = 0

    def drafts(self) -> bool:
        """See `Policy.drafts`."""
        return self._wait is None

    def probes(self) -> bool:
        """See `Policy.probes`."""
        return self._wait == 0

    def learn(self, gained: float) -> None:
        """See `Policy.learn`."""
        looking = self._wait is not None
        self._recent.append(gained)
        if not looking and len(self._recent) < 2 and gained > 1:
            return
        if sum(self._recent) / len(self._recent) >= self._needed:
            self._wait, self._patience = None, PATIENCE
            return
        self.fallbacks += 1
        self._wait = self._patience
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self._recent.clear()

    def step(self) -> None:
        """See `Policy.step`."""
        if self._wait:
            self._wait -= 1


class Look:
    """A draft beside plain steps: how many of its tokens they confirm.

    Args:
        drafts: for each row, the tokens that were drafted.
    """

    def __init__(self, drafts: Sequence[Sequence[int]]) -> None:
        self._drafts = drafts
        self._agreed = [0] * len(drafts)
        self._going = [True] * len(drafts)
        self._steps = 0

    def compare(self, tokens: Sequence[int]) -> float | None:
        """Take each row's next token; tokens that a block would have gained, once that is known."""
        for row, token in enumerate(tokens):
            if self._going[row] and token == self._drafts[row][self._steps]:
                self._agreed[row] += 1
            else:
                self._going[row] = False
        self._steps += 1
        if any(self._going) and self._steps < len(self._drafts[0]):
            return None
        return 1 + sum(self._agreed) / len(self._agreed)
