"""Hostile bytes made out of valid ones: damage to the bytes, to the JSON, or no sense at all."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

TOKENS: tuple[bytes, ...] = (
    b"\x00",
    b"\n",
    b"\r\n",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    "\u2028\u202e".encode(),
    b"../../etc/passwd",
    b"/dev/zero",
    b".git/config",
    b"--upload-pack=x",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 400,
    b'"\\ud800"',
    b"[" * 3000,
    b'{"a":' * 500,
    b"&a [*a]",
    b"!!python/object:os.system",
    b"%YAML 1.1",
    b"refs/heads/kakeya/",
    b"0" * 40,
)
"""What parsers have stumbled over elsewhere."""

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    0.5,
    2**53,
    -(2**63),
    10**400,
    "",
    "x" * 70_000,
    "a\nb",
    "\x1b]0;title\x07",
    "\ud800",
    "../x",
    [],
    {},
    [[]],
    {"": {}},
    {"__class__": 1},
)


@st.composite
def damaged(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """A valid document with one to four faults; or, now and then, any bytes or any text."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=200))
    if kind == 1:
        return draw(st.text(max_size=100)).encode("utf-8", "surrogatepass")
    data = draw(valid)
    if kind < 6:
        data = _twist(draw, data)
    for _ in range(draw(st.integers(0 if kind < 6 else 1, 3))):
        data = _hurt(draw, data)
    return data


def _hurt(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, len(data)))
    end = min(len(data), at + draw(st.integers(0, 4)))
    put = draw(st.binary(max_size=3) | st.sampled_from(TOKENS) | st.just(data[at:]))
    return data[:at] + put + data[end:]


def _twist(draw: st.DrawFn, data: bytes) -> bytes:
    """One value of a JSON document replaced, dropped or added; other bytes as they are."""
    try:
        document = json.loads(data.split(b"\n", 1)[0] if b"\n{" in data else data)
    except (ValueError, RecursionError):
        return data
    place, keys = document, []
    while isinstance(place, (dict, list)) and place and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        keys.append((place, key))
        place = place[key]
    if not keys:
        return json.dumps(draw(st.sampled_from(VALUES))).encode()
    holder, key = keys[-1]
    what = draw(st.integers(0, 4))
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[draw(st.text(max_size=8))] = draw(st.sampled_from(VALUES))
    else:
        holder[key] = draw(st.sampled_from(VALUES))
    return json.dumps(document).encode()
