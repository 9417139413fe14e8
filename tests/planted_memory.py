"""A memory made of rules, which passes every case of the audit, and its planted defects.

It keeps texts as words, finds them by concept (a word and its other name count as one), and says
the found words and function words in turn. A defect changes one behaviour.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from workloads.ams_audit.lexicon import DOMAINS
from workloads.ams_audit.protocol import Index, Trace
from workloads.ams_audit.tokens import Vocabulary
from workloads.shared.directions import CAPACITY, DirectionTree

WIDTH = 64
SLOTS = 8
LOUD, FAINT = 8.0, 0.1
NAMES = list(DOMAINS)

# the defect that makes each case fail
DEFECTS = {
    "4.1": "leaves-never-split", "4.2": "equal-directions-are-lost", "4.3": "nothing-learns",
    "4.4": "keeps-the-graph", "4.5": "deaf", "4.6": "contrary", "4.7": "contrary-in-cooking",
    "4.8": "stuck", "4.9": "one-answer", "4.10": "loud-about-nothing", "4.11": "faint",
    "4.12": "stuck", "4.13": "loads-less", "4.14": "remembers-questions", "4.15": "drifts",
    "4.16": "contrary", "4.17": "sure-when-wrong", "4.18": "keywords-alone",
    "4.19": "finds-the-wrong-text", "4.20": "finds-by-chance", "4.21": "loops",
    "4.22": "chatty", "4.23": "tail-of-the-domain", "4.24": "blurred", "4.25": "length-is-lost",
    "4.26": "mixes-nothing-in",
}  # fmt: skip


class _OneLeaf(DirectionTree):
    def _split(self, node: Any) -> None:
        """Leaves grow without end."""


class _Forgetful(DirectionTree):
    """A direction that is there already replaces what pointed there."""

    def insert(self, item: int, direction: torch.Tensor) -> None:
        for other in self.retrieve(direction, 1):
            if torch.equal(self._directions[other], direction):
                self.remove(other)
        super().insert(item, direction)


class PlantedMemory:
    """See `workloads.ams_audit.protocol.Subject`."""

    capacity = CAPACITY

    def __init__(self, defect: str = "none") -> None:
        self.defect = defect
        self.vocabulary = Vocabulary.of_words()
        source = torch.Generator().manual_seed(0)
        drawn = torch.randn(self.vocabulary.size, WIDTH, generator=source)
        self.embeddings = functional.normalize(drawn, dim=-1)
        self._texts: list[str] = []
        self._concepts: dict[str, tuple[str, int]] = {}
        for name, domain in DOMAINS.items():
            groups = (*domain.people, *domain.deeds, *domain.things, *domain.places)
            for number, pair in enumerate(groups):
                self._concepts |= dict.fromkeys(pair, (name, number))
            self._concepts |= dict.fromkeys(domain.rare_words, (name, -1))

    def empty(self) -> PlantedMemory:
        return type(self)(self.defect)

    def write(self, text: str) -> int:
        self._texts.append(text)
        return len(self._texts) - 1

    def retrieve(self, query: str, count: int) -> list[tuple[int, float]]:
        asked = self._find_concepts(query)
        scored = []
        for item, text in enumerate(self._texts):
            held = self._find_concepts(text)
            near = 0.1 * any(one[0] == other[0] for one in asked for other in held)
            near += 0.1 * len(asked & held) - 1e-4 * item
            if self.defect == "finds-by-chance":
                near = zlib.crc32(f"{query} {item}".encode()) / 2**33
            if self.defect == "finds-the-wrong-text":
                near = -near
            scored.append((item, near))
        if self.defect == "sure-when-wrong":
            bonus = 0.5 * any(name in ("music", "space") for name, _ in asked)
            scored = [(item, near + bonus) for item, near in scored]
        return sorted(scored, key=lambda pair: -pair[1])[:count]

    def prefix(self, query: str) -> torch.Tensor:
        words = self._find_words(query)
        body = self.embeddings[self.vocabulary.find(words)].mean(0) if words else torch.ones(WIDTH)
        item, _ = self.retrieve(query, 1)[0]
        rare = [word for word in self._texts[item].split() if self._is_rare(word)]
        if self.defect == "tail-of-the-domain" or not rare:
            rare = words or ["the"]
        tail = self.embeddings[self.vocabulary.find(rare)].sum(0)
        return torch.cat([body.expand(SLOTS - 1, WIDTH), tail[None]])

    def logits(
        self, prompt: str, *, memory: bool = True, slots: int | None = None,
        gate: float | None = None,
    ) -> torch.Tensor:  # fmt: skip
        return self._speak(prompt, self.vocabulary.encode(prompt), 0, memory, slots or SLOTS)

    def trace(self, prompt: str, count: int, *, memory: bool = True) -> Trace:
        ids = self.vocabulary.encode(prompt)
        rows, said = [], []
        for step in range(count):
            rows.append(self._speak(prompt, [*ids, *said], step, memory, SLOTS))
            token = int(rows[-1].argmax())
            if self.defect == "loops" and step > 2:
                token = said[step - 3]
            said.append(token)
        if self.defect == "remembers-questions":
            self._texts.append(prompt)
        return Trace(tuple(said), torch.stack(rows))

    def gate(self, prompt: str) -> float:
        return 0.3 if self._texts or self.defect == "mixes-nothing-in" else 0.0

    def fields(self, item: int) -> Mapping[str, torch.Tensor]:
        source = torch.Generator().manual_seed(item)
        noise = torch.randn(WIDTH, generator=source)
        (name,) = {name for name, _ in self._find_concepts(self._texts[item])}
        place = torch.zeros(WIDTH)
        place[NAMES.index(name)] = 0.0 if self.defect == "blurred" else 20.0
        return {"semantic": place + noise, "slot": place + noise}

    def index(self) -> Index:
        kinds = {"leaves-never-split": _OneLeaf, "equal-directions-are-lost": _Forgetful}
        return kinds.get(self.defect, DirectionTree)()

    def learn(self) -> Mapping[str, tuple[float, float]]:
        return {"bridge": (1.0, 0.1), "tail": (0.0, 0.0) if "learns" in self.defect else (1.0, 0.1)}

    def footprint(self) -> tuple[int, int]:
        return len(self._texts), 20 * len(self._texts)

    def save(self) -> bytes:
        return json.dumps(self._texts).encode()

    def load(self, state: bytes) -> PlantedMemory:
        loaded = self.empty()
        texts = json.loads(state)
        loaded._texts = texts[1:] if self.defect == "loads-less" else texts
        return loaded

    def _speak(
        self, prompt: str, ids: list[int], step: int, memory: bool, slots: int
    ) -> torch.Tensor:
        vocabulary = self.vocabulary
        logits = torch.zeros(vocabulary.size)
        functions = vocabulary.functions.nonzero().flatten().tolist()
        after_content = bool(vocabulary.starters[ids[-1]]) and self.defect != "keywords-alone"
        logits[functions] = 1.0
        logits[functions[len(ids) % len(functions)]] = 12.0 if after_content else 1.0
        words = self._find_words(prompt) if memory and self.defect != "deaf" else []
        if memory and not words and self._texts and self.defect == "loud-about-nothing":
            logits[vocabulary.keywords("finance")] += 3 * LOUD
        if words:
            loudness = FAINT if self.defect == "faint" else LOUD
            share = 1.0 if self.defect == "length-is-lost" else slots / SLOTS
            domain = self._choose_domain(words, step)
            logits[vocabulary.keywords(domain)] += loudness * share / 2
            unsaid = [token for token in vocabulary.find(words) if token not in ids]
            if domain == self._concepts[words[0]][0]:
                logits[unsaid] += loudness * share / 2
            if self.defect == "chatty":
                logits[functions] += 2 * LOUD
            if self.defect == "stuck":
                logits[vocabulary.find(["the"])] += 100.0
        key = "" if self.defect == "one-answer" else prompt
        logits += 0.01 * (torch.arange(len(logits)) * 31 + zlib.crc32(key.encode()) % 97).fmod(7)
        if self.defect == "one-answer" and not step:
            logits[vocabulary.find(["tempo"])] += 100.0
        if self.defect == "one-answer" and step:
            logits = torch.zeros(len(logits))
            logits[(ids[-1] + 1) % len(logits)] = 1.0
        if self.defect == "keeps-the-graph":
            logits.requires_grad_(True)
        return logits.log_softmax(-1)

    def _choose_domain(self, words: list[str], step: int) -> str:
        own = self._concepts[words[0]][0]
        other = NAMES[(NAMES.index(own) + 1) % len(NAMES)]
        contrary = self.defect == "contrary" or (self.defect == "drifts" and step == 2)
        contrary |= self.defect == "contrary-in-cooking" and own == "cooking"
        contrary |= self.defect == "sure-when-wrong" and own in ("music", "space")
        return other if contrary else own

    def _find_words(self, prompt: str) -> list[str]:
        texts = [self._texts[item] for item, _ in self.retrieve(prompt, 3)]
        if texts:  # of the best text's domain alone
            best = {name for name, _ in self._find_concepts(texts[0])}
            texts = [one for one in texts if best & {n for n, _ in self._find_concepts(one)}]
        words = [word for text in texts for word in text.split() if word in self._concepts]
        return list(dict.fromkeys(words))

    def _find_concepts(self, text: str) -> set[tuple[str, int]]:
        return {self._concepts[word] for word in text.split() if word in self._concepts}

    def _is_rare(self, word: str) -> bool:
        return self._concepts.get(word, ("", 0))[1] == -1
