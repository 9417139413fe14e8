"""Every parser of data that comes from outside, each with what a valid document of it is.

A target takes any bytes and either comes to an end or raises one of our own errors, which a person
can read. Whatever else it raises is a fault.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import re
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from bridge import canonical, schema, wire
from bridge.bus.chain import Commit, read_chain, subject_event
from bridge.bus.entry import restore_chain
from bridge.bus.profile import choose_profile
from bridge.bus.refs import JobRef, Refs
from bridge.canonical import printable
from bridge.client.settings import REPO_FILE, load_settings
from bridge.errors import KakeyaError
from bridge.git.answers import explain, is_full_disk, parse_push, remedy, says_no
from bridge.objects import Identity, build_commit, objects_from_bytes, parse_commit, parse_tree
from bridge.records import LedgerEntry, LogChunk, Step
from bridge.runner.config import load_config
from bridge.runner.output import read_progress
from evidence.packed import read_packed
from evidence.samples import read_samples
from evidence.sign import Signers, read_signers, verify_bundle
from evidence.spec import parse_spec
from evidence.verify import verify
from executors.supervise.status import read_ending, read_started
from presets.assets import parse_assets
from presets.definition import parse_preset
from tests import samples
from tests.lab import REPO
from tests.record_strategies import RECORDS
from workloads.shared.job import load as load_job

JOB = JobRef("any", 5, "01K00000000000000000000000")
OID = "1" * 40


@dataclass(frozen=True)
class Target:
    """One parser: valid documents to start from, and what is done with any bytes."""

    name: str
    valid: st.SearchStrategy[bytes]
    parse: Callable[[bytes], object]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _record(kind: str) -> Target:
    def parse(data: bytes) -> None:
        record = wire.parse(kind, data)
        again = wire.to_bytes(record)
        assert wire.to_bytes(wire.parse(kind, again)) == again

    return Target(f"record {kind}", RECORDS[kind].map(wire.to_bytes), parse)


def _ref(data: bytes) -> None:
    job = Refs().parse_job(_text(data))
    assert job is None or Refs().job(job) == _text(data)


def _porcelain(data: bytes) -> None:
    out, _, err = _text(data).partition("\n\n")
    reply = parse_push(1, out, err)
    for line in reply.lines:
        _is_plain(reply.reason(line.ref))
    says_no(out)
    is_full_disk(err)
    assert explain(err)
    assert remedy(err)


def _is_plain(text: str) -> None:
    bad = [char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")]
    assert not bad, f"{text!r} holds control characters"


def _subject(data: bytes) -> None:
    subject_event(_text(data))
    _is_plain(printable(_text(data), 200))


def _blobs(data: bytes) -> Callable[[str], bytes]:
    """A store in which every object is `data`."""
    return lambda oid: data


def _chain(data: bytes) -> None:
    first = Commit(OID, (), "kakeya: request noop, by m", {"request.json": "2" * 40})
    files = {"request.json": "2" * 40, "claim.json": "3" * 40}
    second = Commit("4" * 40, (OID,), f"kakeya: claim{_text(data)[:40]}", files)
    chain = read_chain(Refs().job(JOB), JOB, [first, second], _blobs(data), bus_id=None)
    assert not chain.ended


def _restore(data: bytes) -> None:
    """An entry of the ledger, and then an honest entry with hostile files beside it."""
    files = {"request.json": OID, "result.json": OID, "claim.json": OID}
    for entry in (lambda: wire.parse("entry", data), lambda: _ENTRY):
        with contextlib.suppress(KakeyaError):
            restore_chain(entry(), JOB, files, _blobs(data), bus_id=None)


def _in_file(name: str, use: Callable[[Path], object]) -> Callable[[bytes], object]:
    def parse(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            use(path)

    return parse


def _settings(path: Path) -> None:
    load_settings(
        {}, {}, folder=path.parent, checkout=path.parent, user_folder=path.parent / "none"
    )


def _progress(path: Path) -> None:
    """What a job says of its progress must go into a record, or be nothing."""
    progress = read_progress(path.parent)
    if progress is not None:
        digest = samples.SOME_DIGEST
        chunk = LogChunk(digest, OID, 1, 1, 0, "0" * 16, progress)
        wire.parse("log", wire.to_bytes(chunk))


def _supervised(path: Path) -> None:
    """The supervisor's files, which a job may spoil."""
    with contextlib.suppress(ValueError):  # what its callers expect
        read_started(path.parent)
    read_ending(path.parent)


def _spec(data: bytes) -> None:
    parse_spec(canonical.decode(data))


@functools.cache
def _record_bytes() -> bytes:
    """A record of a real run, as it was promoted."""
    path = min((REPO / "evidence" / "records").rglob("evidence.json*"))
    return read_packed(path.with_name("evidence.json")) or path.read_bytes()


def _bundle(data: bytes) -> None:
    verify_bundle(data, _record_bytes(), Signers({}, {}))


def _verify(path: Path) -> None:
    verify(path)


def _preset(data: bytes) -> None:
    named = re.search(rb"^name: ([a-z0-9-]+)$", data, re.MULTILINE)
    parse_preset(data, f"{named[1].decode() if named else 'fuzz'}.yaml")


def _request_schema(data: bytes) -> None:
    document = canonical.decode(data)
    schema.check(document, schema.load("bridge", "request"), where="fuzz")


def _presets() -> st.SearchStrategy[bytes]:
    paths = sorted((REPO / "presets").glob("*.yaml"))
    return st.sampled_from([path.read_bytes() for path in paths if path.stem != "assets"])


