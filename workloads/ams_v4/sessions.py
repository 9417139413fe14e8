"""Session viability: N facts are told, ten of them are asked for, in several modes.

`D` has every fact in its context. `A` has the memory's prefix alone, `C` the prefix and the one
text that the memory finds. Plain retrieval finds one text (`rag`) or four (`flat`) by the cosine of
content centroids and has no memory; with shuffled values a memory can only be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from workloads.ams_v4.backbone import Backbone
from workloads.ams_v4.bundles import NAMES, Reading, Triple
from workloads.ams_v4.language import Fact, Session, draw_session
from workloads.ams_v4.memory import Memory, Store
from workloads.ams_v4.training import Trained, make_source, recall_flat
from workloads.shared.prefix_memory import PrefixMemory
from workloads.shared.samples import Sample

FLAT_TEXTS = 4


@dataclass(frozen=True, slots=True)
class Exam:
    """Sessions of N facts and which of them are asked for.

    Attributes:
        asked: (S, Q) numbers of facts.
    """

    seed: int
    facts: int
    sessions: tuple[Session, ...]
    asked: tuple[tuple[int, ...], ...]

    @classmethod
    def draw(
        cls, backbone: Backbone, seed: int, facts: int, *, sessions: int, questions: int
    ) -> Exam:
        """The same exam for every arm of a seed; of pairs that nothing was trained on."""
        source = make_source(f"exam {facts}", seed)
        drawn = tuple(
            draw_session(backbone.language, source, facts, held=True) for _ in range(sessions)
        )
        asked = tuple(
            tuple(source.sample(range(facts), min(questions, facts))) for _ in range(sessions)
        )
        return cls(seed, facts, drawn, asked)

    def questions(self) -> list[list[tuple[int, ...]]]:
        """Tokens (S, Q, ...) of what is asked."""
        return [[fact.question for fact in row] for row in self._facts()]

    def answers(self) -> list[tuple[int, ...]]:
        """What must come, over all sessions."""
        return [fact.answer for row in self._facts() for fact in row]

    def _facts(self) -> Iterator[list[Fact]]:
        for session, numbers in zip(self.sessions, self.asked, strict=True):
            yield [session.facts[number] for number in numbers]

    def shuffled(self) -> tuple[Session, ...]:
        """The sessions with every value at another subject."""
        return tuple(
            Session(
                tuple(
                    _tell_as(fact, other.answer)
                    for fact, other in zip(
                        session.facts, (*session.facts[1:], session.facts[0]), strict=True
                    )
                )
            )
            for session in self.sessions
        )

    def write(
        self, right: torch.Tensor, arm: str, mode: str, measure: str = "hit"
    ) -> Iterator[Sample]:
        """One row for each question; `right` is (S * Q,)."""
        scores = iter(right.tolist())
        for number, (session, numbers) in enumerate(zip(self.sessions, self.asked, strict=True)):
            for asked in numbers:
                yield Sample(
                    arm=arm, seed=self.seed, unit=f"N{self.facts}-s{self.seed}-{number}-{asked}",
                    input=session.digest, measure=measure, score=bool(next(scores)),
                    at={"mode": mode, "facts": self.facts},
                )  # fmt: skip


@torch.no_grad()  # type: ignore[untyped-decorator]
def sit_without_memory(exam: Exam, backbone: Backbone) -> list[Sample]:
    """Everything in context, plain retrieval of one text and of four, and nothing at all."""
    told = backbone.read_sessions(exam.sessions)
    asked = backbone.read_prompts(exam.questions(), told)
    near = (
        torch.nn.functional.normalize(asked.content, dim=-1)
        @ torch.nn.functional.normalize(told.content, dim=-1).mT
    )
    everything = [list(range(exam.facts))] * sum(map(len, exam.asked))
    best = near.flatten(0, 1).topk(FLAT_TEXTS, dim=-1).indices
    rows: list[Sample] = []
    for arm, mode, chosen in (
        ("full_history", "D", everything),
        ("nothing", "none", [[] for _ in everything]),
        ("rag", "text", best[:, :1].tolist()),
        ("flat", "text", best.flip(-1).tolist()),
    ):
        rows += exam.write(_answer(exam, backbone, None, chosen), arm, mode)
    rows += exam.write(_is_found(exam, best[:, :1].tolist()), "rag", "text", "found")
    return rows


@torch.no_grad()  # type: ignore[untyped-decorator]
def sit(exam: Exam, backbone: Backbone, trained: Trained, arm: str) -> list[Sample]:
    """A memory's prefix alone (A), with the text that it finds (C), and over shuffled values."""
    told = backbone.read_sessions(exam.sessions)
    asked = backbone.read_prompts(exam.questions(), told)
    prefix, found = _recall(trained, told, asked, backbone)
    nothing: list[list[int]] = [[] for _ in found]
    rows = [*exam.write(_answer(exam, backbone, prefix, nothing), arm, "A")]
    rows += exam.write(_answer(exam, backbone, prefix, found), arm, "C")
    rows += exam.write(_is_found(exam, found), arm, "C", "found")
    confused = replace(exam, sessions=exam.shuffled())
    told = backbone.read_sessions(confused.sessions)
    prefix, _ = _recall(trained, told, asked, backbone)
    rows += exam.write(_answer(exam, backbone, prefix, nothing), arm, "A_shuffled")
    return rows


