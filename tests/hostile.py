"""Hostile requests: a written corpus, and a strategy that makes more out of a valid one.

Both are functions of a valid manifest, so that a test can aim them at a live bus: `make_corpus`
and `mutations` take one, `CORPUS` is made from `make_valid()`. Each names the path at which it
must be refused.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import canonical, wire
from bridge.errors import ManifestError
from presets.admission import check_request
from presets.catalog import load_folder
from presets.definition import Preset

PRESETS = Path(__file__).parents[1] / "presets"
DROP = object()
PREDICTION = {"id": "ends", "text": "it ends at once", "credence": "0.9"}
RULE: tuple[str | int, ...] = ("predictions", 0, "rule")


@dataclass(frozen=True, slots=True)
class HostileManifest:
    """One manifest that must be refused.

    Attributes:
        name: what it tries.
        data: its bytes.
        path: what the refusal must name: a path in the document, or the document itself.
        id: the job's id, to be used in its ref.
    """

    name: str
    data: bytes
    path: str
    id: str


def make_valid(preset: Preset | None = None, **changes: Any) -> dict[str, Any]:
    """A valid manifest of `noop`, every optional field set; `changes` replace top-level fields."""
    preset = preset or load_folder(PRESETS)["noop"]
    return {
        "schema": "kakeya.request/1",
        "id": canonical.make_ulid(1_750_000_000_000, bytes(10)),
        "bus": canonical.make_ulid(1_740_000_000_000, bytes(10)),
        "preset": {"name": preset.name, "digest": preset.digest},
        "params": {param.name: param.example() for param in preset.params.values()},
        "code": "0123456789abcdef0123456789abcdef01234567",
        "label": preset.labels[0],
        "labels": list(preset.labels),
        "resources": {"cpus": 1, "memory_mb": 128, "gpus": 0, "gpu_memory_mb": 0},
        "priority": 5,
        "nonce": "00112233445566778899aabbccddeeff",
        "requested_by": "A. Requester <a@example.org>",
        "requested_at": "2026-01-31T12:00:00Z",
        "queue_timeout_s": 600,
        "max_attempts": 3,
        "executor": "local",
        "predictions": [PREDICTION],
        "baselines": [{"alias": "before", "digest": canonical.digest("before")}],
        "sources": [],
        "retry_of": canonical.make_ulid(1_745_000_000_000, bytes(10)),
        **changes,
    }


def refusal(data: bytes, preset: Preset) -> str:
    """What a client or runner says against a manifest; empty where it lets it pass."""
    try:
        problems = check_request(wire.parse_request(data), preset)
    except ManifestError as error:
        return str(error)
    return "\n".join(problems)


def put(manifest: Mapping[str, Any], where: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy of a manifest with one value replaced, added, or removed (`DROP`)."""
    result: dict[str, Any] = copy.deepcopy(dict(manifest))
    inner: Any = result
    for key in where[:-1]:
        inner = inner[key]
    if value is DROP:
        del inner[where[-1]]
    else:
        inner[where[-1]] = value
    return result


def to_bytes(manifest: object) -> bytes:
    """JSON that may hold what canonical JSON refuses: NaN, lone surrogates (escaped)."""
    return json.dumps(manifest, separators=(",", ":"), sort_keys=True).encode("ascii")


def _nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def _negated(levels: int) -> dict[str, Any]:
    rule: dict[str, Any] = {"cmp": [{"m": "x"}, "<", "1"]}
    for _ in range(levels):
        rule = {"not": rule}
    return rule


NOOP_LIKE_CYRILLIC = "n\u043e\u043ep"

