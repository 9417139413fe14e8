"""Canonical JSON, digests, strict parsing, identifiers. Pure: no clock, no randomness, no I/O.

Source: RFC 8785 (canonical JSON), RFC 8259 (JSON), https://github.com/ulid/spec (ULID).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import rfc8785

from bridge.errors import ManifestError

MAX_DEPTH = 32
MAX_SHOWN = 200  # characters of a stranger's text in an error
MAX_SAFE_INTEGER = 2**53 - 1  # RFC 8785 takes no integer that a double cannot hold

_FIRST_WITH_EXPONENT = 1e21  # RFC 8785 writes smaller whole numbers out in digits

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_OID = re.compile(r"[0-9a-f]{40}\Z")


def encode(value: object) -> bytes:
    """`value` as canonical JSON (RFC 8785), UTF-8, no trailing newline.

    Raises:
        ManifestError: a NaN, an infinity, an integer beyond 2**53 (or a float that is written as
            one, which `decode` would not take back), a lone surrogate, or a type that JSON does
            not have.
    """
    try:
        _check_floats(value)
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise ManifestError(f"not canonical JSON: {error}") from error


def _check_floats(value: object) -> None:
    if isinstance(value, float) and MAX_SAFE_INTEGER < abs(value) < _FIRST_WITH_EXPONENT:
        raise ManifestError(f"not canonical JSON: {value} lies beyond 2**53")
    if isinstance(value, dict):
        for inner in value.values():
            _check_floats(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_floats(inner)


def digest_bytes(data: bytes) -> str:
    """`sha256:<hex>` of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest(value: object) -> str:
    """`sha256:<hex>` of the canonical JSON of `value`."""
    return digest_bytes(encode(value))


def is_digest(text: object) -> bool:
    """Whether `text` has the form `sha256:<64 hex>`."""
    return isinstance(text, str) and _DIGEST.match(text) is not None


def is_oid(text: object) -> bool:
    """Whether `text` is a full SHA-1 git object id."""
    return isinstance(text, str) and _OID.match(text) is not None


def decode(data: bytes, *, where: str = "", max_bytes: int = 64 * 1024) -> Any:
    """JSON from bytes, strictly.

    Refuses what `json.loads` lets through: duplicate keys, NaN and infinities, integers beyond
    2**53, lone surrogates, nesting over 32 levels, invalid UTF-8, a byte-order mark, more than
    `max_bytes`.

    Raises:
        ManifestError: naming `where` and the fault.
    """
    if len(data) > max_bytes:
        raise ManifestError(f"{len(data)} bytes, at most {max_bytes} are taken", where=where)
    try:
        text = data.decode("utf-8")
        _check_depth(text, where)
        value = json.loads(
            text,
            object_pairs_hook=_unique_pairs,
            parse_constant=_refuse_constant,
            parse_int=_parse_int,
            parse_float=_parse_float,
        )
        if "\\u" in text:  # UTF-8 holds no lone surrogate, an escape may
            _check_strings(value, "$")
    except ManifestError as error:
        raise ManifestError(error.message, where=where or error.where) from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"not JSON: {error}", where=where) from error
    return value


def printable(text: str, limit: int) -> str:
    """`text` fit for a terminal and a record: control and invisible characters escaped, short."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
    if len(shown) <= limit:
        return shown
    return f"{shown[: limit * 2 // 3]} ... {shown[-(limit // 4) :]}"


def _check_depth(text: str, where: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    quoted = escaped = False
    for char in text:
        if quoted:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ManifestError(f"nested deeper than {MAX_DEPTH} levels", where=where)
        elif char in "]}":
            depth -= 1


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ManifestError(f"duplicate key {printable(key, MAX_SHOWN)!r}")
        seen[key] = value
    return seen


def _refuse_constant(name: str) -> NoReturn:
    raise ManifestError(f"{name} is not a JSON number")


def _parse_int(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_SAFE_INTEGER:
        raise ManifestError(f"integer {text[:24]} lies beyond 2**53")
    return int(text)


def _parse_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ManifestError(f"number {text[:24]} is too large")
    return value


def _check_strings(value: Any, path: str) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            where = printable(path, MAX_SHOWN)
            raise ManifestError(f"{where}: lone surrogate in a string") from error
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_strings(key, path)
            _check_strings(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_strings(inner, f"{path}[{index}]")


def make_ulid(now_ms: int, randomness: bytes) -> str:
    """A ULID, 26 characters, of a Unix time in milliseconds and 10 random bytes."""
    if not 0 <= now_ms < 2**48 or len(randomness) != 10:
        raise ValueError("a ULID takes 48 bits of milliseconds and 10 random bytes")
    number = (now_ms << 80) | int.from_bytes(randomness, "big")
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def is_ulid(text: object) -> bool:
    """Whether `text` is a ULID in canonical upper case."""
    return isinstance(text, str) and _ULID.match(text) is not None


def ulid_time_ms(ulid: str) -> int:
    """The Unix time in milliseconds inside a ULID."""
    number = 0
    for char in ulid[:10]:
        number = number * 32 + _CROCKFORD.index(char)
    return number


def freeze(value: Any) -> Any:
    """A deep copy of JSON data in which objects are read-only mappings and arrays are tuples."""
    from types import MappingProxyType

    if isinstance(value, Mapping):
        return MappingProxyType({key: freeze(inner) for key, inner in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(freeze(inner) for inner in value)
    return value


def thaw(value: Any) -> Any:
    """The inverse of `freeze`: plain dicts and lists, ready for `encode`."""
    if isinstance(value, Mapping):
        return {key: thaw(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [thaw(inner) for inner in value]
    return value
