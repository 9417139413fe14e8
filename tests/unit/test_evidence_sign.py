"""Signatures over records: ours are what in-toto and securesystemslib take, and no tamper holds."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope

from bridge.cli.evidence import evidence_group
from bridge.errors import ExitCode, IntegrityError, UsageError
from evidence.assurance import Replay, derive_assurance
from evidence.judge import JudgeInput, judge
from evidence.sign import (
    BUNDLE_NAME,
    countersign,
    read_signers,
    sign_record,
    verify_bundle,
)
from evidence.statements import EVIDENCE, PROVENANCE
from tests.evidence_world import digest_of, facts, write_job

Keys = tuple[bytes, str]


def make_key(name: str) -> Keys:
    """A private key as OpenSSH keeps it, and its line in a list of signers."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return private, f"{name} {public} a comment"


@pytest.fixture(scope="module")
def runner_key() -> Keys:
    return make_key("box")


@pytest.fixture(scope="module")
def other_key() -> Keys:
    return make_key("second")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("signed")
    paths = write_job(base)
    judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], base / "out"))
    return base / "out"


@pytest.fixture(scope="module")
def record(folder: Path) -> bytes:
    return (folder / "evidence.json").read_bytes()


@pytest.fixture(scope="module")
def bundle(record: bytes, runner_key: Keys) -> bytes:
    return sign_record(record, runner_key[0])


def test_a_trusted_signature_is_named(record: bytes, bundle: bytes, runner_key: Keys) -> None:
    assert verify_bundle(bundle, record, read_signers(runner_key[1])) == ("box",)


def test_in_toto_and_securesystemslib_take_what_we_sign(
    bundle: bytes, record: bytes, runner_key: Keys
) -> None:
    kinds = []
    keys = list(read_signers(runner_key[1]).keys.values())
    for item in json.loads(bundle)["envelopes"]:
        envelope = Envelope.from_dict(copy.deepcopy(item))
        assert envelope.verify(keys, 1)
        data = json.loads(envelope.payload)
        statement = Statement.copy_from_pb(ParseDict(data, StatementMessage()))
        statement.validate()
        kinds.append(data["predicateType"])
        if data["predicateType"] == PROVENANCE:
            provenance = ParseDict(data["predicate"], Provenance())  # an unknown field would raise
            assert provenance.run_details.builder.id.endswith("box")
            assert provenance.build_definition.resolved_dependencies[0].digest["gitCommit"]
    assert kinds == [PROVENANCE, EVIDENCE]
    names = {subject["name"]: subject["digest"] for subject in data["subject"]}
    assert names["evidence.json"] == {"sha256": digest_bytes(record)}


