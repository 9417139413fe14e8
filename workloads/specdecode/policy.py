"""When to draft: as long as blocks yield more tokens than plain steps would in their time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

ALLOWANCE = 3.0
PATIENCE = 16
LONGEST_PATIENCE = 256


class Policy(Protocol):
    """Chooses between a block and a plain step.

    Attributes:
        enough: tokens that a block must gain to be no slower than plain steps.
    """

    enough: float

    def drafts(self) -> bool:
        """Whether the next forward verifies a draft."""

    def probes(self) -> bool:
        """Whether a draft is made beside the next tokens, to see what it would have gained."""

    def learn(self, gained: float) -> None:
        """A block gained so many tokens in each row, or would have."""

    def step(self) -> None:
        """A position went by without the drafter."""


class Always:
    """Drafts whatever comes of it."""

    enough = 0.0

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
    """Falls back to plain steps when blocks have lost too much, and looks again now and then.

    A ledger counts in plain steps: a block enters what it gained, less `enough`. What is won is
    not saved up, so that the ledger is never above zero; a fall-back comes once it is below
    `-ALLOWANCE`. One vain block between good ones costs little and changes nothing; where drafts
    are worthless, a few blocks are lost.

    After a fall-back, a draft is made when `PATIENCE` positions have gone by; the tokens that
    follow say what it would have gained, so that looking costs a draft and no verification. A look
    enters the ledger as a block does, from the allowance on: drafting is then on probation. Each
    look that is vain doubles the wait, until the ledger is made good.

    Source: the one-sided cumulative sum of Page, Continuous Inspection Schemes, 1954.
    """

    def __init__(self, costs: Costs) -> None:
        self.enough = costs.ratio
        self.fallbacks = 0
        self._ledger = 0.0
        self._wait: int | None = None  # positions until the next look; None while drafting
        self._patience = PATIENCE

    def drafts(self) -> bool:
        """See `Policy.drafts`."""
        return self._wait is None

    def probes(self) -> bool:
        """See `Policy.probes`."""
        return self._wait == 0

    def learn(self, gained: float) -> None:
        """See `Policy.learn`."""
        self._ledger = min(0.0, max(self._ledger, -ALLOWANCE) + gained - self.enough)
        if self._ledger >= -ALLOWANCE:
            self._wait = None
            if self._ledger == 0:
                self._patience = PATIENCE
            return
        if self._wait is None:
            self.fallbacks += 1
        self._wait = self._patience
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)

    def step(self) -> None:
        """See `Policy.step`."""
        if self._wait:
            self._wait -= 1


class Look:
    """A draft that is not verified: how many of its tokens the text confirms.

    Args:
        drafts: for each row, the tokens that were drafted.
        enough: tokens gained that settle the matter before the draft is at its end.
    """

    def __init__(self, drafts: Sequence[Sequence[int]], enough: float) -> None:
        self._drafts = drafts
        self._enough = enough
        self._agreed = [0] * len(drafts)
        self._going = [True] * len(drafts)
        self._steps = 0

    def compare(self, tokens: Sequence[int]) -> float | None:
        """Take each row's next token.

        Returns:
            Tokens that a block would have gained, or as many as are enough; None while unknown.
        """
        for row, token in enumerate(tokens):
            if self._going[row] and token == self._drafts[row][self._steps]:
                self._agreed[row] += 1
            else:
                self._going[row] = False
        self._steps += 1
        gained = 1 + sum(self._agreed) / len(self._agreed)
        if any(self._going) and self._steps < len(self._drafts[0]) and gained < self._enough:
            return None
        return gained
