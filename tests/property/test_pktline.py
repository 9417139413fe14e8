"""Whatever a remote sends, the fast path reads it rightly or is surprised; nothing else happens."""

from __future__ import annotations

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.git.answers import PushReply
from bridge.git.pktline import messages
from bridge.git.pktline.lines import Mark, SurpriseError, decode, encode, split_bands
from bridge.git.pktline.pack import apply_delta, build_pack, parse_pack
from bridge.objects import GitObject

MAX = 1 << 20
ROWS = [("refs/heads/a", None, "1" * 40), ("refs/heads/b", "2" * 40, None)]

blobs = st.lists(st.binary(max_size=9000).map(lambda data: GitObject("blob", data)), max_size=6)
packets = st.lists(st.binary(min_size=1, max_size=200) | st.sampled_from(Mark), max_size=8)
READERS = {
    "capabilities": messages.parse_capabilities,
    "push capabilities": messages.parse_push_capabilities,
    "refs": messages.parse_refs,
    "objects": messages.parse_objects,
    "report": lambda data: messages.parse_push_reply(data, ROWS),
    "pack": lambda data: parse_pack(data, max_bytes=MAX),
    "delta": lambda data: apply_delta(b"base" * 50, data, max_bytes=MAX),
}
READ = {
    "capabilities": messages.Capabilities,
    "push capabilities": frozenset,
    "refs": dict,
    "objects": bytes,
    "report": PushReply,
    "pack": dict,
    "delta": bytes,
}
GOOD = {
    "capabilities": encode(b"version 2\n", b"ls-refs\n", b"fetch=shallow filter\n", Mark.FLUSH),
    "push capabilities": encode(b"# service=git-receive-pack\n", Mark.FLUSH)
    + encode(b"0" * 40 + b" capabilities^{}\0report-status atomic\n", Mark.FLUSH),
    "refs": encode(b"1" * 40 + b" refs/heads/a\n", Mark.FLUSH),
    "objects": encode(b"shallow-info\n", b"shallow " + b"1" * 40, Mark.DELIMITER, b"packfile\n")
    + encode(b"\x02words", b"\x01PACK", Mark.FLUSH),
    "report": encode(
        b"\x01"
        + encode(b"unpack ok\n", b"ok refs/heads/a\n", b"ng refs/heads/b why\n", Mark.FLUSH),
        Mark.FLUSH,
    ),
    "pack": build_pack([GitObject("blob", b"text" * 300), GitObject("tree", b"")]),
    "delta": bytes([0xC8, 1, 10, 0x90, 8, 2, 65, 66]),
}


def _read(name: str, data: bytes) -> object:
    try:
        return READERS[name](data)
    except SurpriseError:
        return None


def _is_read_or_a_surprise(name: str, data: bytes) -> bool:
    """Whether the reader gives what it says, or nothing; any other error is the test's."""
    found = _read(name, data)
    return found is None or isinstance(found, READ[name])


@given(items=packets)
def test_packets_come_back_as_they_were_sent(items: list[bytes | Mark]) -> None:
    assert list(decode(encode(*items))) == items


@given(items=blobs)
def test_a_pack_comes_back_as_it_was_built(items: list[GitObject]) -> None:
    assert parse_pack(build_pack(items), max_bytes=MAX) == {item.oid: item for item in items}


@pytest.mark.parametrize("name", READERS)
def test_a_good_message_is_read(name: str) -> None:
    found = _read(name, GOOD[name])
    assert found
    assert isinstance(found, READ[name])


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_a_surprise(name: str, data: bytes) -> None:
    assert _is_read_or_a_surprise(name, data)


@pytest.mark.parametrize("name", READERS)
@given(at=st.integers(0, 10_000), change=st.binary(max_size=4), cut=st.booleans(), data=st.data())
def test_a_spoilt_message_is_read_or_a_surprise(
    name: str, at: int, change: bytes, cut: bool, data: st.DataObject
) -> None:
    good = GOOD[name]
    at %= len(good)
    spoilt = good[:at] + change + (b"" if cut else good[at + len(change) :])
    if name == "pack" and data.draw(st.booleans()):  # its checksum right again
        body = spoilt[:-20]
        spoilt = body + hashlib.sha1(body, usedforsecurity=False).digest()
    assert _is_read_or_a_surprise(name, spoilt)


@given(items=packets)
def test_packets_in_any_order_are_a_report_or_a_surprise(items: list[bytes | Mark]) -> None:
    report = encode(b"\x01" + encode(*items)[:900], Mark.FLUSH)
    assert _is_read_or_a_surprise("report", report)
    assert _is_read_or_a_surprise("refs", encode(*items))
    assert _is_read_or_a_surprise("objects", encode(b"packfile\n", *items))


def _pack(entry: bytes, count: int = 1) -> bytes:
    body = b"PACK" + (2).to_bytes(4, "big") + count.to_bytes(4, "big") + entry
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (b"\x3f" + zlib.compress(bytes(50_000_000)), "larger than it says"),
        (b"\xb0\xff\xff\xff\x7f" + zlib.compress(b""), "more than"),
        (b"\x3a" + zlib.compress(b"x"), "smaller than it says"),
        (b"\x6f" + bytes(30), "kind 6"),
        (b"\x72" + bytes(20) + zlib.compress(b"ab"), "not in the pack"),
        (b"\xb0" + b"\xff" * 30, "size of an object"),
        (b"\x35", "cut off"),
    ],
)
def test_a_pack_of_a_hostile_hand_is_a_surprise(entry: bytes, words: str) -> None:
    with pytest.raises(SurpriseError, match=words):
        parse_pack(_pack(entry), max_bytes=MAX)


def test_a_delta_is_resolved_in_any_order() -> None:
    base, made = GitObject("blob", b"base" * 4), GitObject("blob", b"baseAB")
    delta = bytes([16, 6, 0x90, 4, 2]) + b"AB"
    entry = b"\x77" + bytes.fromhex(base.oid) + zlib.compress(delta)
    whole = b"\xb0\x01" + zlib.compress(base.data)
    for body in (entry + whole, whole + entry):
        found = parse_pack(_pack(body, 2), max_bytes=MAX)
        assert found == {item.oid: item for item in (base, made)}
    with pytest.raises(SurpriseError):
        apply_delta(base.data, delta, max_bytes=5)


def test_the_words_of_a_hook_are_quoted_as_git_does() -> None:
    report = encode(b"unpack ok\n", b"ng refs/heads/a hook declined\n", b"ok refs/heads/b\n")
    data = encode(b"\x02not here\n", b"\x01" + report + encode(Mark.FLUSH), Mark.FLUSH)
    reply = messages.parse_push_reply(data, ROWS)
    assert reply.reason("refs/heads/a") == "[remote rejected] (hook declined): not here"
    assert reply.accepts(["refs/heads/b"])
    assert not reply.accepts(["refs/heads/a"])
    full = encode(b"\x01" + encode(b"unpack No space left on device\n", Mark.FLUSH), Mark.FLUSH)
    assert not messages.parse_push_reply(full, ROWS).is_refusal


def test_bands_end_with_a_flush() -> None:
    with pytest.raises(SurpriseError, match="cut off"):
        split_bands(decode(encode(b"\x01data")))
    with pytest.raises(SurpriseError, match="out of memory"):
        split_bands(decode(encode(b"\x03out of memory", Mark.FLUSH)))
