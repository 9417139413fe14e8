"""Reading JSON data of a known shape, collecting every fault at its path."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

from evidence.numbers import format_coordinate, is_decimal, parse_decimal

MAX_TEXT = 2000
MAX_NODES = 200
MAX_DEPTH = 6


class Reader:
    """Collects faults while data is read; `problems` holds each as `path: message`."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._nodes = 0

    def complain(self, path: str, message: str) -> None:
        """Note a fault."""
        self.problems.append(f"{path}: {message}")

    def enter(self, path: str, depth: int) -> bool:
        """Count one node of a tree; False where it grows too deep or too large."""
        self._nodes += 1
        if depth > MAX_DEPTH:
            self.complain(path, f"nested deeper than {MAX_DEPTH} levels")
            return False
        if self._nodes > MAX_NODES:
            if self._nodes == MAX_NODES + 1:
                self.complain(path, f"more than {MAX_NODES} nodes")
            return False
        return True

    def mapping(
        self, item: object, path: str, keys: Collection[str], required: Sequence[str] = ()
    ) -> Mapping[str, Any] | None:
        """An object with no other keys than `keys`."""
        if not isinstance(item, Mapping):
            self.complain(path, "an object is wanted")
            return None
        for key in item:
            if key not in keys:
                known = ", ".join(sorted(keys))
                self.complain(f"{path}.{key}", f"unknown key; known are {known}")
        for key in required:
            if key not in item:
                self.complain(f"{path}.{key}", "is wanted")
        return item

    def pair(self, item: object, path: str, count: int) -> Sequence[Any] | None:
        """A list of exactly `count` entries."""
        if not isinstance(item, Sequence) or isinstance(item, (str, bytes)) or len(item) != count:
            self.complain(path, f"a list of {count} is wanted")
            return None
        return item

    def text(self, item: object, path: str, pattern: re.Pattern[str] | None = None) -> str | None:
        """A short string, matching all of `pattern` where one is given."""
        if not isinstance(item, str) or len(item) > MAX_TEXT:
            self.complain(path, f"a string of at most {MAX_TEXT} characters is wanted")
            return None
        if pattern is not None and pattern.fullmatch(item) is None:
            self.complain(path, f"{item[:80]!r} does not match {pattern.pattern}")
            return None
        return item

    def texts(
        self, item: object, path: str, pattern: re.Pattern[str] | None = None
    ) -> tuple[str, ...]:
        """A list of short strings."""
        if not isinstance(item, Sequence) or isinstance(item, (str, bytes)):
            self.complain(path, "a list of strings is wanted")
            return ()
        found = [self.text(inner, f"{path}[{index}]", pattern) for index, inner in enumerate(item)]
        return tuple(inner for inner in found if inner is not None)

    def choice(self, item: object, path: str, choices: Sequence[str]) -> str | None:
        """One of a few words."""
        if not isinstance(item, str) or item not in choices:
            self.complain(path, f"one of {', '.join(choices)} is wanted")
            return None
        return item

    def flag(self, item: object, path: str) -> bool | None:
        """True or false."""
        if not isinstance(item, bool):
            self.complain(path, "true or false is wanted")
            return None
        return item

    def whole(self, item: object, path: str) -> int | None:
        """A whole number of 0 or more, as a JSON integer or as a string of digits."""
        if isinstance(item, str) and item.isascii() and item.isdigit() and len(item) < 10:
            return int(item)
        if isinstance(item, bool) or not isinstance(item, int) or item < 0:
            self.complain(path, "a whole number of 0 or more is wanted")
            return None
        return item

    def decimal(self, item: object, path: str) -> Fraction | None:
        """A decimal string; a JSON integer is taken too, a float (perhaps rounded) is not."""
        if isinstance(item, int) and not isinstance(item, bool):
            return Fraction(item)
        if not is_decimal(item):
            self.complain(path, 'a decimal string such as "0.05" is wanted')
            return None
        return parse_decimal(str(item))

    def coordinate(self, item: object, path: str) -> str | None:
        """A place along a dimension: a string or a number."""
        if isinstance(item, bool) or not isinstance(item, (str, int, float)):
            self.complain(path, "a string or a number is wanted")
            return None
        return format_coordinate(item)
