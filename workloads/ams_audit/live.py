"""A trained memory with its store, as the audit sees it."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping

import torch
from torch.nn import functional

from workloads.ams_audit.lessons import draw_lesson, make_source
from workloads.ams_audit.memory import FOUND, AuditMemory, mix, point
from workloads.ams_audit.protocol import Index, Trace
from workloads.ams_audit.reading import Passage, read_passages
from workloads.ams_audit.tokens import Vocabulary
from workloads.ams_audit.training import Batch, measure_losses
from workloads.shared.directions import CAPACITY, DirectionTree
from workloads.shared.frozen import FrozenModel

LESSONS = 2  # stores in the one step of `learn`, each of `TOLD` texts
TOLD = 4


class LiveMemory:
    """See `protocol.Subject`; every text is read once, when it is written."""

    capacity = CAPACITY

    def __init__(self, memory: AuditMemory, model: FrozenModel, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.embeddings = model.embed.weight.detach().float()
        self._memory, self._model = memory, model
        self._passages: list[Passage] = []
        self._tree = DirectionTree()

    def empty(self) -> LiveMemory:
        """See `Subject.empty`."""
        return type(self)(self._memory, self._model, self.vocabulary)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def write(self, text: str) -> int:
        """See `Subject.write`."""
        (passage,) = read_passages(self._model, self.vocabulary, [text])
        item = len(self._passages)
        self._passages.append(passage)
        self._tree.insert(item, self._memory.place(passage.semantic))
        return item

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def retrieve(self, query: str, count: int) -> list[tuple[int, float]]:
        """See `Subject.retrieve`."""
        return self._find(self._read(query), count)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def prefix(self, query: str) -> torch.Tensor:
        """See `Subject.prefix`; without a text in the store there is none to make it of.

        Raises:
            ValueError: the store is empty.
        """
        prefix, _, _ = self._recall(query)
        if prefix is None:
            raise ValueError("the store is empty")
        return prefix[0]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def logits(
        self, prompt: str, *, memory: bool = True, slots: int | None = None,
        gate: float | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """See `Subject.logits`."""
        recalled = self._recall(prompt, slots, gate) if memory else (None, None, None)
        return self._speak(self.vocabulary.encode(prompt), *recalled)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def trace(self, prompt: str, count: int, *, memory: bool = True) -> Trace:
        """See `Subject.trace`; the texts are found once, for the prompt."""
        recalled = self._recall(prompt) if memory else (None, None, None)
        ids = self.vocabulary.encode(prompt)
        start = len(ids)
        rows = []
        for _ in range(count):
            rows.append(self._speak(ids, *recalled))
            ids = [*ids, int(rows[-1].argmax())]
        return Trace(tuple(ids[start:]), torch.stack(rows))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def gate(self, prompt: str) -> float:
        """See `Subject.gate`; an empty store has nothing to say."""
        found = self._find(self._read(prompt), 1)
        if not found:
            return 0.0
        return float(self._memory.gate(torch.tensor(found[0][1])))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def fields(self, item: int) -> Mapping[str, torch.Tensor]:
        """See `Subject.fields`; the slot is what the bridge would say the text is about."""
        semantic = self._passages[item].semantic
        described = self._memory.describe(semantic)
        kept = {"semantic": semantic, "slot": self._memory.make_context_slot(described)}
        if self._memory.encoder is not None:
            kept["descriptor"] = described
        return kept

    def index(self) -> Index:
        """See `Subject.index`."""
        return DirectionTree()

    def learn(self) -> Mapping[str, tuple[float, float]]:
        """See `Subject.learn`."""
        memory = copy.deepcopy(self._memory).requires_grad_(True)
        source = make_source("audit step", 0)
        lessons = [draw_lesson(source, TOLD) for _ in range(LESSONS)]
        with torch.enable_grad():
            batch = Batch.read(self._model, self.vocabulary, lessons)
            sum(measure_losses(memory, self._model, self.vocabulary, batch).values()).backward()
        optimizer = torch.optim.SGD(memory.parameters(), lr=1e-2)
        groups: dict[str, list[tuple[float, float]]] = {}
        before = {name: value.detach().clone() for name, value in memory.named_parameters()}
        optimizer.step()
        for name, value in memory.named_parameters():
            gradient = 0.0 if value.grad is None else float(value.grad.norm())
            change = float((value.detach() - before[name]).norm())
            groups.setdefault(name.split(".")[0].split("_")[0], []).append((gradient, change))
        return {
            name: (sum(one for one, _ in rows), sum(two for _, two in rows))
            for name, rows in groups.items()
        }

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def footprint(self) -> tuple[int, int]:
        """See `Subject.footprint`; both are counted from allocated tensors."""
        kept = context = 0
        for passage in self._passages:
            place = self._memory.place(passage.semantic)
            kept += sum(one.nbytes for one in (passage.semantic, passage.centroid, place))
            kept += torch.tensor(passage.starters).nbytes
            row = torch.tensor([self.vocabulary.encode(passage.text)], device=self._model.device)
            cache = self._model.model(input_ids=row, use_cache=True).past_key_values
            context += sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
        return kept, context

    def save(self) -> bytes:
        """See `Subject.save`."""
        texts = [passage.text for passage in self._passages]
        file = io.BytesIO()
        torch.save({"memory": self._memory.state_dict(), "texts": texts}, file)
        return file.getvalue()

    def load(self, state: bytes) -> LiveMemory:
        """See `Subject.load`; texts are read again, weights are those that were saved."""
        found = torch.load(io.BytesIO(state), map_location=self._model.device, weights_only=True)
        memory = copy.deepcopy(self._memory)
        memory.load_state_dict(found["memory"])
        loaded = type(self)(memory, self._model, self.vocabulary)
        for text in found["texts"]:
            loaded.write(text)
        return loaded

    def _read(self, query: str) -> Passage:
        (passage,) = read_passages(self._model, self.vocabulary, [query])
        return passage

    def _find(self, asked: Passage, count: int) -> list[tuple[int, float]]:
        place = self._memory.place(asked.semantic)
        items = self._tree.retrieve(place, count)
        return [
            (item, float(self._memory.place(self._passages[item].semantic) @ place))
            for item in items
        ]

    def _recall(
        self, query: str, slots: int | None = None, gate: float | None = None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """Prefix (1, P, d), pointer (1, V) and gate (1,) for a query; None for an empty store."""
        asked = self._read(query)
        found = self._find(asked, FOUND)
        if not found:
            return None, None, None
        texts = [[self._passages[item] for item, _ in found]]
        nearness = torch.tensor([[near for _, near in found]], device=self._model.device)
        weights = self._memory.weigh(nearness)
        prefix = self._memory.recall(self._model, asked.semantic[None], texts, weights)
        share = self._memory.gate(nearness[:, 0])
        if gate is not None:
            share = torch.full_like(share, gate)
        kept = prefix if slots is None else prefix[:, prefix.shape[1] - slots :]
        return kept, point(texts, weights, self.vocabulary.size), share

    def _speak(
        self,
        ids: list[int],
        prefix: torch.Tensor | None,
        pointer: torch.Tensor | None,
        gate: torch.Tensor | None,
    ) -> torch.Tensor:
        row = torch.tensor([ids], device=self._model.device)
        logits = self._model.continue_from(prefix, row)[:, -1:]
        if pointer is None or gate is None:
            plain: torch.Tensor = logits.log_softmax(-1)[0, 0]
            return plain
        said = functional.one_hot(row, logits.shape[-1]).sum(1, keepdim=True) > 0
        return mix(logits, pointer, said, gate)[0, 0]


class DeafMemory(LiveMemory):
    """The same store before a language model that never hears of it: what an audit must fail."""

    def logits(
        self, prompt: str, *, memory: bool = True, slots: int | None = None,
        gate: float | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """See `Subject.logits`."""
        del memory, slots, gate
        return super().logits(prompt, memory=False)

    def trace(self, prompt: str, count: int, *, memory: bool = True) -> Trace:
        """See `Subject.trace`."""
        del memory
        alone: Trace = super().trace(prompt, count, memory=False)
        return alone
