"""The kinds of params: one frozen dataclass each, typed and bounded. Pure.

A kind says whether a value fits (`fault`), reads one from command-line text (`read`), and shows
its bounds to a person (`bounds`). `KINDS` names them all.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from bridge.canonical import MAX_SAFE_INTEGER, is_digest
from presets.arguments import number_text, show, unsafe_path, unsafe_text

Scalar = str | int | float | bool

MAX_STRING = 1024
_INT_TEXT = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")
_NUMBER_TEXT = re.compile(r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,32})?(?:[eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Param(ABC):
    """What every kind has; `default` None means that the requester must give a value."""

    kind: ClassVar[str]
    name: str
    doc: str
    default: Scalar | None

    @abstractmethod
    def fault(self, value: object) -> str | None:
        """Why `value` does not fit, or None where it does."""

    def read(self, text: str) -> Scalar:
        """The value that command-line text stands for.

        Raises:
            ValueError: the text is not of this kind.
        """
        return text

    @abstractmethod
    def bounds(self) -> str:
        """The bounds in one line for a person."""

    def example(self) -> Scalar:
        """A value that fits: the default where there is one."""
        return self._sample() if self.default is None else self.default

    @abstractmethod
    def _sample(self) -> Scalar: ...


@dataclass(frozen=True, slots=True)
class IntParam(Param):
    """A whole number from `min` to `max`, both included."""

    kind: ClassVar[str] = "int"
    min: int
    max: int

    def fault(self, value: object) -> str | None:
        """See `Param.fault`; a bool and a float such as 4.0 are no int."""
        if not isinstance(value, int) or isinstance(value, bool):
            return f"{show(value)} is no int"
        if not self.min <= value <= self.max or abs(value) > MAX_SAFE_INTEGER:
            return f"{show(value)} lies outside {self.bounds()}"
        return None

    def read(self, text: str) -> Scalar:
        """See `Param.read`."""
        if not _INT_TEXT.fullmatch(text):
            raise ValueError(f"{show(text)} is no int")
        return int(text)

    def bounds(self) -> str:
        """See `Param.bounds`."""
        return f"{self.min} to {self.max}"

    def _sample(self) -> Scalar:
        return self.min


@dataclass(frozen=True, slots=True)
class NumberParam(Param):
    """A finite number from `min` to `max`, both included; an int is a number too."""

    kind: ClassVar[str] = "number"
    min: float
    max: float

    def fault(self, value: object) -> str | None:
        """See `Param.fault`; NaN, infinities and bools are no numbers."""
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return f"{show(value)} is no number"
        if not self.min <= value <= self.max or not math.isfinite(value):
            return f"{show(value)} lies outside {self.bounds()}"
        return None

    def read(self, text: str) -> Scalar:
        """See `Param.read`."""
        if not _NUMBER_TEXT.fullmatch(text):
            raise ValueError(f"{show(text)} is no number")
        return int(text) if _INT_TEXT.fullmatch(text) else float(text)

    def bounds(self) -> str:
        """See `Param.bounds`."""
        return f"{number_text(self.min)} to {number_text(self.max)}"

    def _sample(self) -> Scalar:
        return self.min


@dataclass(frozen=True, slots=True)
class EnumParam(Param):
    """One of `values`, all strings or all ints."""

    kind: ClassVar[str] = "enum"
    values: tuple[str | int, ...]

    def fault(self, value: object) -> str | None:
        """See `Param.fault`."""
        if any(type(value) is type(option) and value == option for option in self.values):
            return None
        return f"{show(value)} is none of {self.bounds()}"

    def read(self, text: str) -> Scalar:
        """See `Param.read`."""
        for option in self.values:
            if str(option) == text:
                return option
        raise ValueError(f"{show(text)} is none of {self.bounds()}")

    def bounds(self) -> str:
        """See `Param.bounds`."""
        return " | ".join(str(option) for option in self.values)

    def _sample(self) -> Scalar:
        return self.values[0]


@dataclass(frozen=True, slots=True)
class BoolParam(Param):
    """`true` or `false`; on the command line too."""

    kind: ClassVar[str] = "bool"

    def fault(self, value: object) -> str | None:
        """See `Param.fault`."""
        return None if isinstance(value, bool) else f"{show(value)} is no bool"

    def read(self, text: str) -> Scalar:
        """See `Param.read`."""
        if text not in {"true", "false"}:
            raise ValueError(f"{show(text)} is no bool: write true or false")
        return text == "true"

    def bounds(self) -> str:
        """See `Param.bounds`."""
        return "true | false"

    def _sample(self) -> Scalar:
        return True


@dataclass(frozen=True, slots=True)
class StringParam(Param):
    """A short string: the whole of it matches `pattern`, no line breaks, no leading dash."""

    kind: ClassVar[str] = "string"
    pattern: str
    max_length: int
    sample: str | None

    def fault(self, value: object) -> str | None:
        """See `Param.fault`."""
        if not isinstance(value, str):
            return f"{show(value)} is no string"
        if len(value) > self.max_length:
            return f"{len(value)} characters, at most {self.max_length} are taken"
        if reason := unsafe_text(value):
            return f"{show(value)} {reason}"
        if not re.fullmatch(self.pattern, value):
            return f"{show(value)} does not match {self.pattern}"
        return None

    def bounds(self) -> str:
        """See `Param.bounds`."""
        return f"{self.pattern} (at most {self.max_length} characters)"

    def _sample(self) -> Scalar:
        return self.sample or ""


@dataclass(frozen=True, slots=True)
class PathParam(Param):
    """A path in the repository at or under `prefix`, in its normal form."""

    kind: ClassVar[str] = "path"
    prefix: str

    def fault(self, value: object) -> str | None:
        """See `Param.fault`."""
        if not isinstance(value, str):
            return f"{show(value)} is no path"
        if len(value) > MAX_STRING:
            return f"{len(value)} characters, at most {MAX_STRING} are taken"
        if reason := unsafe_path(value):
            return f"{show(value)} {reason}"
        if value != self.prefix and not value.startswith(f"{self.prefix}/"):
            return f"{show(value)} does not lie under {self.prefix}/"
        return None

    def bounds(self) -> str:
        """See `Param.bounds`."""
        return f"a path under {self.prefix}/"

    def _sample(self) -> Scalar:
        return self.prefix


@dataclass(frozen=True, slots=True)
class ArtifactParam(Param):
    """An artifact of another job by its digest, `sha256:<64 hex>`."""

    kind: ClassVar[str] = "artifact"

    def fault(self, value: object) -> str | None:
        """See `Param.fault`."""
        return None if is_digest(value) else f"{show(value)} is no digest sha256:<64 hex>"

    def bounds(self) -> str:
        """See `Param.bounds`."""
        return "sha256:<64 hex>, or ID:PATH of an ended job"

    def _sample(self) -> Scalar:
        return f"sha256:{'0' * 64}"


def parse_param(name: str, data: dict[str, Any]) -> Param:
    """A param from its entry in a preset, whose shape the schema has checked.

    Raises:
        ValueError: bounds that contradict themselves, or a default or example out of bounds.
    """
    base = {"name": name, "doc": data["doc"], "default": data.get("default")}
    param = _PARSERS[data["kind"]](base, data)
    if param.default is not None and (reason := param.fault(param.default)):
        raise ValueError(f"default: {reason}")
    if reason := param.fault(param.example()):
        raise ValueError(f"example: {reason}; give one as `example`")
    return param


def _parse_range(base: dict[str, Any], data: dict[str, Any]) -> Param:
    if data["min"] > data["max"]:
        raise ValueError(f"min {data['min']} is greater than max {data['max']}")
    kind = IntParam if data["kind"] == "int" else NumberParam
    return kind(**base, min=data["min"], max=data["max"])


def _parse_enum(base: dict[str, Any], data: dict[str, Any]) -> Param:
    return EnumParam(**base, values=tuple(data["values"]))


def _parse_string(base: dict[str, Any], data: dict[str, Any]) -> Param:
    try:
        re.compile(data["pattern"])
    except re.error as error:
        raise ValueError(f"pattern: {error}") from error
    return StringParam(
        **base,
        pattern=data["pattern"],
        max_length=data["max_length"],
        sample=data.get("example"),
    )


def _parse_path(base: dict[str, Any], data: dict[str, Any]) -> Param:
    if reason := unsafe_path(data["prefix"]):
        raise ValueError(f"prefix: {show(data['prefix'])} {reason}")
    return PathParam(**base, prefix=data["prefix"])


_PARSERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], Param]] = {
    "int": _parse_range,
    "number": _parse_range,
    "enum": _parse_enum,
    "bool": lambda base, _: BoolParam(**base),
    "string": _parse_string,
    "path": _parse_path,
    "artifact": lambda base, _: ArtifactParam(**base),
}
KINDS = tuple(_PARSERS)
