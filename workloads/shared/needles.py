"""Needles in a haystack: facts hidden at a depth of a long text, as token ids of exact length.

Source: the method of github.com/gkamradt/LLMTest_NeedleInAHaystack, with a fact that cannot be
guessed and a prompt that has exactly the number of tokens it says.
"""

from __future__ import annotations

import bisect
import hashlib
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import UsageError

CODE_DIGITS = 5
LONGEST_SNAP = 48
# fmt: off
COLOURS = (
    "amber", "azure", "black", "brass", "bronze", "coral", "crimson", "emerald",
    "golden", "green", "grey", "indigo", "ivory", "jade", "maroon", "orange",
    "purple", "red", "scarlet", "silver", "teal", "violet", "white", "yellow",
)
PLACES = (
    "bakery", "bridge", "castle", "chapel", "cottage", "dairy", "factory", "ferry",
    "fortress", "garage", "garden", "harbour", "hotel", "library", "lighthouse", "market",
    "mill", "museum", "palace", "school", "station", "stadium", "tower", "windmill",
)
# fmt: on

_ONE = "One sentence in the text below gives a secret code. Remember it.\n\n"
_MANY = "Some sentences in the text below give secret codes. Remember them.\n\n"
_SLOT = "\x00"
_SENTENCE_END = re.compile(r"""[.!?]["')\]”’]*(?=\s)""")


@dataclass(frozen=True, slots=True)
class Needle:
    """A fact that nobody can know but from the text."""

    subject: str
    code: str

    @property
    def statement(self) -> str:
        """The sentence that is hidden."""
        return f"The secret code of the {self.subject} is {self.code}."

    @property
    def question(self) -> str:
        """What is asked at the end."""
        return f"What is the secret code of the {self.subject}?"

    @property
    def answer_prefix(self) -> str:
        """The start of the answer, already given, so that its form cannot fail."""
        return f"The secret code of the {self.subject} is"


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids with the needle in them.

    Attributes:
        ids: exactly as many as the context asked for.
        start, end: where the needle's tokens stand; equal where there is none.
        needle: what is asked for.
    """

    ids: tuple[int, ...]
    start: int
    end: int
    needle: Needle

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over the ids as decimal text with commas."""
        text = ",".join(map(str, self.ids))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def is_outside(self, *, sink: int, window: int) -> bool:
        """Whether the needle lies wholly in what sink+window evicts: [sink, T - window)."""
        return self.start >= sink and self.end <= len(self.ids) - window


def draw_needles(random_source: random.Random, count: int) -> list[Needle]:
    """`count` needles, all subjects and all codes distinct."""
    subjects = random_source.sample(
        [f"{colour} {place}" for colour in COLOURS for place in PLACES], count
    )
    codes = random_source.sample(range(10 ** (CODE_DIGITS - 1), 10**CODE_DIGITS), count)
    return [Needle(subject, str(code)) for subject, code in zip(subjects, codes, strict=True)]


def read_essays(folder: Path) -> str:
    """The `*.txt` files below `folder` as one text, in the order of their names.

    Raises:
        UsageError: there are none.
    """
    paths = sorted(folder.rglob("*.txt"), key=lambda path: path.relative_to(folder).as_posix())
    if not paths:
        raise UsageError("holds no .txt file", where=str(folder))
    return "\n\n".join(path.read_text("utf-8", errors="replace").strip() for path in paths)