def digest_bytes(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_a_record_changed_after_it_was_signed_is_refused(
    record: bytes, bundle: bytes, runner_key: Keys
) -> None:
    changed = record.replace(b'"pass"', b'"fail"', 1)
    with pytest.raises(IntegrityError, match="not those of this record"):
        verify_bundle(bundle, changed, read_signers(runner_key[1]))


def test_a_key_that_is_not_enrolled_is_refused_and_named(
    record: bytes, bundle: bytes, other_key: Keys
) -> None:
    with pytest.raises(IntegrityError, match="no key that is enrolled") as caught:
        verify_bundle(bundle, record, read_signers(other_key[1]))
    assert "SHA256:" in caught.value.problems[0]


def tampered(bundle: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    data = json.loads(bundle)
    edit(data)
    return json.dumps(data).encode()


def swap_signature(data: dict[str, Any]) -> None:
    one, two = (envelope["signatures"][0] for envelope in data["envelopes"])
    one["sig"], two["sig"] = two["sig"], one["sig"]


def forge_payload(data: dict[str, Any]) -> None:
    payload = base64.b64decode(data["envelopes"][1]["payload"])
    data["envelopes"][1]["payload"] = base64.b64encode(payload.replace(b"pass", b"fail")).decode()


TAMPERS: list[Callable[[dict[str, Any]], None]] = [
    swap_signature,
    forge_payload,
    lambda data: data["envelopes"].pop(),
    lambda data: data["envelopes"].reverse(),
    lambda data: data["envelopes"][0].update(payloadType="text/plain"),
    lambda data: data["envelopes"][0].update(signatures=[]),
    lambda data: data.update(schema="kakeya.bundle/9"),
    lambda data: data.update(envelopes=[]),
    lambda data: data.update(envelopes="none"),
    lambda data: data["envelopes"][0]["signatures"][0].update(sig="AAAA"),
]


@pytest.mark.parametrize("edit", TAMPERS)
def test_no_tampered_bundle_holds(
    record: bytes, bundle: bytes, runner_key: Keys, edit: Callable[[dict[str, Any]], None]
) -> None:
    with pytest.raises(IntegrityError):
        verify_bundle(tampered(bundle, edit), record, read_signers(runner_key[1]))


def test_a_countersignature_adds_a_name(
    record: bytes, bundle: bytes, runner_key: Keys, other_key: Keys
) -> None:
    both = read_signers(f"# who\n{runner_key[1]}\n\n{other_key[1]}\n")
    twice = countersign(bundle, record, other_key[0], both)
    assert verify_bundle(twice, record, both) == ("box", "second")
    with pytest.raises(IntegrityError):
        countersign(bundle, record.replace(b'"pass"', b'"fail"', 1), other_key[0], both)


@pytest.mark.parametrize("text", ["box", "box ssh-rsa AAAA", "box ssh-ed25519 AAAA", "a b c"])
def test_a_bad_line_of_signers_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_signers(text)
    assert "line 1" in caught.value.where


def test_a_key_that_stands_twice_is_refused(runner_key: Keys) -> None:
    with pytest.raises(UsageError, match="twice"):
        read_signers(f"{runner_key[1]}\nother {runner_key[1].split(' ', 1)[1]}")


def test_other_keys_do_not_sign(record: bytes) -> None:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    for wrong in (private, b"not a key"):
        with pytest.raises(UsageError):
            sign_record(record, wrong)


def replayed(**more: Any) -> dict[str, Any]:
    record = {
        "hardware": {"fingerprint": digest_of("one")},
        "preset": facts()["preset"],
        "code": facts()["code"],
        "inputs": facts()["inputs"],
        "cases": {"g": {"verdict": "pass", "gate": "d"}},
    }
    return {**record, **more}


@pytest.mark.parametrize(
    ("signers", "replays", "word"),
    [
        ((), (), "unsigned"),
        (("box",), (), "self"),
        (("box", "second"), (), "countersigned"),
        (("box",), (Replay(replayed(), ("second",)),), "reproduced"),
        (("box",), (Replay(replayed(), ("box",)),), "self"),
        (("box",), (Replay(replayed(), ()),), "self"),
        (("box",), (Replay(replayed(code={"commit": "f" * 40}), ("second",)),), "self"),
        (("box",), (Replay(replayed(inputs=[]), ("second",)),), "self"),
        (
            ("box",),
            (Replay(replayed(cases={"g": {"verdict": "fail", "gate": "d"}}), ("second",)),),
            "self",
        ),
        (
            ("box",),
            (Replay(replayed(cases={"g": {"verdict": "pass", "gate": "e"}}), ("second",)),),
            "self",
        ),
    ],
)
def test_assurance_is_derived(signers: Any, replays: Any, word: str) -> None:
    assert derive_assurance(replayed(), signers, replays).assurance == word


def test_reproduced_says_whether_the_hardware_differed() -> None:
    other = Replay(replayed(hardware={"fingerprint": digest_of("two")}), ("second",))
    same = Replay(replayed(), ("second",))
    assert derive_assurance(replayed(), ("box",), (other,)).other_hardware is True
    assert derive_assurance(replayed(), ("box",), (same,)).other_hardware is False


def test_verify_names_the_assurance_and_refuses_a_stranger(
    tmp_path: Path, folder: Path, bundle: bytes, runner_key: Keys, other_key: Keys
) -> None:
    for name in ("evidence.json", "samples.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "signers").write_text(runner_key[1])
    (tmp_path / "strangers").write_text(other_key[1])
    argv = ["verify", str(tmp_path), "--json", "--signers"]
    unsigned = CliRunner().invoke(evidence_group, [*argv, f"{tmp_path}/signers"])
    assert json.loads(unsigned.stdout)["assurance"] == "unsigned"
    (tmp_path / BUNDLE_NAME).write_bytes(bundle)
    signed = CliRunner().invoke(evidence_group, [*argv, f"{tmp_path}/signers"])
    assert json.loads(signed.stdout)["assurance"] == "self"
    assert signed.exit_code == ExitCode.DONE
    stranger = CliRunner().invoke(evidence_group, [*argv, f"{tmp_path}/strangers"])
    assert stranger.exit_code == ExitCode.REFUSED
    assert "no key that is enrolled" in stranger.stdout