# name, where in the manifest, the value that stands there, the path that the refusal names
EDITS: tuple[tuple[str, tuple[str | int, ...], Any, str], ...] = (
    ("no id", ("id",), DROP, "'id' is a required property"),
    ("id in lower case", ("id",), "01jz0000000000000000000000", "$.id"),
    ("id that climbs", ("id",), "../../../heads/main0000000", "$.id"),
    ("id with a newline", ("id",), "01JZ000000000000000000000\n", "$.id"),
    ("id that overflows", ("id",), "8" + "0" * 25, "$.id"),
    ("bus that is a remote helper", ("bus",), "ext::sh -c touch% /tmp/x0", "$.bus"),
    ("schema of another record", ("schema",), "kakeya.claim/1", "$.schema"),
    ("schema in full-width digits", ("schema",), "kakeya.request/\uff12", "$.schema"),
    ("schema of version zero", ("schema",), "kakeya.request/0", "$.schema"),
    ("schema is a list", ("schema",), ["kakeya.request/1"], "$.schema"),
    ("unknown top-level key", ("argv",), ["rm", "-rf", "/"], "argv"),
    ("gates of its own", ("gates",), [], "gates"),
    ("prototype key", ("__proto__",), {"priority": 0}, "__proto__"),
    ("preset is a path", ("preset", "name"), "../evil", "$.preset.name"),
    ("preset is a flag", ("preset", "name"), "--upload-pack=sh", "$.preset.name"),
    ("preset in look-alike letters", ("preset", "name"), NOOP_LIKE_CYRILLIC, "$.preset.name"),
    ("preset digest in upper case", ("preset", "digest"), "sha256:" + "A" * 64, "$.preset.digest"),
    ("preset digest with a newline", ("preset", "digest"), "sha256:" + "a" * 63 + "\n", "$.preset"),
    ("preset brings its argv", ("preset", "argv"), ["sh"], "$.preset"),
    ("code is a branch", ("code",), "main", "$.code"),
    ("code is a flag", ("code",), "--output=/etc/cron.d/x-------------------", "$.code"),
    ("code is a range", ("code",), "0123456789abcdef..0123456789abcdef012345", "$.code"),
    ("code with a newline", ("code",), "0123456789abcdef0123456789abcdef0123456\n", "$.code"),
    ("label climbs", ("label",), "..", "$.label"),
    ("label with a slash", ("label",), "any/../../main", "$.label"),
    ("label with two slashes", ("label",), "a//b", "$.label"),
    ("label is a reflog", ("label",), "any@{1}", "$.label"),
    ("label ends in .lock", ("label",), "any.lock", "$.label"),
    ("label with a tilde", ("label",), "any~1", "$.label"),
    ("label with a caret", ("label",), "any^{}", "$.label"),
    ("label with a star", ("label",), "*", "$.label"),
    ("label with a colon", ("label",), "a:refs/heads/main", "$.label"),
    ("label starts with a dash", ("label",), "-d", "$.label"),
    ("label in look-alike letters", ("label",), "\u0430ny", "$.label"),
    ("label with a zero-width space", ("label",), "any\u200b", "$.label"),
    ("label with a newline", ("label",), "any\n", "$.label"),
    ("label is empty", ("label",), "", "$.label"),
    ("label of 65 letters", ("label",), "a" * 65, "$.label"),
    ("label not among labels", ("label",), "h200", "$.label"),
    ("labels without the preset's", ("labels",), ["h200"], "$.labels"),
    ("labels twice the same", ("labels",), ["any", "any"], "$.labels"),
    ("labels beyond count", ("labels",), [f"l{i}" for i in range(5000)], "$.labels"),
    ("labels slow to compare", ("labels",), [{"a": i} for i in range(5500)], "$.labels"),
    ("params is a list", ("params",), [], "$.params"),
    ("param unknown", ("params", "argv"), "x", "$.params.argv"),
    ("param missing", ("params", "seconds"), DROP, "$.params.seconds"),
    ("param key is a flag", ("params", "--job"), "x", "--job"),
    ("param key with a newline", ("params", "a\nb"), 1, "$.params"),
    ("param is an object", ("params", "seconds"), {"$gt": 0}, "$.params.seconds"),
    ("param is null", ("params", "seconds"), None, "$.params.seconds"),
    ("param is a bool for a number", ("params", "seconds"), True, "$.params.seconds"),
    ("param is text for a number", ("params", "seconds"), "1; reboot", "$.params.seconds"),
    ("param out of bounds", ("params", "seconds"), 1e300, "$.params.seconds"),
    ("param below bounds", ("params", "exit_code"), -1, "$.params.exit_code"),
    ("param is a float for an int", ("params", "exit_code"), 1.0, "$.params.exit_code"),
    ("param is a bool for an int", ("params", "exit_code"), False, "$.params.exit_code"),
    ("param as large as a manifest", ("params", "exit_code"), "9" * 5000, "$.params.exit_code"),
    ("priority is a float", ("priority",), 5.0, "$.priority"),
    ("priority is a bool", ("priority",), True, "$.priority"),
    ("priority jumps the queue", ("priority",), -1, "$.priority"),
    ("priority of two digits", ("priority",), 10, "$.priority"),
    ("nonce too short", ("nonce",), "00", "$.nonce"),
    ("nonce with a newline", ("nonce",), "0" * 16 + "\n", "$.nonce"),
    ("requester forges a log line", ("requested_by",), "a\n[runner] claimed", "$.requested_by"),
    ("requester turns text around", ("requested_by",), "a\u202eb", "$.requested_by"),
    ("requester clears the screen", ("requested_by",), "\x1b[2J", "$.requested_by"),
    ("requester with a NUL", ("requested_by",), "a\x00b", "$.requested_by"),
    ("requester with half a letter", ("requested_by",), "a\ud800", "surrogate"),
    ("requester hides a mark", ("requested_by",), "a\ufeffb", "$.requested_by"),
    ("time that never was", ("requested_at",), "2026-99-99T99:99:99Z", "$.requested_at"),
    ("day that never was", ("requested_at",), "2026-02-30T12:00:00Z", "$.requested_at"),
    ("time with an offset", ("requested_at",), "2026-01-31T12:00+01:00Z", "$.requested_at"),
    ("zero cpus", ("resources", "cpus"), 0, "$.resources.cpus"),
    ("less memory than needed", ("resources", "memory_mb"), 1, "$.resources.memory_mb"),
    ("unknown resource", ("resources", "root"), 1, "$.resources"),
    ("endless attempts", ("max_attempts",), 10**6, "$.max_attempts"),
    ("waits for ever by zero", ("queue_timeout_s",), 0, "$.queue_timeout_s"),
    ("executor unknown", ("executor",), "shell", "$.executor"),
    ("credence above one", ("predictions", 0, "credence"), "1.5", "$.predictions[0].credence"),
    ("credence is NaN", ("predictions", 0, "credence"), "NaN", "$.predictions[0].credence"),
    ("prediction is a path", ("predictions", 0, "id"), "../x", "$.predictions[0].id"),
    ("prediction forges a line", ("predictions", 0, "text"), "a\n# PASS", "$.predictions[0].text"),
    ("rule is code", RULE, {"eval": "__import__('os')"}, "$.predictions[0].rule"),
    ("rule of constants alone", RULE, {"cmp": ["1", "<", "2"]}, "$.predictions[0].rule"),
    ("rule too deep", RULE, _negated(12), "levels"),
    ("rule too wide", RULE, {"all": [_negated(2)] * 1000}, "nodes"),
    ("rule key clears the screen", RULE, {"\x1b[2J": 1}, "$.predictions[0].rule"),
    ("rule with a float", RULE, {"cmp": [{"m": "x"}, "<", 0.5]}, "$.predictions[0].rule"),
    ("two predictions of one id", ("predictions",), [PREDICTION, PREDICTION], "$.predictions"),
    ("retry of a path", ("retry_of",), "../../../../etc/passwd0000", "$.retry_of"),
    ("amends another kind", ("amends",), "sha1:" + "0" * 66, "$.amends"),
)