class Haystack:
    """A long text as token ids, and the prompts that are cut from it.

    Args:
        tokenizer: any transformers tokenizer.
        text: the haystack; repeated where a context is longer.
        chat: whether prompts stand in the tokenizer's chat template, or are plain text that goes
            on, which base models read too.

    Raises:
        UsageError: there is no text, or a chat template is asked for and there is none.
    """

    def __init__(self, tokenizer: Any, text: str, *, chat: bool = False) -> None:
        if chat and not getattr(tokenizer, "chat_template", None):
            raise UsageError(
                "the tokenizer has no chat template",
                where="$.config.chat",
                remedy="set chat to false",
            )
        self._chat = chat
        self._tokenizer = tokenizer
        self._tokens, self._ends = _tokenize(tokenizer, text)
        if not self._tokens:
            raise UsageError("the haystack holds no text", where="$.inputs.essays")

    @classmethod
    def read(cls, tokenizer: Any, folder: Path, *, chat: bool = False) -> Haystack:
        """The `*.txt` files below `folder`, in the order of their names.

        Raises:
            UsageError: there are none.
        """
        return cls(tokenizer, read_essays(folder), chat=chat)

    def make_prompt(
        self,
        random_source: random.Random,
        *,
        context: int,
        depth: float,
        distractors: int = 0,
        present: bool = True,
    ) -> Prompt:
        """A prompt of exactly `context` tokens whose needle lies at `depth` (0 first, 1 last).

        The needle is moved to the end of the nearest sentence. Distractors are needles about
        other subjects, at random depths. With `present=False` the needle alone is left out, and
        the haystack goes on for as many tokens more.

        Raises:
            UsageError: the context is too short for question and needles.
        """
        needle, *others = draw_needles(random_source, 1 + distractors)
        head, tail = self._frame(needle, _MANY if others else _ONE)
        hidden = [self._encode(f" {one.statement}") for one in (needle, *others)]
        room = context - len(head) - len(tail) - sum(map(len, hidden))
        depths = [depth, *(random_source.random() for _ in others)]
        offset = self._draw_offset(random_source)
        if room < 1:
            raise UsageError(
                f"{context} tokens are too few: question and needles alone take {context - room}",
                where="$.config.contexts",
                remedy=f"take at least {context - room + 1}",
            )
        places = [self._snap(offset, round(share * room), room) for share in depths]
        if not present:
            hidden[0] = []
        body, start = self._splice(offset, places, hidden)
        rest = context - len(head) - len(body) - len(tail)
        ids = (*head, *body, *self._slice(offset + max(places), rest), *tail)
        return Prompt(ids, len(head) + start, len(head) + start + len(hidden[0]), needle)

    def _splice(
        self, offset: int, places: list[int], hidden: list[list[int]]
    ) -> tuple[list[int], int]:
        """The haystack up to the last place with what is hidden put in, and where the first is."""
        body: list[int] = []
        start = cut = 0
        for place, index in sorted(zip(places, range(len(places)), strict=True)):
            body += self._slice(offset + cut, place - cut)
            start = len(body) if index == 0 else start
            body += hidden[index]
            cut = place
        return body, start

    def _frame(self, needle: Needle, instruction: str) -> tuple[list[int], list[int]]:
        """What stands before and after the haystack."""
        body = f"{instruction}{_SLOT}\n\n{needle.question}"
        if self._chat:
            body = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": body}], tokenize=False, add_generation_prompt=True
            )
        else:
            body += "\n"
        before, _, after = f"{body}{needle.answer_prefix}".partition(_SLOT)
        # A chat template writes the opening token itself.
        head = self._tokenizer(before, add_special_tokens=not self._chat)["input_ids"]
        return list(head), self._encode(after)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _draw_offset(self, random_source: random.Random) -> int:
        """Where in the haystack a prompt starts: after the end of a sentence."""
        return random_source.choice(self._ends) if self._ends else 0

    def _slice(self, start: int, length: int) -> list[int]:
        size = len(self._tokens)
        return [self._tokens[(start + step) % size] for step in range(length)]

    def _snap(self, offset: int, place: int, room: int) -> int:
        """The end of the sentence nearest to `place` tokens after `offset`.

        Where no sentence ends within `LONGEST_SNAP` tokens, `place` itself.
        """
        turn, within = divmod(offset + place, len(self._tokens))
        index = bisect.bisect_left(self._ends, within)
        ends = [0, room]
        for near in self._ends[max(index - 1, 0) : index + 1]:
            ends.append(turn * len(self._tokens) + near - offset)
        ends = [end for end in ends if 0 <= end <= room and abs(end - place) <= LONGEST_SNAP]
        return min(ends, key=lambda end: (abs(end - place), end), default=place)


def _tokenize(tokenizer: Any, text: str) -> tuple[list[int], list[int]]:
    """The ids of a text, and the places after a token that ends a sentence, in rising order."""
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=tokenizer.is_fast,
        verbose=False,  # the text is longer than any model's context, and is meant to be
    )
    ids = list(encoded["input_ids"])
    if not tokenizer.is_fast:  # knows no offsets: needles then stand between any two tokens
        return ids, []
    ends = {match.end() for match in _SENTENCE_END.finditer(text)}
    places = [
        place for place, (_, end) in enumerate(encoded["offset_mapping"], start=1) if end in ends
    ]
    return ids, places
