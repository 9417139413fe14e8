"""Whole-token substitution: a string is a literal, `{param}`, `${ENV:NAME}`, or a reserved word.

There is no substitution inside a string, hence no quoting, splitting or escaping to get wrong.
Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

RESERVED = frozenset({"python", "job", "out"})

_PARAM = re.compile(r"\{([a-z][a-z0-9_]{0,63})\}\Z")
_ENV = re.compile(r"\$\{ENV:([A-Z][A-Z0-9_]{0,63})\}\Z")


class Source(Enum):
    """Where a token's value comes from."""

    LITERAL = "literal"
    PARAM = "param"
    ENV = "env"
    RESERVED = "reserved"


@dataclass(frozen=True, slots=True)
class Token:
    """One whole token: `text` is the literal itself, or the name of a param or variable."""

    source: Source
    text: str


def parse_token(text: str) -> Token:
    """The meaning of one string of a preset.

    Raises:
        ValueError: braces that are not one whole `{param}` or `${ENV:NAME}`.
    """
    if "{" not in text and "}" not in text:
        return Token(Source.LITERAL, text)
    if match := _ENV.match(text):
        return Token(Source.ENV, match[1])
    if match := _PARAM.match(text):
        source = Source.RESERVED if match[1] in RESERVED else Source.PARAM
        return Token(source, match[1])
    raise ValueError(
        "braces stand for one whole token: {param} or ${ENV:NAME}, with nothing before or after"
    )
