"""What is asked of upload-pack and receive-pack, and what they answer. Pure.

Source: gitprotocol-v2(5) for ls-refs and fetch, gitprotocol-pack(5) for a push.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bridge.canonical import is_oid, printable
from bridge.git.answers import PushLine, PushReply
from bridge.git.pktline.lines import Mark, SurpriseError, decode, encode, split_bands

Row = tuple[str, str | None, str | None]
"""A ref to push: its name, its old id (None: absent), its new id (None: delete)."""

NO_OID = "0" * 40
_AGENT = b"agent=kakeya\n"
_FORMAT = "object-format"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an upload-pack of protocol 2 said that it can do."""

    features: Mapping[str, frozenset[str]]

    @property
    def preamble(self) -> tuple[bytes, ...]:
        """What every command says first."""
        named = _FORMAT in self.features
        return (_AGENT, f"{_FORMAT}=sha1\n".encode()) if named else (_AGENT,)


def parse_capabilities(data: bytes) -> Capabilities:
    """The advertisement of an upload-pack.

    Raises:
        SurpriseError: it speaks another protocol, hashes otherwise, or cannot filter.
    """
    rows = _rows(data)
    if "version 2" not in rows[:1]:
        raise SurpriseError("the remote does not speak protocol 2")
    pairs = (row.partition("=") for row in rows[1:])
    features = {name: frozenset(value.split()) for name, _, value in pairs}
    if not features.keys() >= {"ls-refs", "fetch"}:
        raise SurpriseError("the remote knows neither ls-refs nor fetch")
    if not features["fetch"] >= {"filter", "shallow"}:
        raise SurpriseError("the remote cannot filter")
    if features.get(_FORMAT, frozenset({"sha1"})) != {"sha1"}:
        raise SurpriseError("the remote's objects are not named by SHA-1")
    return Capabilities(features)


def parse_push_capabilities(data: bytes) -> frozenset[str]:
    """What a receive-pack said, beside its first ref, that it can do."""
    rows = _rows(data)
    return frozenset(rows[0].partition("\0")[2].split()) if rows else frozenset()


def _rows(data: bytes) -> list[str]:
    """The lines of an advertisement, without the one that only smart HTTP has in front."""
    packets = [packet for packet in decode(data) if not isinstance(packet, Mark)]
    rows = [packet.decode("utf-8", "replace").rstrip("\n") for packet in packets]
    return rows[1:] if rows and rows[0].startswith("# service=") else rows


def ask_refs(capabilities: Capabilities, prefixes: Sequence[str]) -> bytes:
    """The request for every ref below `prefixes`."""
    lines = [f"ref-prefix {prefix}\n".encode() for prefix in prefixes]
    head = (b"command=ls-refs\n", *capabilities.preamble)
    return encode(*head, Mark.DELIMITER, *lines, Mark.FLUSH)


def parse_refs(data: bytes) -> dict[str, str]:
    """The answer to `ask_refs`: ref to object id.

    Raises:
        SurpriseError: it is cut off or reads otherwise.
    """
    refs: dict[str, str] = {}
    packets = list(decode(data))
    if not packets or packets.pop() is not Mark.FLUSH:
        raise SurpriseError("the list of refs is cut off")
    for packet in packets:
        if isinstance(packet, Mark):
            raise SurpriseError("the list of refs has two ends")
        _check_error(packet)
        oid, _, name = packet.decode("utf-8", "surrogateescape").rstrip("\n").partition(" ")
        if not is_oid(oid) or not name or " " in name:
            raise SurpriseError(f"no ref: {printable(repr(packet), 100)}")
        refs[name] = oid
    return refs


