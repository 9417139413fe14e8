"""Packs as bytes: built from objects in memory, and read back into them. Pure.

Source: gitformat-pack(5).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence

from bridge.git.pktline.lines import SurpriseError
from bridge.objects import GitObject

_KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_REF_DELTA = 7  # the other kind of delta is sent only to who asks for it
_STEP = 4096
_MAX_OBJECTS = 1_000_000


def build_pack(objects: Sequence[GitObject]) -> bytes:
    """A pack of whole objects, without deltas."""
    parts = [b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big")]
    for item in objects:
        size = len(item.data)
        byte, size = _NUMBERS[item.kind] << 4 | size & 15, size >> 4
        head = bytearray()
        while size:
            head.append(byte | 0x80)
            byte, size = size & 0x7F, size >> 7
        head.append(byte)
        parts += [bytes(head), zlib.compress(item.data, level=1)]
    body = b"".join(parts)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def parse_pack(data: bytes, *, max_bytes: int) -> dict[str, GitObject]:
    """The objects of a pack, by id.

    Args:
        data: the whole pack.
        max_bytes: what its objects may hold together.

    Raises:
        SurpriseError: cut off, damaged, too large, or with a delta on what is not in it.
    """
    if len(data) < 32 or data[:8] != b"PACK\0\0\0\2":
        raise SurpriseError("the reply holds no pack of version 2")
    body, checksum = data[:-20], data[-20:]
    if hashlib.sha1(body, usedforsecurity=False).digest() != checksum:
        raise SurpriseError("the pack is cut off or damaged")
    count, at, left = int.from_bytes(body[8:12], "big"), 12, max_bytes
    if count > _MAX_OBJECTS:
        raise SurpriseError(f"a pack of {count} objects")
    found: dict[str, GitObject] = {}
    deltas: list[tuple[str, bytes]] = []
    for _ in range(count):
        kind, size, at = _read_head(body, at)
        base = ""
        if kind == _REF_DELTA:
            base, at = body[at : at + 20].hex(), at + 20
        elif kind not in _KINDS:
            raise SurpriseError(f"an object of kind {kind} in the pack")
        left -= size
        if left < 0:
            raise SurpriseError(f"more than {max_bytes} bytes in the pack")
        content, at = _inflate(body, at, size)
        if base:
            deltas.append((base, content))
        else:
            item = GitObject(_KINDS[kind], content)
            found[item.oid] = item
    if at != len(body):
        raise SurpriseError("the pack holds more than it says")
    _resolve(found, deltas, left)
    return found


def _resolve(found: dict[str, GitObject], deltas: list[tuple[str, bytes]], left: int) -> None:
    while deltas:
        later = []
        for base, delta in deltas:
            if base not in found:
                later.append((base, delta))
                continue
            content = apply_delta(found[base].data, delta, max_bytes=left)
            left -= len(content)
            item = GitObject(found[base].kind, content)
            found[item.oid] = item
        if len(later) == len(deltas):
            raise SurpriseError("a delta stands on an object that is not in the pack")
        deltas = later


def _read_head(body: bytes, at: int) -> tuple[int, int, int]:
    """Kind, size and the place behind the head of the object at `at`."""
    if at >= len(body):
        raise SurpriseError("the pack ends before its last object")
    byte = body[at]
    kind, size, shift, at = byte >> 4 & 7, byte & 15, 4, at + 1
    while byte & 0x80:
        if at >= len(body) or shift > 57:
            raise SurpriseError("the size of an object cannot be read")
        byte = body[at]
        size |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return kind, size, at


def _inflate(body: bytes, at: int, size: int) -> tuple[bytes, int]:
    """What is compressed at `at`, `size` bytes of it, and the place behind."""
    stream, parts, got = zlib.decompressobj(), [], 0
    try:
        while not stream.eof:
            piece = body[at : at + _STEP]
            if not piece:
                raise SurpriseError("an object of the pack is cut off")
            at += len(piece)
            while piece and not stream.eof:
                parts.append(stream.decompress(piece, size - got + 1))
                got += len(parts[-1])
                if got > size:
                    raise SurpriseError("an object of the pack is larger than it says")
                piece = stream.unconsumed_tail
    except zlib.error as error:
        raise SurpriseError(f"an object of the pack cannot be read: {error}") from error
    if got != size:
        raise SurpriseError("an object of the pack is smaller than it says")
    return b"".join(parts), at - len(stream.unused_data)


def apply_delta(base: bytes, delta: bytes, *, max_bytes: int) -> bytes:
    """The object that `delta` makes of `base`.

    Raises:
        SurpriseError: the delta is cut off, does not fit, or makes more than `max_bytes`.
    """
    try:
        base_size, at = _read_varint(delta, 0)
        size, at = _read_varint(delta, at)
        if base_size != len(base) or size > max_bytes:
            raise SurpriseError("a delta does not fit its base, or makes too much")
        content = b"".join(_pieces(base, delta, at, size))
    except IndexError as error:
        raise SurpriseError("a delta is cut off") from error
    if len(content) != size:
        raise SurpriseError("a delta does not make what it says")
    return content


def _pieces(base: bytes, delta: bytes, at: int, left: int) -> Iterable[bytes]:
    while at < len(delta):
        code, at = delta[at], at + 1
        if code & 0x80:
            values = [0] * 7
            for bit in range(7):
                if code >> bit & 1:
                    values[bit], at = delta[at], at + 1
            start = int.from_bytes(bytes(values[:4]), "little")
            size = int.from_bytes(bytes(values[4:]), "little") or 0x10000
            piece = base[start : start + size]
        else:
            size, piece, at = code, delta[at : at + code], at + code
        left -= size
        if not code or len(piece) != size or left < 0:
            raise SurpriseError("a delta cannot be read")
        yield piece


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not byte & 0x80 or shift > 63:
            return value, at
