"""Wire records: round trips, versions, unknown fields, digests."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from bridge import canonical, records, wire
from bridge.errors import ExitCode, ManifestError
from bridge.records import Prediction, Resources
from bridge.wire import VersionSkewError
from tests import samples

REQUEST = samples.make_request(
    samples.make_id(),
    params={"n": 3, "ratio": 0.5, "on": True, "text": "größe"},
    labels=("any", "gpu"),
    resources=Resources(cpus=2, gpus=1, gpu_memory_mb=80_000),
    predictions=(
        Prediction("p1", "it recalls", "0.8", canonical.freeze({"all": [{"metric": "recall"}]})),
    ),
    queue_timeout_s=60,
)


def _changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    data = json.loads(wire.to_bytes(REQUEST))
    change(data)
    return json.dumps(data).encode()


def test_a_record_is_canonical_json_and_a_newline() -> None:
    data = wire.to_bytes(REQUEST)
    assert data.endswith(b"}\n")
    assert canonical.encode(canonical.decode(data)) + b"\n" == data
    assert json.loads(data)["schema"] == "kakeya.request/1"


def test_a_request_comes_back_as_it_was() -> None:
    again = wire.parse_request(wire.to_bytes(REQUEST))
    assert again == REQUEST
    assert wire.digest_of(again) == wire.digest_of(REQUEST)
    assert isinstance(again.labels, tuple)
    with pytest.raises(TypeError):
        again.params["n"] = 4  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        again.id = "x"  # type: ignore[misc]


def test_what_is_absent_is_left_out() -> None:
    data = wire.to_json(samples.make_request(samples.make_id()))
    assert not {"queue_timeout_s", "executor", "retry_of", "amends"} & set(data)
    assert data["predictions"] == []


def test_the_digest_is_of_the_record_and_not_of_its_spelling() -> None:
    spelled = json.dumps(wire.to_json(REQUEST), indent=4).encode()
    assert wire.digest_of(wire.parse_request(spelled)) == wire.digest_of(REQUEST)
    assert wire.digest_of(REQUEST) != wire.digest_of(
        dataclasses.replace(REQUEST, nonce=samples.make_nonce())
    )


def test_a_manifest_under_a_key_may_differ_in_id_nonce_and_time_alone() -> None:
    again = dataclasses.replace(
        REQUEST,
        id=samples.make_id(),
        nonce=samples.make_nonce(),
        requested_at="2027-01-01T00:00:00Z",
    )
    assert wire.manifest_digest(again) == wire.manifest_digest(REQUEST)
    other = dataclasses.replace(again, priority=6)
    assert wire.manifest_digest(other) != wire.manifest_digest(REQUEST)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda data: data.update(extra=1), "$"),
        (lambda data: data["preset"].update(path="/x"), "$.preset"),
        (lambda data: data["resources"].update(disk=1), "$.resources"),
        (lambda data: data.pop("nonce"), "$"),
        (lambda data: data.update(id=data["id"].lower()), "$.id"),
        (lambda data: data.update(id=data["id"] + "\n"), "$.id"),
        (lambda data: data.update(code="HEAD"), "$.code"),
        (lambda data: data.update(code="--upload-pack=x"), "$.code"),
        (lambda data: data.update(label="-any"), "$.label"),
        (lambda data: data.update(label="a.lock"), "$.label"),
        (lambda data: data.update(labels=["a", "a"]), "$.labels"),
        (lambda data: data.update(labels=[]), "$.labels"),
        (lambda data: data.update(priority=10), "$.priority"),
        (lambda data: data.update(priority=1.0), "$.priority"),
        (lambda data: data.update(priority=True), "$.priority"),
        (lambda data: data.update(max_attempts=0), "$.max_attempts"),
        (lambda data: data.update(requested_by="a\u202eb"), "$.requested_by"),
        (lambda data: data.update(requested_at="2026-13-01T00:00:00Z"), "$.requested_at"),
        (lambda data: data.update(params={"a": None}), "$.params.a"),
        (lambda data: data.update(params={"A": 1}), "$.params"),
        (lambda data: data.update(params=[]), "$.params"),
        (lambda data: data["predictions"][0].update(credence="2"), "$.predictions[0].credence"),
    ],
)
def test_a_request_out_of_bounds_is_refused_at_its_path(
    change: Callable[[dict[str, Any]], object], path: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        wire.parse_request(_changed(change), where="request.json")
    assert caught.value.where == "request.json"
    assert {line.split(": ")[0] for line in caught.value.problems} == {path}


@pytest.mark.parametrize("name", [None, 1, "kakeya.claim/1", "kakeya.request/", "kakeya.request/0"])
def test_another_schema_is_refused(name: object) -> None:
    with pytest.raises(ManifestError):
        wire.parse_request(_changed(lambda data: data.update(schema=name)))


@pytest.mark.parametrize("major", ["2", "00002", "99999"])
def test_a_newer_major_is_told_plainly(major: str) -> None:
    data = _changed(lambda data: data.update(schema=f"kakeya.request/{major}", anything=1))
    with pytest.raises(VersionSkewError, match="newer program") as caught:
        wire.parse_request(data)
    assert caught.value.exit_code is ExitCode.REFUSED
    assert "upgrade" in caught.value.remedy


def test_other_records_let_a_newer_minor_add_fields() -> None:
    from bridge.bus.chain import Chain
    from bridge.bus.refs import JobRef

    claim = samples.make_claim(Chain("r", JobRef("any", 5, samples.make_id()), "t"))
    data = {**wire.to_json(claim), "later": {"x": 1}}
    assert wire.from_json("claim", data) == claim


def test_a_large_record_is_refused_before_it_is_read() -> None:
    with pytest.raises(ManifestError, match="at most 65536"):
        wire.parse_request(b" " * (wire.MAX_REQUEST_BYTES + 1))
    with pytest.raises(ManifestError, match="at most 262144"):
        wire.parse("claim", b" " * (wire.MAX_RECORD_BYTES + 1))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain größe", "plain größe"),
        ("two\nlines\r\t\x00", "two lines   "),
        ("\x1b[31mred", " [31mred"),
        ("a\u202eb\u2028c\ud800", "a b c "),
    ],
)
def test_text_for_a_record_is_one_printable_line(text: str, cleaned: str) -> None:
    assert records.clean_text(text, 100) == cleaned
    assert records.clean_text("x" * 200, 100) == "x" * 97 + "..."
