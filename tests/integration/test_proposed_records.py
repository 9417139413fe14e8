"""`evidence check-records`: what a proposal does to the records, read from git objects alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bridge.cli.main import main
from bridge.errors import ExitCode
from evidence.packed import pack
from evidence.promoted import ROOT, folder_of
from evidence.report.markdown import MARKER, MAX_CHARACTERS
from evidence.sign import BUNDLE_NAME, sign_record
from presets.binding import render_spec
from presets.catalog import parse_catalog
from tests import evidence_world
from tests.lab import REPO
from tests.proposals import SAMPLES_NAME, Proposals, make_id, make_record

EXPECTED = {
    "good": ("pass", ExitCode.DONE),
    "failing": ("fail", ExitCode.GATE_FAILED),
    "tampered": ("tampered", ExitCode.REFUSED),
    "missing": ("not recomputed", ExitCode.INCONCLUSIVE),
}

pytestmark = pytest.mark.real("git")


@pytest.fixture
def world(tmp_path: Path) -> Proposals:
    return Proposals(tmp_path / "repo")


def check(
    world: Proposals, head: str, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, list[dict[str, Any]]]:
    argv = ["evidence", "check-records", "--repository", str(world.folder), "--json", *more]
    code = main([*argv, "--base", "main", "--head", head])
    return code, json.loads(capsys.readouterr().out)["records"]


def test_each_kind_of_record_has_its_word_and_exit_code(
    world: Proposals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, commit in world.four():
        comment = tmp_path / f"{name}.md"
        code, records = check(world, commit, capsys, "--comment", str(comment))
        assert (records[0]["found"], code) == EXPECTED[name], records
        text = comment.read_text("utf-8")
        assert text.startswith(MARKER)
        assert text.count(MARKER) == 1
        assert len(text) <= MAX_CHARACTERS


def test_a_proposal_without_records_passes_and_says_so(
    world: Proposals, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = world.propose("other", {}, **{"README.md": b"hello"})
    argv = ["evidence", "check-records", "--repository", str(world.folder)]
    assert main([*argv, "--base", "main", "--head", commit]) == ExitCode.DONE
    assert "No evidence record was added" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["edited", "deleted", "added to", "strange", "link"])
def test_whatever_else_is_done_to_records_is_refused(
    word: str, world: Proposals, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = f"{ROOT}/{world.kept}"
    change: dict[str, bytes | None] = {
        "edited": {f"{kept}/evidence.json": b"{}"},
        "deleted": {f"{kept}/{SAMPLES_NAME}": None},
        "added to": {f"{kept}/evidence.bundle.json": b"{}"},
        "strange": {f"{ROOT}/conftest.py": b"raise SystemExit"},
        "link": {},
    }[word]
    if word == "link":
        target = world.folder / ROOT / folder_of(make_id(2)) / "evidence.json"
        target.parent.mkdir(parents=True)
        target.symlink_to("/etc/hostname")
    commit = world.propose(word.replace(" ", "-"), {}, **change)
    code, records = check(world, commit, capsys)
    assert code == ExitCode.REFUSED, records
    assert records[0]["exit_code"] == ExitCode.REFUSED


def test_a_record_in_the_folder_of_another_job_is_refused(
    world: Proposals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = make_record(tmp_path / "jobs", make_id(2))
    code, records = check(world, world.propose("moved", {folder_of(make_id(4)): files}), capsys)
    assert (code, records[0]["found"]) == (ExitCode.REFUSED, "tampered")


def test_a_record_that_unpacks_without_end_is_refused(
    world: Proposals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = make_record(tmp_path / "jobs", make_id(2)) | {SAMPLES_NAME: pack(bytes(80 * 2**20))}
    code, records = check(world, world.propose("bomb", {folder_of(make_id(2)): files}), capsys)
    assert code == ExitCode.REFUSED
    assert "unpacks to more than" in records[0]["problems"][0]


def test_a_file_that_is_too_large_is_never_read(
    world: Proposals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = make_record(tmp_path / "jobs", make_id(2)) | {SAMPLES_NAME: bytes(3 * 2**20)}
    code, records = check(world, world.propose("large", {folder_of(make_id(2)): files}), capsys)
    assert (code, records[0]["found"]) == (ExitCode.USAGE, "malformed")


def make_key() -> tuple[bytes, str]:
    """A private key as OpenSSH keeps it, and its public line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def test_signatures_are_held_to_the_keys_of_the_trusted_base(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runner, line), (stranger, other_line) = make_key(), make_key()
    world = Proposals(tmp_path / "repo", {"evidence/signers": f"lab-1 {line}\n".encode()})
    files = make_record(tmp_path / "jobs", make_id(2))
    record, folder = files["evidence.json"], folder_of(make_id(2))
    signed = {**files, BUNDLE_NAME: sign_record(record, runner)}
    code, records = check(world, world.propose("enrolled", {folder: signed}), capsys)
    assert code == ExitCode.DONE, records
    assert any("assurance: self (signed by lab-1)" in note for note in records[0]["notes"])
    # a proposal that enrols its own key changes nothing: the list is that of the base
    signed = {**files, BUNDLE_NAME: sign_record(record, stranger)}
    enrol = {"evidence/signers": f"lab-1 {other_line}\n".encode()}
    code, records = check(world, world.propose("stranger", {folder: signed}, **enrol), capsys)
    assert code == ExitCode.REFUSED
    assert "no key that is enrolled" in records[0]["problems"][0]


@pytest.mark.parametrize("honest", [True, False])
def test_gates_are_held_to_the_preset_of_the_trusted_base(
    honest: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (REPO / "presets" / "noop.yaml").read_bytes()
    world = Proposals(tmp_path / "repo", {"presets/noop.yaml": text})
    preset = parse_catalog({"noop.yaml": text}).get("noop")
    spec = render_spec(preset, {}) if honest else evidence_world.spec()
    named = {"name": "noop", "digest": preset.digest}
    files = make_record(tmp_path / "jobs", make_id(2), preset=named, spec=spec)
    _, records = check(world, world.propose("preset", {folder_of(make_id(2)): files}), capsys)
    if honest:
        assert "preset noop: as on the trusted base" in records[0]["notes"]
    else:
        assert records[0]["found"] == "tampered"
        assert "not those of preset noop" in records[0]["problems"][0]


def test_nothing_of_a_record_reaches_the_runner_as_a_command(
    world: Proposals, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    name = f"{ROOT}/::add-mask::x ##[group]y.md"
    commit = world.propose("commands", {}, **{name: b"x"})
    argv = ["evidence", "check-records", "--repository", str(world.folder)]
    assert main([*argv, "--base", "main", "--head", commit]) == ExitCode.REFUSED
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("::")] == [
        "::error title=INTEGRITY BROKEN — 1 record%3A 1 strange::see the step summary"
    ]
    assert not any("##[" in line for line in lines)
