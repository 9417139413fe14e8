"""Drafts from the text itself: what followed its last tokens when they stood there before.

Source: prompt lookup decoding (Saxena, 2023), as in transformers' `prompt_lookup_num_tokens`; here
with an index, so that a search costs nothing however long the text is.
"""

from __future__ import annotations

from collections.abc import Iterable

GRAM = 3  # shorter repetitions are chance more often than not


class Repeats:
    """One text and where its n-grams stood last.

    Args:
        tokens: the text so far.
    """

    def __init__(self, tokens: Iterable[int]) -> None:
        self._tokens: list[int] = []
        self._next: dict[tuple[int, ...], int] = {}
        self.extend(tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """The text goes on."""
        for token in tokens:
            self._next[tuple(self._tokens[-GRAM:])] = len(self._tokens)
            self._tokens.append(token)

    def find(self, count: int) -> list[int]:
        """At most `count` tokens that followed the last ones before; none where they are new."""
        place = self._next.get(tuple(self._tokens[-GRAM:]))
        return [] if place is None else self._tokens[place : place + count]
