"""What a memory is trained on: stores of texts from two domains, and a prompt for one of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from workloads.ams_audit.lexicon import DOMAINS, OPENINGS, SEEN, Telling, tell


@dataclass(frozen=True, slots=True)
class Lesson:
    """One store, which of its texts is wanted, and the prompt that should bring it.

    Attributes:
        prompt: the wanted text told again without its rare words, or an opening that fits every
            text; then all texts of the store are of one domain.
    """

    told: tuple[Telling, ...]
    wanted: int
    prompt: str

    @property
    def opened(self) -> bool:
        """Whether the prompt is an opening."""
        return self.prompt in OPENINGS


def draw_lesson(source: random.Random, count: int) -> Lesson:
    """`count` texts of the two domains that a memory may see."""
    opened = source.random() < 0.5
    one = source.choice(SEEN)
    told = tuple(
        tell(source, DOMAINS[one if opened else source.choice(SEEN)]) for _ in range(count)
    )
    wanted = source.randrange(count)
    prompt = source.choice(OPENINGS[:3]) if opened else told[wanted].retold
    return Lesson(told, wanted, prompt)


def make_source(purpose: str, seed: int) -> random.Random:
    """A source of random numbers of its own for each purpose."""
    return random.Random(f"ams_audit/1 {purpose} {seed}")  # noqa: S311  (a seed, not a secret)


def draw_corpus(seed: int, size: int) -> list[str]:
    """Texts that the centre and the pooled queries are taken from."""
    source = make_source("corpus", seed)
    return [tell(source, DOMAINS[source.choice(SEEN)]).text for _ in range(size)]
