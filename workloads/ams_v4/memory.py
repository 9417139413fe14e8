"""The memory itself: three bundles that are written to, and a prefix that is read from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from workloads.ams_v4.attention import CrossBundleAttention
from workloads.ams_v4.bundles import BASES, NAMES, Bundle, ContextEncoder, Reading, Triple
from workloads.ams_v4.kakeya import MIN_ENTRIES, Compressed, KakeyaRegistry
from workloads.shared.directions import DirectionTree

FUSION = {"time": 0.25, "topic": 1.0, "context": 0.25}
"""What each bundle's closeness weighs when entries are chosen; a question is about a topic."""

Triples = Mapping[str, Triple]


class Memory(nn.Module):  # type: ignore[misc]
    """Encoders, geometry and attention.

    Args:
        width: of the language model.
        loudness: mean norm of its token embeddings.
        near: whether attention is told how near an entry lies.
    """

    def __init__(self, width: int, loudness: float, *, near: bool = True) -> None:
        super().__init__()
        self._near = near
        self.bundles = nn.ModuleDict({name: Bundle(name, width) for name in NAMES})
        self.attention = CrossBundleAttention(width, loudness)

    @property
    def axes(self) -> dict[str, torch.Tensor]:
        """The canonical axis of each bundle."""
        return {name: self.bundles[name].axis for name in NAMES}

    def encode(self, reading: Reading) -> dict[str, Triple]:
        """Where texts lie in every bundle."""
        return {name: self.bundles[name].encode(reading) for name in NAMES}

    def fields(self, reading: Reading, triples: Triples) -> dict[str, torch.Tensor]:
        """The long vectors (S, N, d) that the Kakeya sets keep."""
        encoder = self.bundles["context"].encoder
        assert isinstance(encoder, ContextEncoder)
        descriptor = encoder.describe(triples["context"].base, reading.hidden)
        return {"semantic": reading.hidden, "content": reading.content, "descriptor": descriptor}

    def closeness(self, entries: Triples, places: Triples) -> torch.Tensor:
        """Fused closeness (S, Q, N) of entries to places; each bundle counts in its own spread."""
        total = torch.zeros(())
        for name in NAMES:
            near = self.bundles[name].closeness(entries[name], places[name])
            spread = near.std(-1, keepdim=True, unbiased=False).clamp_min(1e-6)
            total = total + FUSION[name] * (near - near.mean(-1, keepdim=True)) / spread
        return total

    def choose(self, entries: Triples, places: Triples, count: int) -> torch.Tensor:
        """Which entries (S, Q, N) are among the `count` closest to each place."""
        with torch.no_grad():
            near = self.closeness(entries, places)
            best = near.topk(min(count, near.shape[-1]), dim=-1).indices
            return torch.zeros_like(near, dtype=torch.bool).scatter(-1, best, value=True)

    def recall(
        self,
        asked: Reading,
        places: Triples,
        entries: Triples,
        allowed: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The prefix (S, Q, PREFIX, d) for prompts, from all entries or those allowed."""
        near = {
            name: self.bundles[name].closeness(entries[name], places[name]) * self._near
            for name in NAMES
        }
        carried = {
            name: self.bundles[name].carry(entries[name], places[name].base) for name in NAMES
        }
        fibers = {name: places[name].fiber for name in NAMES}
        prefix: torch.Tensor = self.attention(asked.hidden, fibers, carried, near, allowed)
        return prefix


@dataclass
class Entry:
    """One memory: three triples, and its long fields only as directions."""

    triples: dict[str, Triple]
    handles: dict[tuple[str, str], Compressed] = field(default_factory=dict)


@dataclass
class Store:
    """The entries of one session, in three trees; long fields are compressed once there are enough.

    Args:
        width: of the long fields.
    """

    width: int
    entries: dict[int, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.trees = {name: DirectionTree() for name in NAMES}
        names = ("semantic", "content", "descriptor")
        self.registry = KakeyaRegistry(BASES, dict.fromkeys(names, self.width))
        self._pending: dict[int, dict[str, torch.Tensor]] = {}

    def add(self, item: int, triples: Triples, fields: Mapping[str, torch.Tensor]) -> None:
        """Keep a memory: its triples (D,), (F,), and its long fields (d,) until they are built."""
        self.entries[item] = Entry({name: triples[name].detach() for name in NAMES})
        for name in NAMES:
            self.trees[name].insert(item, triples[name].direction.detach())
        self._pending[item] = {name: value.detach() for name, value in fields.items()}

    def remove(self, item: int) -> None:
        """Forget a memory (KeyError where there is none)."""
        del self.entries[item]
        self._pending.pop(item, None)
        for tree in self.trees.values():
            tree.remove(item)

    def compress(self, axes: Mapping[str, torch.Tensor]) -> bool:
        """Build the sets from what is pending and let go of the long fields, if there is enough."""
        if len(self._pending) < MIN_ENTRIES:
            return False
        items = list(self._pending)
        fields = {
            name: torch.stack([self._pending[item][name] for item in items])
            for name in self._pending[items[0]]
        }
        self.registry.build(fields, axes)
        for key, one in self.registry.sets.items():
            kept = one.encode(fields[key[1]])
            for row, item in enumerate(items):
                self.entries[item].handles[key] = Compressed(
                    kept.along[row], kept.segment[row], kept.length[row],
                    kept.places[row], kept.values[row],
                )  # fmt: skip
        self._pending.clear()
        return True

    def find(self, memory: Memory, places: Triples, count: int) -> list[int]:
        """Ids of the `count` closest entries to one place: candidates from each tree, then fused.

        Args:
            memory: measures closeness.
            places: triples (D,), (F,) of the question.
            count: how many.
        """
        found: set[int] = set()
        for name in NAMES:
            found.update(self.trees[name].retrieve(places[name].direction, 2 * count))
        items = sorted(found)
        entries = {name: _stack([self.entries[item].triples[name] for item in items])
                   for name in NAMES}  # fmt: skip
        asked = {name: _stack([places[name]]) for name in NAMES}
        near = memory.closeness(entries, asked)[0, 0]
        best = near.topk(min(count, len(items))).indices.tolist()
        return [items[place] for place in best]


def _stack(triples: list[Triple]) -> Triple:
    """Triples (1, N, ...) of N single ones."""
    return Triple(
        torch.stack([one.base for one in triples])[None],
        torch.stack([one.fiber for one in triples])[None],
        torch.stack([one.direction for one in triples])[None],
    )
