"""What the cases share: stores filled once, continuations decoded once, and counts over them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch

from workloads.ams_audit.config import Reader
from workloads.ams_audit.lexicon import DOMAINS, Telling, tell
from workloads.ams_audit.protocol import Subject, Trace

NAMES = tuple(DOMAINS)
MIXED = "all"
BLANK = "blank"
_BLANK_TEXT = "it is that ."  # no content word
TOP = 12


def draw_texts(domain: str) -> tuple[Telling, ...]:
    """The audit's texts of a domain, one about each of its things; the same in every run."""
    source = random.Random(f"ams_audit/1 texts {domain}")  # noqa: S311  (a seed, not a secret)
    things = range(len(DOMAINS[domain].things))
    return tuple(tell(source, DOMAINS[domain], thing) for thing in things)


TEXTS: Mapping[str, tuple[Telling, ...]] = {name: draw_texts(name) for name in NAMES}
# What brings a domain's texts out of the mixed store, and the domain that each should bring.
PROMPTS = tuple((f"the {pair[0]}", name) for name in NAMES for pair in DOMAINS[name].people[:2])


class Stage:
    """One audited memory, with stores for each domain, for all of them, and for nothing.

    Args:
        subject: the memory.
        reader: how case 4.24 reads what is kept of a text.
        traced: tokens decoded behind a prompt.
    """

    def __init__(self, subject: Subject, *, reader: Reader = "primary", traced: int = 24) -> None:
        self.subject = subject
        self.reader = reader
        self.traced = traced
        self._stores: dict[str, Subject] = {}
        self._traces: dict[tuple[str, str], Trace] = {}

    def store(self, name: str) -> Subject:
        """A memory that was told a domain's texts (`MIXED`: all, `BLANK`: one without content)."""
        if name not in self._stores:
            store = self.subject.empty()
            for text in self._list_texts(name):
                store.write(text)
            self._stores[name] = store
        return self._stores[name]

    def _list_texts(self, name: str) -> list[str]:
        if name == BLANK:
            return [_BLANK_TEXT]
        return [one.text for domain in NAMES if name in (domain, MIXED) for one in TEXTS[domain]]

    def trace(self, name: str, prompt: str) -> Trace:
        """What a store says behind a prompt."""
        if (name, prompt) not in self._traces:
            self._traces[name, prompt] = self.store(name).trace(prompt, self.traced)
        return self._traces[name, prompt]

    def mass(self, logits: torch.Tensor, domain: str) -> float:
        """Share of a distribution (V,) of log probabilities that is a domain's words."""
        tokens = self.subject.vocabulary.keywords(domain)
        return float(logits[sorted(set(tokens))].exp().sum())

    def masses(self, logits: torch.Tensor) -> dict[str, float]:
        """The share of every domain."""
        return {name: self.mass(logits, name) for name in NAMES}

    def lead(self, logits: torch.Tensor, domain: str) -> float:
        """Nats between a domain's share and the largest other one; above 0 where it leads."""
        masses = self.masses(logits)
        other = max(mass for name, mass in masses.items() if name != domain)
        return math.log((masses[domain] + 1e-9) / (other + 1e-9))

    def domain_of(self, item: int) -> str:
        """The domain of a text in the mixed store."""
        return NAMES[item // len(TEXTS[NAMES[0]])]

    def main_domain(self, tokens: Sequence[int]) -> str | None:
        """The domain that most words belong to; None where no word belongs to any."""
        counts = Counter(
            name
            for token in tokens
            for name in NAMES
            if token in self.subject.vocabulary.keywords(name)
        )
        return counts.most_common(1)[0][0] if counts else None

    def is_content(self, token: int) -> bool:
        """Whether a token begins a content word."""
        return bool(self.subject.vocabulary.starters[token])


def share_unique(tokens: Sequence[int]) -> float:
    """Different tokens among all."""
    return len(set(tokens)) / len(tokens)


def share_repeated_pairs(tokens: Sequence[int]) -> float:
    """Pairs of neighbours that stood before, among all pairs."""
    pairs = list(pairwise(tokens))
    return 1 - len(set(pairs)) / len(pairs)


def longest_run(tokens: Sequence[int]) -> int:
    """The longest stretch of one token."""
    longest = run = 1
    for before, token in pairwise(tokens):
        run = run + 1 if token == before else 1
        longest = max(longest, run)
    return longest


def first_repeated_pair(tokens: Sequence[int]) -> int:
    """Where a pair of neighbours stands for the second time; the length where none does."""
    seen = set()
    for place, pair in enumerate(pairwise(tokens)):
        if pair in seen:
            return place
        seen.add(pair)
    return len(tokens)


def count_locks(tokens: Sequence[int]) -> int:
    """Triples that follow themselves at once."""
    return sum(
        tokens[place : place + 3] == tokens[place + 3 : place + 6]
        for place in range(len(tokens) - 5)
    )


def average(values: Sequence[float]) -> float:
    """The mean."""
    return sum(values) / len(values)


def correlate(one: Sequence[float], two: Sequence[float]) -> float:
    """Pearson's correlation; 0 where one side does not vary."""
    left, right = torch.tensor(one).double(), torch.tensor(two).double()
    left, right = left - left.mean(), right - right.mean()
    scale = float(left.norm() * right.norm())
    return float(left @ right) / scale if scale > 1e-12 else 0.0
