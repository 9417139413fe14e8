"""Records as they cross the bus: canonical JSON, written and parsed in this one place. Pure.

A record has a `schema` field `kakeya.<kind>/<major>`. Requests reject unknown fields; the others
ignore what a newer minor version adds.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from bridge import canonical, schema
from bridge.errors import ManifestError, RefusedError
from bridge.records import KINDS, Request

PROTOCOL = 1
MAX_REQUEST_BYTES = 64 * 1024
MAX_RECORD_BYTES = 256 * 1024
_REMEMBERED_BYTES = 16 * 1024

R = TypeVar("R")


class VersionSkewError(RefusedError):
    """A record was written by a newer protocol major than this program speaks."""

    code = "version-skew"


_KIND_OF = {record: kind for kind, record in KINDS.items()}


def to_json(record: object) -> dict[str, Any]:
    """A wire record as JSON data, with its `schema` field; absent options are left out."""
    return {"schema": f"kakeya.{_KIND_OF[type(record)]}/{PROTOCOL}", **plain(record)}


def to_bytes(record: object) -> bytes:
    """A wire record as it stands in a commit: canonical JSON and a newline."""
    return canonical.encode(to_json(record)) + b"\n"


def digest_of(record: object) -> str:
    """The digest that binds other records to this one."""
    return canonical.digest(to_json(record))


def parse(kind: str, data: bytes, *, where: str = "") -> Any:
    """A wire record from its bytes.

    Raises:
        ManifestError: not JSON, not this schema, or out of bounds; each fault at its path.
        VersionSkewError: written by a newer protocol major.
    """
    # a chain is read again at each of its steps, and its records never change
    return (
        _parse_again(kind, data, where)
        if len(data) < _REMEMBERED_BYTES
        else _parse(kind, data, where)
    )


def _parse(kind: str, data: bytes, where: str) -> Any:
    limit = MAX_REQUEST_BYTES if kind == "request" else MAX_RECORD_BYTES
    value = canonical.decode(data, where=where or kind, max_bytes=limit)
    return from_json(kind, value, where=where)


_parse_again = functools.lru_cache(maxsize=2048)(_parse)


def from_json(kind: str, value: object, *, where: str = "") -> Any:
    """A wire record from JSON data; raises as `parse`."""
    _check_version(kind, value, where or kind)
    schema.check_published(value, "bridge", kind, where=where or kind)
    return _build(KINDS[kind], cast("dict[str, Any]", value))


def manifest_digest(request: Request) -> str:
    """What two submissions under one idempotency key must share: all but id, nonce and time."""
    data = to_json(request)
    return canonical.digest(
        {key: data[key] for key in data.keys() - {"id", "nonce", "requested_at"}}
    )


def parse_request(data: bytes, *, where: str = "request") -> Request:
    """A request from its bytes; raises as `parse`."""
    return cast("Request", parse("request", data, where=where))


def _check_version(kind: str, value: object, where: str) -> None:
    name = value.get("schema") if isinstance(value, dict) else None
    prefix = f"kakeya.{kind}/"
    if not isinstance(name, str) or not name.startswith(prefix):
        raise ManifestError(f"$.schema: expected {prefix}{PROTOCOL}", where=where)
    major = name[len(prefix) :]
    if major.isascii() and major.isdigit() and len(major) < 6 and int(major) > PROTOCOL:
        raise VersionSkewError(
            f"{name} was written by a newer program; this one speaks {prefix}{PROTOCOL}",
            where=where,
            remedy="upgrade kakeya_remote on this machine: git pull, then make demo",
        )


def plain(value: Any) -> Any:
    """A record, or a part of one, as JSON data; absent options are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: plain(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if not (getattr(value, item.name) is None and item.default is None)
        }
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(inner) for inner in value]
    return value


def _build(record: type[R], data: dict[str, Any]) -> R:
    hints = _hints(cast("Any", record))
    values = {
        item.name: _convert(hints[item.name], data[item.name])
        for item in dataclasses.fields(cast("Any", record))
        if item.name in data
    }
    return record(**values)


@functools.cache
def _hints(record: Any) -> dict[str, Any]:
    return typing.get_type_hints(record)


def _convert(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _convert(options[0], value)
    if typing.get_origin(hint) is tuple:
        return tuple(_convert(typing.get_args(hint)[0], inner) for inner in value)
    if dataclasses.is_dataclass(hint):
        return _build(cast("type[Any]", hint), value)
    if typing.get_origin(hint) is Mapping:
        return canonical.freeze(value)
    if hint is float:
        return float(value)
    return value