def _recall(
    trained: Trained, told: Reading, asked: Reading, backbone: Backbone
) -> tuple[torch.Tensor, list[list[int]]]:
    """The prefix (S * Q, P, d) and the one fact that the memory finds for each question."""
    memory = trained.memory
    if isinstance(memory, PrefixMemory):
        cosine = torch.nn.functional.cosine_similarity(
            asked.hidden[:, :, None], told.hidden[:, None], dim=-1
        )
        found = cosine.flatten(0, 1).argmax(-1, keepdim=True).tolist()
        return recall_flat(memory, told, asked).flatten(0, 1), found
    entries, places = memory.encode(told), memory.encode(asked)
    stores = fill_stores(memory, told, entries, backbone.width)
    count = trained.arm.chosen or 1
    near = [
        [_find(store, memory, places, session, number, count)
         for number in range(asked.hidden.shape[1])]
        for session, store in enumerate(stores)
    ]  # fmt: skip
    allowed = None
    if trained.arm.chosen:
        allowed = torch.zeros(*asked.hidden.shape[:2], told.hidden.shape[1], dtype=torch.bool)
        for session, rows in enumerate(near):
            for number, items in enumerate(rows):
                allowed[session, number, items] = True
        allowed = allowed.to(backbone.device)
    prefix = memory.recall(asked, places, entries, allowed).flatten(0, 1)
    return prefix, [items[:1] for rows in near for items in rows]


def fill_stores(
    memory: Memory, told: Reading, entries: dict[str, Triple], width: int
) -> list[Store]:
    """One store for each session, its long fields compressed."""
    fields = memory.fields(told, entries)
    stores = []
    for session in range(told.hidden.shape[0]):
        store = Store(width)
        for item in range(told.hidden.shape[1]):
            store.add(
                item,
                {name: _pick(entries[name], session, item) for name in NAMES},
                {name: value[session, item] for name, value in fields.items()},
            )
        store.compress(memory.axes)
        stores.append(store)
    return stores


def _pick(triple: Triple, session: int, item: int) -> Triple:
    return Triple(
        triple.base[session, item], triple.fiber[session, item], triple.direction[session, item]
    )


def _find(
    store: Store,
    memory: Memory,
    places: dict[str, Triple],
    session: int,
    number: int,
    count: int,
) -> list[int]:
    place = {name: _pick(places[name], session, number) for name in NAMES}
    return store.find(memory, place, count)


def _answer(
    exam: Exam, backbone: Backbone, prefix: torch.Tensor | None, chosen: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Whether each question is answered, with the chosen facts in its context."""
    prompts = []
    rows = iter(chosen)
    for session, questions in zip(exam.sessions, exam.questions(), strict=True):
        for question in questions:
            told = [token for item in next(rows) for token in session.facts[item].ids]
            prompts.append((*told, *question))
    return backbone.answer(prefix, prompts, exam.answers())[1]


def _tell_as(fact: Fact, answer: tuple[int, ...]) -> Fact:
    rest = fact.ids[fact.cut + len(fact.answer) :]
    return replace(fact, ids=(*fact.ids[: fact.cut], *answer, *rest), answer=answer)


def _is_found(exam: Exam, found: Sequence[Sequence[int]]) -> torch.Tensor:
    asked = [number for numbers in exam.asked for number in numbers]
    return torch.tensor([one[:1] == [two] for one, two in zip(found, asked, strict=True)])
