"""What is decoded: held-out prompts of two kinds, and the texts that a drafter learns from."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from bridge.errors import UsageError
from workloads.shared.context import Context
from workloads.shared.needles import read_essays
from workloads.specdecode import boilerplate

NGRAM = 8
HELD_SHARE = 0.3  # the last part of a real corpus, which training never sees


class Prompts(Protocol):
    """Token ids by kind; training never shares a draw with what is held out.

    Attributes:
        kinds: names of the kinds, the one that the drafter is made for first.
        tokenizer: of the model, None for the made-up language.
    """

    kinds: tuple[str, ...]
    tokenizer: Any

    def draw(self, kind: str, seed: int, index: int, length: int) -> list[int]:
        """A held-out prompt of `length` tokens."""

    def draw_training(self, seed: int, index: int, length: int) -> list[int]:
        """A prompt that the drafter's training begins from."""


class BoilerplatePrompts:
    """Declarations that the verifier was trained on (`in`), and odd ones (`out`)."""

    kinds: tuple[str, ...] = ("in", "out")
    tokenizer: Any = None

    def draw(self, kind: str, seed: int, index: int, length: int) -> list[int]:
        """See `Prompts.draw`."""
        source = _source("held", kind, seed, index)
        if kind == "in":
            return boilerplate.make_prompt(source, length, held=True)
        return boilerplate.make_odd_prompt(source, length)

    def draw_training(self, seed: int, index: int, length: int) -> list[int]:
        """See `Prompts.draw_training`."""
        return boilerplate.make_prompt(_source("training", seed, index), length, held=False)


class RealPrompts:
    """HumanEval's problems (`code`) and essays (`essay`), cut to length by the tokenizer.

    The first 70 % of problems and of the essays' text are for training.
    """

    kinds: tuple[str, ...] = ("code", "essay")

    def __init__(self, tokenizer: Any, problems: Sequence[str], essays: str) -> None:
        self.tokenizer = tokenizer
        self._code: list[list[int]] = [
            tokenizer.encode(one, add_special_tokens=False) for one in problems
        ]
        self._essays: list[int] = tokenizer.encode(essays, add_special_tokens=False)

    def draw(self, kind: str, seed: int, index: int, length: int) -> list[int]:
        """See `Prompts.draw`."""
        return self._draw(kind, _source("held", kind, seed, index), length, held=True)

    def draw_training(self, seed: int, index: int, length: int) -> list[int]:
        """See `Prompts.draw_training`; code and essays by turns."""
        kind = self.kinds[index % 2]
        return self._draw(kind, _source("training", seed, index), length, held=False)

    def _draw(self, kind: str, source: random.Random, length: int, *, held: bool) -> list[int]:
        if kind == "essay":
            edge = round((1 - HELD_SHARE) * len(self._essays))
            low, high = (edge, len(self._essays)) if held else (0, edge)
            if high - low < length:
                raise UsageError("too few essays", where="$.inputs.essays")
            start = source.randrange(low, high - length + 1)
            return self._essays[start : start + length]
        edge = round((1 - HELD_SHARE) * len(self._code))
        chosen = list(range(edge, len(self._code)) if held else range(edge))
        ids: list[int] = []
        # The end of a problem is its docstring's; what stands before may be another problem.
        while len(ids) < length:
            ids = self._code[source.choice(chosen)] + ids
        return ids[-length:]


def load_prompts(context: Context, tokenizer: Any | None) -> Prompts:
    """The inputs `humaneval` and `essays` where there is a tokenizer, else the made-up language."""
    if tokenizer is None:
        return BoilerplatePrompts()
    essays = read_essays(context.input("essays"))
    return RealPrompts(tokenizer, read_problems(context.input("humaneval")), essays)


def read_problems(folder: Path) -> list[str]:
    """The prompts of `HumanEval.jsonl` (or `.jsonl.gz`) below `folder`, in order.

    Raises:
        UsageError: there is no such file.
    """
    found = sorted(folder.rglob("HumanEval.jsonl*")) if folder.is_dir() else [folder]
    if not found:
        raise UsageError("holds no HumanEval.jsonl", where=str(folder))
    data = found[0].read_bytes()
    text = (gzip.decompress(data) if found[0].suffix == ".gz" else data).decode("utf-8")
    return [json.loads(line)["prompt"] for line in text.splitlines() if line.strip()]


@dataclass(frozen=True, slots=True)
class Seen:
    """The n-grams of what was trained on."""

    grams: frozenset[int]

    @classmethod
    def collect(cls, texts: Sequence[Sequence[int]]) -> Seen:
        """All n-grams of some texts."""
        return cls(frozenset(gram for text in texts for gram in _list_grams(text)))

    def measure_share(self, text: Sequence[int]) -> float:
        """The share of a text's n-grams that are among them."""
        grams = _list_grams(text)
        return sum(gram in self.grams for gram in grams) / len(grams) if grams else 0.0


def _list_grams(text: Sequence[int]) -> list[int]:
    return [hash(tuple(text[at : at + NGRAM])) for at in range(len(text) - NGRAM + 1)]


def stack(
    draw: Callable[[int], list[int]], indices: Sequence[int], device: torch.device
) -> torch.Tensor:
    """Prompts (B, T) of some indices."""
    return torch.tensor([draw(index) for index in indices], device=device)


def _source(*name: object) -> random.Random:
    return random.Random("specdecode/1 " + " ".join(map(str, name)))  # noqa: S311  (a seed)