def _specs() -> st.SearchStrategy[bytes]:
    found = json.loads((REPO / "tests" / "data" / "seed_gates.json").read_bytes())
    gates: list[Any] = []
    _collect(found, gates)
    assert gates, "no gate was found to start from"
    metrics = [{"name": "recall", "reducer": "proportion", "doc": "x"}]
    return st.lists(st.sampled_from(gates), min_size=1, max_size=3).map(
        lambda some: json.dumps({"metrics": metrics, "gates": some}).encode()
    )


def _collect(value: Any, gates: list[Any]) -> None:
    if isinstance(value, dict) and "rule" in value and "id" in value:
        gates.append(value)
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list)):
            _collect(inner, gates)


def _json(*documents: object) -> st.SearchStrategy[bytes]:
    return st.sampled_from([json.dumps(document).encode() for document in documents])


def _bytes(*texts: str | bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from([text.encode() if isinstance(text, str) else text for text in texts])


_ENTRY = LedgerEntry(
    JOB.id,
    Refs().job(JOB),
    OID,
    OID,
    OID,
    "",
    0,
    (Step(OID, "request", "x"), Step(OID, "done", "x")),
)
_COMMITTED = build_commit(
    {"a": b"1"}, kept_files={}, parents=(), message="x", author=Identity("a", "b"), when_s=1
)
_STATEMENT = base64.b64encode(b'{"_type":"https://in-toto.io/Statement/v1"}').decode()
_ENVELOPE = {
    "payload": _STATEMENT,
    "payloadType": "application/vnd.in-toto+json",
    "signatures": [{"keyid": "SHA256:x", "sig": _STATEMENT}],
}
_ROW = {"arm": "a", "seed": 0, "unit": "u", "input": "sha256:" + "0" * 64, "score": "1"}
_RUNNER = b"name: a\nbus: /tmp/x\ntrusted: {checkout: .}\nslots: {cpus: 1, memory_mb: 100}\n"
_TREE = b"100644 request.json\0" + bytes(20) + b"40000 logs\0" + bytes(20)
_COMMIT = f"tree {OID}\nparent {OID}\nauthor a <b> 1 +0000\ncommitter a <b> 1 +0000\n\nx\n"
_PORCELAIN = (
    "To /bus\n*\tabc:refs/heads/kakeya/job/any/5X\t[new reference]\n"
    "!\tabc:refs/heads/kakeya/hb/a\t[rejected] (stale info)\nDone\n\n"
    "remote: error: hook declined to update refs/heads/x\nfatal: unable to access 'http://h/'\n"
)

TARGETS: tuple[Target, ...] = (
    *(_record(kind) for kind in sorted(RECORDS)),
    Target("canonical JSON", RECORDS["request"].map(wire.to_bytes), canonical.decode),
    Target("request schema", RECORDS["request"].map(wire.to_bytes), _request_schema),
    Target("name of a job's ref", _bytes(Refs().job(JOB)), _ref),
    Target("subject of a commit", _bytes("kakeya: claim, attempt 1", "kakeya: done"), _subject),
    Target("porcelain of a push", _bytes(_PORCELAIN), _porcelain),
    Target("git tree", _bytes(_TREE), parse_tree),
    Target("git commit", _bytes(_COMMIT), parse_commit),
    Target("journal of a commit", _bytes(_COMMITTED.to_bytes()), objects_from_bytes),
    Target("chain of a job", RECORDS["request"].map(wire.to_bytes), _chain),
    Target("job out of the ledger", RECORDS["entry"].map(wire.to_bytes), _restore),
    Target(
        "profile's name", _bytes("local", "github"), lambda data: choose_profile(_text(data), "")
    ),
    Target(
        "settings of a repo", _bytes("bus: ./x\nprofile: local\n"), _in_file(REPO_FILE, _settings)
    ),
    Target("settings of a runner", _bytes(_RUNNER), _in_file("runner.yaml", load_config)),
    Target("preset", _presets(), _preset),
    Target(
        "table of assets", _bytes((REPO / "presets" / "assets.yaml").read_bytes()), parse_assets
    ),
    Target("metrics and gates", _specs(), _spec),
    Target("samples", _json(_ROW), read_samples),
    Target("evidence record", st.builds(_record_bytes), _in_file("evidence.json", _verify)),
    Target("bundle of signatures", _json(_ENVELOPE, [_ENVELOPE]), _bundle),
    Target(
        "list of signers",
        _bytes("lab ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx\n"),
        lambda data: read_signers(_text(data)),
    ),
    Target(
        "job file",
        _json({"schema": "kakeya.job/1", "out": "out", "config": {"a": 1}, "inputs": {"m": "x"}}),
        _in_file("job.json", load_job),
    ),
    Target(
        "progress of a job",
        _bytes('{"step": 1, "total": 3, "eta_s": 1.5, "note": "x"}\n'),
        _in_file("progress.jsonl", _progress),
    ),
    Target(
        "supervisor's start",
        _json({"pid": 1, "started": "1", "mark": "x", "means": {}, "isolation": ""}),
        _in_file("supervisor.json", _supervised),
    ),
    Target(
        "supervisor's end",
        _json({"code": 0, "signal": None, "reason": "exit", "detail": "", "leftovers": 0}),
        _in_file("exit.json", _supervised),
    ),
)


def try_one(target: Target, data: bytes) -> bool:
    """Give `data` to a target; whether it was taken."""
    try:
        target.parse(data)
    except KakeyaError as error:
        assert str(error)  # noqa: PT017 - an error of ours is the point, and it must say something
        return False
    return True
