"""YAML that says one thing only: read to plain JSON data, with every doubtful form refused. Pure.

A plain (unquoted) scalar is taken only where YAML 1.1 and YAML 1.2 read it alike and JSON can
write it. The parser is driven by events: no object is ever constructed from a tag, and no alias
is ever followed, so that neither code nor a "billion laughs" document can hide in a preset.

Source: https://yaml.org/type/ (1.1), https://yaml.org/spec/1.2.2/#103-core-schema (1.2).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

from bridge.canonical import MAX_SAFE_INTEGER
from bridge.errors import ManifestError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 24

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\Z")
_KEYWORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

# Axes and counts are called so, and no reader in use takes these keys for booleans.
_PLAIN_KEYS = frozenset({"n", "y"})
# What a plain scalar may look like to some YAML reader though it is no JSON scalar.
_DOUBTFUL: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)(?:y|n|yes|no|on|off|true|false)\Z"), "may be read as a boolean"),
    (re.compile(r"(?i)(?:~|null)\Z"), "may be read as null"),
    (re.compile(r"(?i)[-+]?\.?(?:nan|inf|infinity)\Z"), "may be read as a number that JSON lacks"),
    (re.compile(r"[-+]?0[0-9_]+\Z"), "may be read as an octal number"),
    (re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+\Z"), "may be read as a number of another base"),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-9_]+)+(?:\.[0-9_]*)?\Z"), "may be read in base 60"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?\Z"), "may be read as a date"),
    (re.compile(r"[-+]?[0-9]*_[0-9_]*(?:\.[0-9_]*)?\Z"), "may be read as a number"),
    (re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z"), "is no JSON number"),
    (re.compile(r"<<\Z"), "is a merge key"),
    (re.compile(r"=\Z"), "is a default-value key"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document.

    Attributes:
        value: JSON data (dict, list, str, int, float, bool, None).
        lines: line number (from 1) of each value by its path, such as `$.params.samples`.
    """

    value: Any
    lines: Mapping[str, int]


def child(path: str, key: str | int) -> str:
    """The path of a member: `$.name`, `$[0]`, or `$['odd name']`, as jsonschema writes it."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _IDENTIFIER.match(key):
        return f"{path}.{key}"
    escaped = key.replace("\\", "\\\\").replace("'", r"\'")
    return f"{path}['{escaped}']"


def load(data: bytes, *, where: str) -> Document:
    """One YAML document from bytes.

    Raises:
        ManifestError: at `where:line:column`, for anything but one plain document: too large or
            too deep, not UTF-8, control or invisible characters, duplicate or non-string keys,
            anchors, aliases, tags, directives, merge keys, and scalars that YAML 1.1 and 1.2 read
            differently.
    """
    text = _decode(data, where)
    return _Reading(where).document(_Events(text))


def _decode(data: bytes, where: str) -> str:
    if len(data) > MAX_BYTES:
        raise ManifestError(f"{len(data)} bytes, at most {MAX_BYTES} are taken", where=where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"not UTF-8 at byte {error.start}",
            where=f"{where}:{line}",
            remedy="save the file as UTF-8 without a byte-order mark",
        ) from error
    for line, content in enumerate(text.split("\n"), start=1):
        for column, char in enumerate(content, start=1):
            if char not in "\t\r" and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
                raise ManifestError(
                    f"invisible or control character U+{ord(char):04X}",
                    where=f"{where}:{line}:{column}",
                    remedy="remove the character; inside double quotes it can be written escaped",
                )
    return text


class _Events(Reader, Scanner, Parser):
    """PyYAML's event stream, without its composer and constructor."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


