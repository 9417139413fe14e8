"""What is asked of the verifier: needles in made-up text, or in real essays."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from workloads.shared import synthetic
from workloads.shared.needles import Haystack

PLAIN_EVERY = 4  # of the training texts, one in so many holds no needle


@dataclass(frozen=True, slots=True)
class Unit:
    """One question: a context, a seed, and the how-manieth of its kind; arms share it."""

    context: int
    seed: int
    index: int

    @property
    def id(self) -> str:
        """The name that pairs rows across arms."""
        return f"c{self.context}-s{self.seed}-n{self.index}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt, what tells a right answer, and where the needle stands."""

    ids: tuple[int, ...]
    digest: str
    answer: Any
    start: int
    end: int

    def is_outside(self, *, sink: int, window: int) -> bool:
        """Whether the needle lies wholly where sink and window do not reach."""
        return self.start >= sink and self.end <= len(self.ids) - window


class Task(Protocol):
    """Makes problems and training texts; their seeds never meet, since their names differ."""

    new_tokens: int

    def make_problem(self, unit: Unit) -> Problem:
        """The problem of a unit, the same in every arm."""

    def make_text(self, seed: int, index: int, length: int) -> tuple[int, ...]:
        """A training text of `length` tokens: a needle prompt, or plain text."""

    def is_right(self, problem: Problem, tokens: Sequence[int]) -> bool:
        """Whether the decoded tokens answer the problem."""


class SyntheticTask:
    """The language of 320 tokens; the answer is three tokens, to be given exactly."""

    new_tokens = synthetic.ANSWER

    def __init__(self, *, needles: int = 4) -> None:
        self._needles = needles

    def make_problem(self, unit: Unit) -> Problem:
        """See `Task.make_problem`."""
        made = synthetic.make_prompt(
            _source("problem", unit.id), context=unit.context, needles=self._needles
        )
        return Problem(made.ids, made.digest, made.answer, made.start, made.end)

    def make_text(self, seed: int, index: int, length: int) -> tuple[int, ...]:
        """See `Task.make_text`."""
        source = _source("text", f"s{seed}-n{index}")
        if index % PLAIN_EVERY == 0:
            return synthetic.make_text(source, context=length)
        return synthetic.make_prompt(source, context=length, needles=self._needles).ids

    def is_right(self, problem: Problem, tokens: Sequence[int]) -> bool:
        """See `Task.is_right`."""
        return tuple(tokens) == tuple(problem.answer)


class EssayTask:
    """A sentence hidden in essays; its code of digits must stand in the answer."""

    def __init__(self, tokenizer: Any, haystack: Haystack, *, new_tokens: int = 8) -> None:
        self._tokenizer = tokenizer
        self._haystack = haystack
        self.new_tokens = new_tokens

    def make_problem(self, unit: Unit) -> Problem:
        """See `Task.make_problem`; depths run evenly over the units."""
        source = _source("problem", unit.id)
        prompt = self._haystack.make_prompt(
            source, context=unit.context, depth=source.uniform(0.05, 0.9)
        )
        return Problem(prompt.ids, prompt.digest, prompt.needle.code, prompt.start, prompt.end)

    def make_text(self, seed: int, index: int, length: int) -> tuple[int, ...]:
        """See `Task.make_text`."""
        source = _source("text", f"s{seed}-n{index}")
        return self._haystack.make_prompt(
            source, context=length, depth=source.random(), present=index % PLAIN_EVERY != 0
        ).ids

    def is_right(self, problem: Problem, tokens: Sequence[int]) -> bool:
        """See `Task.is_right`."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return str(problem.answer) in text


def make_texts(
    task: Task, *, seed: int, count: int, rows: int, length: int, device: torch.device
) -> list[torch.Tensor]:
    """`count` batches (rows, length) of training texts."""
    return [
        torch.tensor(
            [task.make_text(seed, batch * rows + row, length) for row in range(rows)],
            device=device,
        )
        for batch in range(count)
    ]


def _source(purpose: str, name: str) -> random.Random:
    return random.Random(f"task/1 {purpose} {name}")  # noqa: S311  (a seed, not a secret)