def ask_objects(
    capabilities: Capabilities,
    wants: Sequence[str],
    haves: Sequence[str],
    *,
    depth: int | None,
    object_filter: str,
) -> bytes:
    """The request for the objects behind `wants`, without those behind `haves`."""
    lines = ["no-progress", f"filter {object_filter}"]
    lines += [f"deepen {depth}"] if depth else []
    lines += [f"want {oid}" for oid in wants] + [f"have {oid}" for oid in haves]
    arguments = [f"{line}\n".encode() for line in [*lines, "done"]]
    head = (b"command=fetch\n", *capabilities.preamble)
    return encode(*head, Mark.DELIMITER, *arguments, Mark.FLUSH)


def parse_objects(data: bytes) -> bytes:
    """The answer to `ask_objects`: a pack.

    Raises:
        SurpriseError: the remote refused, or answers with other sections.
    """
    packets = decode(data)
    for packet in packets:
        if packet == b"packfile\n":
            return split_bands(packets)[0]
        if packet == b"shallow-info\n":
            _skip_section(packets)
            continue
        if not isinstance(packet, Mark):
            _check_error(packet)
        raise SurpriseError(f"an unknown section: {printable(repr(packet), 100)}")
    raise SurpriseError("the reply holds no pack")


def _skip_section(packets: Iterator[bytes | Mark]) -> None:
    """Where the history was cut off: nothing here walks beyond what was asked for."""
    for packet in packets:
        if packet is Mark.DELIMITER:
            return
        if isinstance(packet, Mark) or not packet.startswith((b"shallow ", b"unshallow ")):
            break
    raise SurpriseError("the list of shallow commits is cut off")


def ask_push(rows: Sequence[Row], pack: bytes, *, atomic: bool) -> bytes:
    """The request to swap `rows`; `pack` is empty where all of them are deleted."""
    features = "report-status side-band-64k agent=kakeya"
    features += " delete-refs" if any(new is None for _, _, new in rows) else ""
    features += " atomic" if atomic else ""
    lines = [f"{old or NO_OID} {new or NO_OID} {ref}".encode() for ref, old, new in rows]
    lines[0] += f"\0 {features}".encode()
    return encode(*lines, Mark.FLUSH) + pack


def parse_push_reply(data: bytes, rows: Sequence[Row]) -> PushReply:
    """The answer to `ask_push`, as git would have told it.

    Raises:
        SurpriseError: it is cut off, or does not speak of every ref.
    """
    report, words = split_bands(decode(data))
    packets = list(decode(report))
    if len(packets) < 2 or packets.pop() is not Mark.FLUSH:
        raise SurpriseError("the report of a push is cut off")
    lines = [b"" if isinstance(item, Mark) else item.rstrip(b"\n") for item in packets]
    said = [line.decode("utf-8", "replace") for line in lines]
    stderr = "".join(f"remote: {row}\n" for row in words.decode("utf-8", "replace").splitlines())
    if not said[0].startswith("unpack "):
        raise SurpriseError(f"no report of a push: {printable(repr(said[0]), 100)}")
    if said[0] != "unpack ok":
        stderr += f"error: remote {said[0]}\n"
        failed = "[remote rejected] (unpacker error)"
        return PushReply(1, tuple(PushLine(ref, "!", failed) for ref, _, _ in rows), stderr)
    known = {ref for ref, _, _ in rows}
    found = []
    for line in said[1:]:
        word, _, rest = line.partition(" ")
        ref, _, why = rest.partition(" ")
        if word not in ("ok", "ng") or ref not in known:
            raise SurpriseError(f"no line of a push: {printable(repr(line), 100)}")
        summary = "[pushed]" if word == "ok" else f"[remote rejected] ({why})"
        found.append(PushLine(ref, " " if word == "ok" else "!", summary))
    if {line.ref for line in found} != known:
        raise SurpriseError("the report of a push leaves out a ref")
    status = int(any(line.flag == "!" for line in found))
    return PushReply(status, tuple(found), stderr)


def _check_error(packet: bytes) -> None:
    if packet.startswith(b"ERR "):
        raise SurpriseError(f"the remote says {printable(repr(packet[4:]), 200)}", rests=False)