class _Reading:
    """One pass over the events of one document."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._lines: dict[str, int] = {}
        self._resolver: Any = Resolver()

    def document(self, events: Any) -> Document:
        try:
            self._next(events)  # stream start
            start = self._next(events)
            if isinstance(start, yaml.StreamEndEvent):
                self._refuse(start, "empty document", "write the preset, or delete the file")
            if start.version or start.tags:
                self._refuse(start, "YAML directive", "remove the line that starts with %")
            value = self._node(events, self._next(events), "$", 1)
            self._next(events)  # document end
            extra = self._next(events)
            if not isinstance(extra, yaml.StreamEndEvent):
                self._refuse(extra, "more than one document", "keep one document to a file")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise ManifestError(
                f"not YAML: {error.problem or error.context}",
                where=f"{self._where}:{mark.line + 1}:{mark.column + 1}" if mark else self._where,
            ) from error
        except (ValueError, OverflowError) as error:  # "\\UFFFFFFFF" has no code point
            mark = events.get_mark()
            raise ManifestError(
                "an escape that stands for no character",
                where=f"{self._where}:{mark.line + 1}:{mark.column + 1}",
            ) from error
        except yaml.YAMLError as error:
            raise ManifestError(f"not YAML: {error}", where=self._where) from error
        return Document(value=value, lines=self._lines)

    def _next(self, events: Any) -> Any:
        return events.get_event()

    def _node(self, events: _Events, event: Any, path: str, depth: int) -> Any:
        self._lines.setdefault(path, event.start_mark.line + 1)
        if depth > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels", "flatten the document")
        self._check_form(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path, depth)
        return self._scalar(event)

    def _check_form(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"alias *{event.anchor}", "write the value out")
        if event.anchor is not None:
            self._refuse(event, f"anchor &{event.anchor}", "remove it and write the value out")
        if event.tag is not None:
            self._refuse(event, f"tag {event.tag}", "remove it; quote a value to make it a string")

    def _mapping(self, events: _Events, path: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := self._next(events), yaml.MappingEndEvent):
            key = self._key(event)
            if key in found:
                self._refuse(event, f"duplicate key {key!r}", "keep one of the two")
            inner = child(path, key)
            self._lines[inner] = event.start_mark.line + 1
            found[key] = self._node(events, self._next(events), inner, depth + 1)
        return found

    def _key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, "a key is a plain word", "write the key as one word")
        self._check_form(event)
        if event.value in _PLAIN_KEYS:
            return str(event.value)
        key = self._scalar(event)
        if not isinstance(key, str):
            self._refuse(event, f"key {event.value} is no string", "quote it")
        return key

    def _sequence(self, events: _Events, path: str, depth: int) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._next(events), yaml.SequenceEndEvent):
            found.append(self._node(events, event, child(path, len(found)), depth + 1))
        return found

    def _scalar(self, event: Any) -> str | int | float | bool | None:
        text: str = event.value
        if event.style is not None:
            if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
                self._refuse(event, "lone surrogate in a string", "remove the escape")
            return text
        if text == "":
            self._refuse(
                event,
                "empty value",
                'write null or ""; between { and }, quote text that holds a comma',
            )
        if text in _KEYWORDS:
            return _KEYWORDS[text]
        tag = self._resolver.resolve(yaml.ScalarNode, text, (True, False))
        if _INT.match(text):
            return self._integer(event, text)
        if _FLOAT.match(text) and tag == "tag:yaml.org,2002:float":
            return self._number(event, text)
        if _FLOAT.match(text):
            self._refuse(
                event,
                f"{text} is a number to YAML 1.2 and a string to YAML 1.1",
                "write it with a dot and a signed exponent, such as 1.0e-3, or quote it",
            )
        for pattern, what in _DOUBTFUL:
            if pattern.match(text):
                self._refuse(event, f"{text} {what}", "quote it, or write true, false or null")
        if tag != "tag:yaml.org,2002:str":
            self._refuse(event, f"{text} may be read as {tag.rpartition(':')[2]}", "quote it")
        return text

    def _integer(self, event: Any, text: str) -> int:
        if len(text) > 17 or abs(int(text)) > MAX_SAFE_INTEGER:
            self._refuse(event, f"integer {text[:24]} lies beyond 2**53", "quote it")
        return int(text)

    def _number(self, event: Any, text: str) -> float:
        value = float(text)
        if value in (float("inf"), float("-inf")):
            self._refuse(event, f"number {text[:24]} is too large", "quote it")
        return value

    def _refuse(self, event: Any, message: str, remedy: str) -> NoReturn:
        mark = event.start_mark
        raise ManifestError(
            message,
            where=f"{self._where}:{mark.line + 1}:{mark.column + 1}",
            remedy=remedy,
        )
