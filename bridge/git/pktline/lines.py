"""Packet lines: what git sends over a wire, with its length in front. Pure.

Source: gitprotocol-common(5), "pkt-line Format".
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from bridge.canonical import printable
from bridge.errors import BusError

_LONGEST = 65_520


class SurpriseError(BusError):
    """A reply that the fast path cannot use; git itself may do better.

    Attributes:
        rests: the fast path should be left alone for a while, not for this call alone.
    """

    def __init__(self, message: str, *, rests: bool = True) -> None:
        super().__init__(message, remedy="git is used instead; to stay with it: fast_path: false")
        self.rests = rests


class Mark(IntEnum):
    """The packets without content."""

    FLUSH = 0
    DELIMITER = 1
    END = 2


def encode(*items: bytes | Mark) -> bytes:
    """Packets one behind the other."""
    parts = []
    for item in items:
        if isinstance(item, Mark):
            parts.append(b"%04x" % item)
        else:
            parts.append(b"%04x" % (len(item) + 4) + item)
    return b"".join(parts)


def decode(data: bytes) -> Iterator[bytes | Mark]:
    """The packets in `data`.

    Raises:
        SurpriseError: it is cut off, or no packet line at all.
    """
    at = 0
    while at < len(data):
        head = data[at : at + 4]
        try:
            size = int(head, 16) if len(head) == 4 and head.isalnum() else -1
        except ValueError:
            size = -1
        if size in (0, 1, 2):
            yield Mark(size)
            at += 4
            continue
        if not 4 <= size <= _LONGEST or at + size > len(data):
            raise SurpriseError(f"no packet line at byte {at}: {printable(repr(head), 40)}")
        yield data[at + 4 : at + size]
        at += size


def split_bands(packets: Iterator[bytes | Mark]) -> tuple[bytes, bytes]:
    """What the side bands up to the next flush carry: the data, and the remote's words.

    Raises:
        SurpriseError: the remote broke off, or uses another band.
    """
    data: list[bytes] = []
    words: list[bytes] = []
    for packet in packets:
        if packet is Mark.FLUSH:
            return b"".join(data), b"".join(words)
        if isinstance(packet, Mark) or packet[:1] not in (b"\x01", b"\x02"):
            said = b"" if isinstance(packet, Mark) else packet[1:]
            raise SurpriseError(f"the remote broke off: {printable(repr(said), 200)}")
        (data if packet[:1] == b"\x01" else words).append(packet[1:])
    raise SurpriseError("the reply is cut off")
