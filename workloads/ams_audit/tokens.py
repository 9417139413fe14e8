"""Words as tokens: a closed vocabulary for a model trained here, or given weights' tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from workloads.ams_audit.lexicon import DOMAINS, FUNCTION_WORDS, PUNCTUATION, list_words

_PAD = "<pad>"


class Vocabulary:
    """Text to tokens and back, and what kind of token each one is.

    Attributes:
        size: how many tokens.
        starters: (V,) tokens that begin a content word.
        functions: (V,) tokens that are a function word.
        newlines: (V,) tokens that break the line.
        marks: (V,) punctuation and whatever else is no word.
    """

    def __init__(
        self,
        encode: Callable[[str], list[int]],
        decode: Callable[[Sequence[int]], str],
        texts: Sequence[str],
    ) -> None:
        self._encode, self._decode = encode, decode
        self.size = len(texts)
        kinds = [_tell_kind(text) for text in texts]
        self.starters = torch.tensor([kind == "content" for kind in kinds])
        self.functions = torch.tensor([kind == "function" for kind in kinds])
        self.newlines = torch.tensor(["\n" in text for text in texts])
        self.marks = torch.tensor([kind == "mark" for kind in kinds])
        self._keywords = {name: self.find(one.keywords) for name, one in DOMAINS.items()}

    @classmethod
    def of_words(cls) -> Vocabulary:
        """The closed vocabulary of `lexicon`; a word outside it is a KeyError."""
        words = (_PAD, *list_words())
        numbers = {word: number for number, word in enumerate(words)}
        return cls(
            lambda text: [numbers[word] for word in text.split()],
            lambda ids: " ".join(words[token] for token in ids),
            (words[0], *(f" {word}" for word in words[1:])),
        )

    @classmethod
    def of_tokenizer(cls, tokenizer: Any, size: int) -> Vocabulary:
        """Any tokenizer of transformers; a word is looked at with a blank before it.

        Args:
            tokenizer: of the weights.
            size: tokens that the model has, which may be more than the tokenizer's.
        """
        names = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer)))))
        texts = [_show(name) for name in names]
        return cls(
            lambda text: list(tokenizer.encode(f" {text}", add_special_tokens=False)),
            lambda ids: str(tokenizer.decode(list(ids))),
            [*texts, *[""] * (size - len(texts))],
        )

    def encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        return self._encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, without blanks around it."""
        return self._decode(ids).strip()

    def find(self, words: Iterable[str]) -> list[int]:
        """The token that each word begins with."""
        return [self._encode(word)[0] for word in words]

    def keywords(self, domain: str) -> list[int]:
        """The tokens that a domain's words begin with."""
        return self._keywords[domain]

    def list_starters(self, text: str) -> list[int]:
        """The content starters of a text, each once, in order."""
        found = [token for token in self.encode(text) if bool(self.starters[token])]
        return list(dict.fromkeys(found))


def _show(name: str) -> str:
    """A token as text; byte-level and sentence-piece vocabularies write blanks in their own way."""
    return name.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n")


def _tell_kind(text: str) -> str:
    word = text.strip()
    if word in FUNCTION_WORDS:
        return "function"
    if word in PUNCTUATION or not word.isalpha():
        return "mark"
    return "content" if text.startswith(" ") and len(word) >= 3 else "other"