# name, what is done to the bytes of the valid manifest, what the refusal names
REWRITES: tuple[tuple[str, Callable[[bytes], bytes], str], ...] = (
    ("empty", lambda data: b"", "request"),
    ("not JSON", lambda data: b"#!/bin/sh\nreboot\n", "request"),
    ("cut short", lambda data: data[:-1], "request"),
    ("two documents", lambda data: data + data, "request"),
    ("a list", lambda data: b"[" + data + b"]", "$.schema"),
    ("a string", lambda data: json.dumps(data.decode()).encode(), "$.schema"),
    ("byte-order mark", lambda data: b"\xef\xbb\xbf" + data, "request"),
    ("UTF-16", lambda data: data.decode().encode("utf-16"), "request"),
    ("Latin-1", lambda data: data.replace(b"A. Req", b"\xc4. Req"), "request"),
    ("overlong slash", lambda data: data.replace(b"A. Req", b"\xc0\xaf Req"), "request"),
    ("NUL bytes at the end", lambda data: data + bytes(8), "request"),
    ("raw newline in a string", lambda data: data.replace(b"A. Req", b"A.\nReq"), "request"),
    ("trailing comma", lambda data: data[:-1] + b",}", "request"),
    ("comment", lambda data: b"/* */" + data, "request"),
    ("single quotes", lambda data: data.replace(b'"', b"'"), "request"),
    ("duplicate key", lambda data: data[:-1] + b',"priority":0}', "priority"),
    ("duplicate key, escaped", lambda data: data[:-1] + b',"pr\\u0069ority":0}', "priority"),
    (
        "duplicate param",
        lambda data: data.replace(b'"params":{', b'"params":{"seconds":1,'),
        "seconds",
    ),
    ("NaN", lambda data: data.replace(b'"priority":5', b'"priority":NaN'), "NaN"),
    ("infinity", lambda data: data.replace(b'"priority":5', b'"priority":-Infinity'), "Infinity"),
    ("number too large", lambda data: data.replace(b'"priority":5', b'"priority":1e999'), "1e999"),
    (
        "integer beyond 2**53",
        lambda data: data.replace(b'"priority":5', b'"priority":9007199254740993'),
        "9007199254740993",
    ),
    (
        "integer of 60,000 digits",
        lambda data: data.replace(b'"priority":5', b'"priority":' + b"9" * 60_000),
        "2**53",
    ),
    ("hexadecimal", lambda data: data.replace(b'"priority":5', b'"priority":0x5'), "request"),
    ("huge", lambda data: data[:-1] + b" " * 70_000 + b"}", "bytes"),
    (
        "deep lists",
        lambda data: data[:-1] + b',"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "levels",
    ),
    ("deep objects", lambda data: b'{"a":' * 10_000 + b"0" + b"}" * 10_000, "levels"),
    ("depth behind a quote", lambda data: b'{"\\"":' + to_bytes(_nested(33)) + b"}", "levels"),
    (
        "key of 30,000 letters, twice",
        lambda data: b'{"' + b"k" * 30_000 + b'":1,"' + b"k" * 30_000 + b'":1}',
        "duplicate",
    ),
    (
        "key that clears the screen",
        lambda data: data[:-1] + b',"\\u001b[2J":"\\ud800"}',
        "surrogate",
    ),
    ("YAML", lambda data: b"schema: kakeya.request/1\n", "request"),
)


def make_corpus(base: Mapping[str, Any]) -> tuple[HostileManifest, ...]:
    """The written corpus, made from a valid manifest; each has an id of its own."""
    corpus: list[HostileManifest] = []
    for number, (name, where, value, path) in enumerate(EDITS):
        own = {**base, "id": _make_id(number)}
        corpus.append(HostileManifest(name, to_bytes(put(own, where, value)), path, own["id"]))
    for number, (name, rewrite, path) in enumerate(REWRITES, start=len(EDITS)):
        own = {**base, "id": _make_id(number)}
        corpus.append(HostileManifest(name, rewrite(to_bytes(own)), path, own["id"]))
    return tuple(corpus)


def _make_id(number: int) -> str:
    return canonical.make_ulid(1_750_000_000_000 + number, bytes(8) + number.to_bytes(2, "big"))


CORPUS = make_corpus(make_valid())
