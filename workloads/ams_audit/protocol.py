"""What the audit may ask of a memory, and what a case of it is. Nothing here knows a model."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from bridge import canonical
from workloads.ams_audit.tokens import Vocabulary

if TYPE_CHECKING:
    from workloads.ams_audit.stage import Stage

Axis = Literal["A", "B", "C", "D", "M"]
Origin = Literal["document", "specification", "ours"]
Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Trace:
    """A greedy continuation: its tokens, and the log probabilities (T, V) that each came from."""

    tokens: tuple[int, ...]
    logits: torch.Tensor


class Index(Protocol):
    """Directions by number, found by walking."""

    def __len__(self) -> int: ...

    def insert(self, item: int, direction: torch.Tensor) -> None:
        """Add a unit vector."""

    def retrieve(self, direction: torch.Tensor, count: int, *, beam: int = 4) -> list[int]:
        """Up to `count` numbers, nearest first, from `beam` leaves."""

    def largest_leaf(self) -> int:
        """Members of the fullest leaf."""


class Subject(Protocol):
    """A memory before a language model, from outside.

    Attributes:
        vocabulary: of the language model.
        embeddings: (V, d) of its tokens.
        capacity: how many a leaf of its index may hold.
    """

    vocabulary: Vocabulary
    embeddings: torch.Tensor
    capacity: int

    def empty(self) -> Subject:
        """The same model with nothing in its store."""

    def write(self, text: str) -> int:
        """Tell it a text; the number that it is kept under."""

    def retrieve(self, query: str, count: int) -> list[tuple[int, float]]:
        """Numbers and nearness of texts, nearest first."""

    def prefix(self, query: str) -> torch.Tensor:
        """(P, d) what stands before a prompt; the last slot is the tail slot."""

    def logits(
        self, prompt: str, *, memory: bool = True, slots: int | None = None,
        gate: float | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """(V,) log probabilities of the next token.

        Args:
            prompt: what was said so far; it is also what is looked for.
            memory: without it, the language model alone.
            slots: only the last so many slots of the prefix.
            gate: the found words' share, in place of the model's own.
        """

    def trace(self, prompt: str, count: int, *, memory: bool = True) -> Trace:
        """`count` tokens of greedy decoding."""

    def gate(self, prompt: str) -> float:
        """The share that found words have in the next token's distribution."""

    def fields(self, item: int) -> Mapping[str, torch.Tensor]:
        """What is kept of a text: `semantic` and `slot`, and `descriptor` where one is learned."""

    def index(self) -> Index:
        """A new index of the kind that its store has."""

    def learn(self) -> Mapping[str, tuple[float, float]]:
        """Norms of gradient and change by group of weights, of one step on a copy of itself."""

    def footprint(self) -> tuple[int, int]:
        """Bytes of what is kept of the texts, and of their keys and values in a context."""

    def save(self) -> bytes:
        """Weights and store."""

    def load(self, state: bytes) -> Subject:
        """A new memory from what `save` gave."""


_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure, how it is compared, and with what."""

    figure: str
    comparison: str
    bound: float

    def holds(self, figures: Figures) -> bool:
        """Whether the figure is there, is a number and keeps the limit."""
        value = figures.get(self.figure)
        return value is not None and _OPERATORS[self.comparison](value, self.bound)


@dataclass(frozen=True, slots=True)
class Case:
    """One of the 26: what it is called, what it asks with, and what must come out.

    Attributes:
        id: number in the source's specification.
        axis: A compression, B cost, C fidelity, D stability, M mechanics (on no axis).
        seed: of its random numbers.
        limits: thresholds; all must hold.
        measure: the figures of one audited memory.
        prompts: that it asks with.
        origin: whether the limits are the document's, the specification's, or ours.
        reads: whether the result depends on how stored texts are read (4.24).
    """

    id: str
    name: str
    axis: Axis
    seed: int
    limits: tuple[Limit, ...]
    measure: Callable[[Stage], Figures]
    prompts: tuple[str, ...] = ()
    origin: Origin = "specification"
    reads: bool = False

    def digest(self, reader: str) -> str:
        """Of everything that defines the case: where it differs, the case was redefined."""
        limits = [[one.figure, one.comparison, one.bound] for one in self.limits]
        document = [self.id, self.name, self.seed, limits, list(self.prompts)]
        return canonical.digest([*document, reader if self.reads else ""])

    def judge(self, figures: Figures) -> bool:
        """Whether every limit holds."""
        return all(limit.holds(figures) for limit in self.limits)
