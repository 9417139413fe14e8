"""A strategy that makes hostile requests out of a valid one; the written ones are elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from bridge import schema
from presets.strict_yaml import child
from tests.hostile import DROP, HostileManifest, make_valid, put, to_bytes

Pointer = tuple[str | int, ...]

FREE_TEXT = {("requested_by",), ("predictions", 0, "text")}
OBJECTS: tuple[Pointer, ...] = ((), ("preset",), ("params",), ("resources",), ("predictions", 0))
SCHEMA = schema.load("bridge", "request")

# Where one of these stands, no text is a name, an id, a digest, a time or a decimal any more.
TRICKS = ("..", "/", "//", "@{", "~", "^", ":", "*", "?", "[", "\\", " ", "%2e", "$(id)", "\u0430")
INVISIBLE = ("\n", "\r", "\x00", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u202e", "\u200b", "\ufeff")


def mutations(base: Mapping[str, Any] | None = None) -> st.SearchStrategy[HostileManifest]:
    """Manifests that must be refused, each one hostile change away from `base`."""
    valid = base or make_valid()
    return st.one_of(
        _wrong_types(valid),
        _tricky_text(valid),
        _missing_keys(valid),
        _extra_keys(valid),
        _broken_bytes(valid),
    )


def to_path(pointer: Pointer) -> str:
    """The path of a pointer as errors write it."""
    path = "$"
    for key in pointer:
        path = child(path, key)
    return path


def leaves(value: Any, pointer: Pointer = ()) -> Iterator[tuple[Pointer, Any]]:
    """Every scalar of a manifest with its pointer."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*pointer, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*pointer, index))
    else:
        yield pointer, value


def _hostile(base: Mapping[str, Any], name: str, data: bytes, path: str) -> HostileManifest:
    return HostileManifest(name, data, path, base["id"])


@st.composite
def _wrong_types(draw: st.DrawFn, base: Mapping[str, Any]) -> HostileManifest:
    pointer, value = draw(
        st.sampled_from([pair for pair in leaves(base) if pair[0] != ("schema",)])
    )
    nothing = st.sampled_from([None, True, False, [], {}, [value], {"value": value}])
    if isinstance(value, str):
        numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e300, 1e300)
        wrong: st.SearchStrategy[Any] = nothing | numbers
    else:
        large = st.integers(10**9, 2**53 - 1)
        wrong = nothing | st.text(max_size=8) | large | large.map(lambda number: -number)
        if isinstance(value, int) and pointer != ("params", "seconds"):
            wrong |= st.floats(-1e6, 1e6)
    return _hostile(base, "wrong type", to_bytes(put(base, pointer, draw(wrong))), to_path(pointer))


@st.composite
def _tricky_text(draw: st.DrawFn, base: Mapping[str, Any]) -> HostileManifest:
    texts = [pair for pair in leaves(base) if isinstance(pair[1], str)]
    pointer, value = draw(st.sampled_from(texts))
    trick = draw(st.sampled_from(INVISIBLE if pointer in FREE_TEXT else TRICKS + INVISIBLE))
    at = draw(st.integers(0, len(value)))
    tricky = value[:at] + trick + value[at:]
    return _hostile(base, "tricky", to_bytes(put(base, pointer, tricky)), to_path(pointer))


@st.composite
def _missing_keys(draw: st.DrawFn, base: Mapping[str, Any]) -> HostileManifest:
    properties = SCHEMA["properties"]
    required: dict[Pointer, list[str]] = {
        (): SCHEMA["required"],
        ("preset",): properties["preset"]["required"],
        ("params",): list(base["params"]),
        ("resources",): properties["resources"]["required"],
        ("predictions", 0): properties["predictions"]["items"]["required"],
    }
    pointer = draw(st.sampled_from(OBJECTS))
    key = draw(st.sampled_from(required[pointer]))
    data = to_bytes(put(base, (*pointer, key), DROP))
    return _hostile(base, "missing", data, key)


@st.composite
def _extra_keys(draw: st.DrawFn, base: Mapping[str, Any]) -> HostileManifest:
    pointer = draw(st.sampled_from(OBJECTS))
    known = {*SCHEMA["properties"], "name", "digest", "text", "credence", "rule", "gpus", "cpus"}
    known |= {"memory_mb", "gpu_memory_mb", *base["params"]}
    key = draw(st.text(max_size=80).filter(lambda text: text not in known))
    value = draw(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9))
    data = to_bytes(put(base, (*pointer, key), value))
    return _hostile(base, "extra key", data, to_path(pointer))


@st.composite
def _broken_bytes(draw: st.DrawFn, base: Mapping[str, Any]) -> HostileManifest:
    data = to_bytes(base)
    at = draw(st.integers(0, len(data) - 1))
    name, broken = draw(
        st.sampled_from(
            [
                ("cut short", data[:at]),
                ("control byte", data[:at] + b"\x0b" + data[at:]),
                ("not UTF-8", data[:at] + bytes([0x80 + at % 0x80]) + data[at:]),
                ("padded", data + b" " * (65_536 + at)),
                ("doubled", data + data[:1] + data[1 : at + 1]),
                ("deep", b"[" * (33 + at) + data + b"]" * (33 + at)),
                ("number of many digits", data.replace(b":5,", b":" + b"9" * (17 + at) + b",")),
            ]
        )
    )
    return _hostile(base, name, broken, "request")
