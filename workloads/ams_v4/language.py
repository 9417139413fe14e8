"""Sessions of facts and the questions about them: made-up tokens, or English for real weights."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from bridge import canonical
from workloads.shared import synthetic
from workloads.shared.synthetic import ASK, CODE, FILLERS, KEYS, OF, STOP, THE, VALUES
from workloads.shared.synthetic import WHAT as WHICH

HELD_EVERY = 5  # of the pairs (subject, value), one in so many is never trained on
_TEMPLATES = 3


@dataclass(frozen=True, slots=True)
class Fact:
    """One sentence: its tokens, its question, and the tokens that answer it.

    Attributes:
        ids: the whole sentence.
        question: asks for the value, under any name of the subject.
        retold: another telling of the sentence, up to its value.
        answer: the value's tokens.
        cut: how many tokens of `ids` stand before the value.
    """

    ids: tuple[int, ...]
    question: tuple[int, ...]
    retold: tuple[int, ...]
    answer: tuple[int, ...]
    cut: int


@dataclass(frozen=True, slots=True)
class Session:
    """Facts in the order in which they were told; no subject twice."""

    facts: tuple[Fact, ...]

    @property
    def digest(self) -> str:
        """Of every token."""
        return canonical.digest([list(fact.ids) for fact in self.facts])


class Language(Protocol):
    """Makes facts about (subject, value) pairs by number."""

    subjects: int
    values: int
    vocabulary: int

    def make_fact(self, source: random.Random, subject: int, value: int) -> Fact:
        """One sentence about a pair."""


class SyntheticLanguage:
    """`[filler] the code of KEY [filler] v .`: seven tokens at most, one of them the value.

    A subject has two names, and each telling and each question takes one of them: who looks for
    equal words finds half of the facts.
    """

    subjects = len(KEYS) // 2
    values = len(VALUES)
    vocabulary = synthetic.VOCABULARY

    def make_fact(self, source: random.Random, subject: int, value: int) -> Fact:
        """See `Language.make_fact`; a filler stands before the sentence, within it, or nowhere."""
        head = self._tell(source, subject)
        question = (ASK, WHICH, CODE, OF, self._name(source, subject))
        retold = self._tell(source, subject)
        return Fact((*head, VALUES[value], STOP), question, retold, (VALUES[value],), len(head))

    def _tell(self, source: random.Random, subject: int) -> tuple[int, ...]:
        template = source.randrange(_TEMPLATES)
        filler = source.choice(FILLERS)
        head = [filler] * (template == 1) + [THE, CODE, OF, self._name(source, subject)]
        return (*head, *[filler] * (template == 2))

    def _name(self, source: random.Random, subject: int) -> int:
        return KEYS[subject + self.subjects * source.randrange(2)]


_THINGS = (
    ("lamp", "light"), ("river", "stream"), ("automobile", "car"), ("physician", "doctor"),
    ("garden", "yard"), ("photograph", "picture"), ("stone", "rock"), ("house", "home"),
    ("infant", "baby"), ("couch", "sofa"), ("road", "street"), ("ship", "boat"),
    ("forest", "woods"), ("present", "gift"), ("film", "movie"), ("jacket", "coat"),
    ("kid", "child"), ("teacher", "instructor"), ("lawyer", "attorney"), ("dinner", "supper"),
    ("ocean", "sea"), ("hill", "mound"), ("bag", "sack"), ("cup", "mug"), ("rug", "carpet"),
    ("shop", "store"), ("bicycle", "bike"), ("airplane", "plane"), ("phone", "telephone"),
    ("cap", "hat"), ("cellar", "basement"), ("taxi", "cab"), ("mistake", "error"),
    ("journey", "trip"), ("job", "occupation"), ("purse", "wallet"), ("pail", "bucket"),
    ("rabbit", "bunny"), ("autumn", "fall"), ("king", "monarch"),
)  # fmt: skip
_WORDS = (
    "amber", "silver", "copper", "violet", "scarlet", "ivory", "golden", "purple", "orange",
    "green", "yellow", "brown", "white", "black", "blue", "red", "pink", "gray", "winter",
    "summer", "spring", "october", "monday", "friday", "sunday", "thunder", "shadow", "marble",
    "crystal", "velvet", "honey", "pepper", "ginger", "lemon", "cherry", "apple", "banana",
    "coffee", "butter", "sugar",
)  # fmt: skip


class WordLanguage:
    """`The code of the lamp is amber.`, asked for under that name or a synonym."""

    subjects = len(_THINGS)
    values = len(_WORDS)

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.vocabulary = len(tokenizer)

    def make_fact(self, source: random.Random, subject: int, value: int) -> Fact:
        """See `Language.make_fact`."""
        names = _THINGS[subject]
        head = self._encode(f" The code of the {source.choice(names)} is")
        answer = self._encode(f" {_WORDS[value]}")
        asked = f" What is the code of the {source.choice(names)}? It is"
        retold = self._encode(f" The code of the {source.choice(names)} is")
        return Fact(
            (*head, *answer, *self._encode(".")), self._encode(asked), retold, answer, len(head)
        )

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))


def is_held(subject: int, value: int) -> bool:
    """Whether a pair is kept for the sessions that are measured."""
    return (subject + value) % HELD_EVERY == 0


def draw_session(language: Language, source: random.Random, count: int, *, held: bool) -> Session:
    """`count` facts about different subjects, all of held-out pairs or none."""
    facts = []
    for subject in source.sample(range(language.subjects), count):
        choices = [one for one in range(language.values) if is_held(subject, one) is held]
        facts.append(language.make_fact(source, subject, source.choice(choices)))
    return Session(tuple(facts))


def draw_corpus(language: Language, source: random.Random, size: int) -> tuple[Fact, ...]:
    """A fixed corpus of trained pairs, each subject once: what v4.6 was trained on."""
    return draw_session(language, source, size, held=False).facts


def weigh_tokens(language: Language, source: random.Random, documents: int = 2000) -> torch.Tensor:
    """IDF of every token over facts and questions, scaled to 0..1; unseen tokens weigh 1.

    Returns:
        (V,) weights.
    """
    seen = torch.zeros(language.vocabulary)
    for number in range(documents):
        subject, value = source.randrange(language.subjects), source.randrange(language.values)
        fact = language.make_fact(source, subject, value)
        seen[list(set(fact.ids if number % 2 else fact.question))] += 1
    scale = torch.log(torch.tensor(1.0 + documents))
    return torch.log((1.0 + documents) / (1.0 + seen)) / scale
