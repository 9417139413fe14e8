"""A made-up language of 320 tokens with needles in it, for models trained from scratch.

Text is filler; a needle is `the code of KEY v v v .`, a question `? what code of KEY` and its
answer the three values, each one of 100: guessing finds one answer in a million.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bridge.errors import UsageError

VOCABULARY = 320
PAD, THE, CODE, OF, STOP, ASK, WHAT = range(7)
FILLERS = range(20, 120)
KEYS = range(120, 220)
VALUES = range(220, 320)
ANSWER = 3
NEEDLE = 5 + ANSWER
QUESTION = 5
IGNORED = -100  # what cross entropy leaves out


@dataclass(frozen=True, slots=True)
class SyntheticPrompt:
    """Token ids that end in a question, and the tokens that answer it.

    Attributes:
        ids: the prompt, exactly as long as was asked for.
        answer: what must come next.
        start, end: where the needle asked for stands.
    """

    ids: tuple[int, ...]
    answer: tuple[int, ...]
    start: int
    end: int

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over the ids as decimal text with commas."""
        text = ",".join(map(str, self.ids))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def make_prompt(source: random.Random, *, context: int, needles: int = 4) -> SyntheticPrompt:
    """A prompt of `context` tokens with `needles` needles; the question is about one of them.

    Raises:
        UsageError: the context is too short for them.
    """
    room = context - QUESTION
    places = _draw_places(source, room, needles)
    keys = source.sample(KEYS, needles)
    ids = source.choices(FILLERS, k=context)
    answers = []
    for place, key in zip(places, keys, strict=True):
        values = tuple(source.choices(VALUES, k=ANSWER))
        ids[place : place + NEEDLE] = [THE, CODE, OF, key, *values, STOP]
        answers.append(values)
    asked = source.randrange(needles)
    ids[room:] = [ASK, WHAT, CODE, OF, keys[asked]]
    return SyntheticPrompt(tuple(ids), answers[asked], places[asked], places[asked] + NEEDLE)


def make_text(source: random.Random, *, context: int) -> tuple[int, ...]:
    """Filler alone: what a projection sees beside needles."""
    return tuple(source.choices(FILLERS, k=context))


def make_needle_batch(
    source: random.Random, *, rows: int, length: int, needles: int, questions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Training rows with several answered questions at their end.

    Returns:
        ids (B, T) and labels (B, T): the token that follows, where it answers a question, else
        `IGNORED`.
    """
    tail = questions * (QUESTION + ANSWER)
    ids, labels = [], []
    for _ in range(rows):
        count = source.randint(1, needles)
        room = length - tail
        places = _draw_places(source, room, count)
        keys = source.sample(KEYS, count)
        row = source.choices(FILLERS, k=length)
        marks = [IGNORED] * length
        known = {}
        for place, key in zip(places, keys, strict=True):
            known[key] = source.choices(VALUES, k=ANSWER)
            row[place : place + NEEDLE] = [THE, CODE, OF, key, *known[key], STOP]
        for question in range(questions):
            start = room + question * (QUESTION + ANSWER)
            key = source.choice(keys)
            row[start : start + QUESTION + ANSWER] = [ASK, WHAT, CODE, OF, key, *known[key]]
            for step in range(ANSWER):
                marks[start + QUESTION - 1 + step] = known[key][step]
        ids.append(row)
        labels.append(marks)
    return torch.tensor(ids), torch.tensor(labels)


def make_copy_batch(
    source: random.Random, *, rows: int, length: int, fixed: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Training rows that repeat themselves: with one period for all, or one drawn for each.

    A drawn period can only be followed by looking for what was there before, which is what
    needles take.

    Returns:
        ids (B, T) and labels (B, T): the token that follows, where it comes again, else
        `IGNORED`.
    """
    ids, labels = [], []
    for _ in range(rows):
        period = length // 2 if fixed else source.randint(6, length // 2)
        passage = source.choices(range(FILLERS.start, VOCABULARY), k=period)
        row = [passage[step % period] for step in range(length)]
        known = period - 1 if fixed else period  # the first token back tells a drawn period
        ids.append(row)
        labels.append([IGNORED] * known + [row[step + 1] for step in range(known, length - 1)])
        labels[-1].append(IGNORED)
    return torch.tensor(ids), torch.tensor(labels)


def _draw_places(source: random.Random, room: int, count: int) -> list[int]:
    """`count` starts of needles below `room` that do not overlap, in a random order."""
    spare = room - count * NEEDLE
    if spare < 0:
        raise UsageError(
            f"{count} needles do not fit into {room} tokens", where="$.config.contexts"
        )
    gaps: Sequence[int] = sorted(source.randint(0, spare) for _ in range(count))
    places = [gap + index * NEEDLE for index, gap in enumerate(gaps)]
    source.shuffle(places)
    return places
