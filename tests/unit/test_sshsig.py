"""Signatures made in the process are those that OpenSSH and git make and take."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import proc
from bridge.errors import IntegrityError, UsageError
from bridge.objects import GitObject, Identity, build_commit, split_signature
from bridge.sshsig import GIT, SigningKey, fingerprint, public_line, read_public, read_signature
from tests.keys import Hand, enrol, make_hand
from tests.rawgit import RawGit
from tests.servers.child import server_env


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return make_hand(tmp_path, "mac-m4")


def keygen(folder: Path, *words: str, data: bytes = b"") -> proc.Completed:
    argv = ["ssh-keygen", *words]
    return proc.run(argv, cwd=folder, env=server_env(folder), timeout_s=30, input=data)


def test_openssh_takes_what_is_signed_here(hand: Hand, tmp_path: Path) -> None:
    (tmp_path / "data.sig").write_bytes(hand.key.sign(b"some bytes"))
    (tmp_path / "signers").write_text(hand.key.public + "\n")
    words = ["-Y", "verify", "-n", GIT, "-I", "mac-m4", "-f", "signers", "-s", "data.sig"]
    good = keygen(tmp_path, *words, data=b"some bytes")
    assert good.code == 0, good.stderr
    assert hand.key.fingerprint.encode() in good.stdout
    assert keygen(tmp_path, *words, data=b"other bytes").code != 0


@pytest.mark.parametrize("hashed", ["sha256", "sha512"])
def test_what_openssh_signs_is_taken_here(tmp_path: Path, hashed: str) -> None:
    assert keygen(tmp_path, "-q", "-t", "ed25519", "-N", "", "-f", "key").code == 0
    words = ["-Y", "sign", "-q", "-n", GIT, "-O", f"hashalg={hashed}", "-f", "key"]
    made = keygen(tmp_path, *words, data=b"some bytes")
    assert made.code == 0, made.stderr
    signature = read_signature(made.stdout)
    key = SigningKey((tmp_path / "key").read_bytes())
    assert (signature.fingerprint, signature.namespace) == (key.fingerprint, GIT)
    assert signature.fits(b"some bytes", GIT)
    assert not signature.fits(b"some bytes", "kakeya-request")
    assert not signature.fits(b"other bytes", GIT)
    shown = keygen(tmp_path, "-l", "-f", "key.pub").stdout.decode().split()[1]
    assert key.fingerprint == shown


def test_git_verifies_a_commit_that_was_composed_in_memory(hand: Hand, tmp_path: Path) -> None:
    """With the very lists that are kept on the trusted commit."""
    raw = RawGit(tmp_path / "repo")
    raw.path.mkdir()
    raw.run("init", "--quiet", "--bare")
    stranger = make_hand(tmp_path, "stranger")
    oids = []
    for who in (hand, stranger):
        commit = build_commit(
            {"request.json": b"{}"},
            kept_files={},
            parents=(),
            message="kakeya: claim, attempt 1\n\nSome words.\n\n[skip ci]\n",
            author=who.identity,
            when_s=1_700_000_000,
        )
        for item in commit.objects:
            assert raw.store(item.kind, item.data) == item.oid
        oids.append(commit.oid)
    raw.run("fsck", "--strict")
    (tmp_path / "signers").write_text(f"# who\n{hand.key.public}\n")
    (tmp_path / "revoked").write_text("")
    settings = ["-c", f"gpg.ssh.allowedSignersFile={tmp_path}/signers"]
    raw.run(*settings, "verify-commit", oids[0])
    with pytest.raises(AssertionError, match="No principal matched"):
        raw.run(*settings, "verify-commit", oids[1])
    (tmp_path / "revoked").write_text(hand.key.public.split(" ", 1)[1] + "\n")
    settings += ["-c", f"gpg.ssh.revocationFile={tmp_path}/revoked"]
    with pytest.raises(AssertionError, match="revoked"):
        raw.run(*settings, "verify-commit", oids[0])


def test_a_commit_that_git_signed_is_taken_apart_alike(tmp_path: Path) -> None:
    raw = RawGit(tmp_path / "repo")
    raw.path.mkdir()
    raw.run("init", "--quiet")
    assert keygen(tmp_path, "-q", "-t", "ed25519", "-N", "", "-f", "key").code == 0
    who = ["-c", "user.name=A", "-c", "user.email=a@b.invalid"]
    how = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={tmp_path}/key.pub"]
    raw.run(*who, *how, "commit", "--quiet", "--allow-empty", "-S", "-m", "signed by git")
    data = raw.run("cat-file", "commit", "HEAD").encode() + b"\n"
    sealed = split_signature(data)
    assert sealed is not None
    assert read_signature(sealed.signature).fits(sealed.payload, GIT)


def test_an_unsigned_commit_has_no_seal_and_two_signatures_fit_nothing(hand: Hand) -> None:
    options = {"kept_files": {}, "parents": (), "message": "m", "when_s": 1}
    plain = build_commit({"a": b""}, author=Identity("a", "b"), **options)  # type: ignore[arg-type]
    assert split_signature(plain.objects[-1].data) is None
    signed = build_commit({"a": b""}, author=hand.identity, **options)  # type: ignore[arg-type]
    data = signed.objects[-1].data
    sealed = split_signature(data)
    assert sealed is not None
    assert GitObject("commit", sealed.payload).oid != signed.oid
    header = data[data.index(b"gpgsig ") : data.index(b"\n\n") + 1]
    double = split_signature(data.replace(header, header + header, 1))
    assert double is not None
    with pytest.raises(IntegrityError, match="no SSH signature"):
        read_signature(double.signature)


def _new_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = Ed25519PrivateKey.generate()
    return made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


_KEY = _new_key()


@given(st.binary(max_size=300), st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_no_damage_of_a_signature_is_taken(data: bytes, at: int, junk: bytes) -> None:
    key = SigningKey(_KEY)
    good = key.sign(data)
    assert read_signature(good).fits(data, GIT)
    blob = bytearray(base64.b64decode(b"".join(good.split(b"\n")[1:-2])))
    at %= len(blob)
    changed = bytes(blob[:at]) + junk + bytes(blob[at + 1 :])
    if changed == bytes(blob):
        return
    lines = (good.split(b"\n")[0], base64.b64encode(changed), good.split(b"\n")[-2])
    try:
        found = read_signature(b"\n".join(lines))
    except IntegrityError:
        return
    assert not found.fits(data, GIT) or found.public == key.public


@pytest.mark.parametrize(
    "text", [b"", b"-----BEGIN SSH SIGNATURE-----", b"-----BEGIN SSH SIGNATURE-----\n!\n" * 2, b"x"]
)
def test_what_is_no_signature_is_refused(text: bytes) -> None:
    with pytest.raises(IntegrityError, match="no SSH signature"):
        read_signature(text)


def test_other_keys_are_refused_by_name(tmp_path: Path) -> None:
    assert keygen(tmp_path, "-q", "-t", "ecdsa", "-N", "", "-f", "other").code == 0
    with pytest.raises(UsageError, match="no Ed25519 key"):
        SigningKey((tmp_path / "other").read_bytes())
    with pytest.raises(UsageError, match="passphrase"):
        SigningKey(b"-----BEGIN OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(ValueError, match="no ssh-ed25519 key"):
        read_public((tmp_path / "other.pub").read_text().split()[1])


def test_a_keyring_knows_names_keys_and_what_is_revoked(hand: Hand, tmp_path: Path) -> None:
    newer = make_hand(tmp_path, "mac-m4")
    keyring = enrol(hand, newer, revoked=(hand,))
    assert keyring.enrols("mac-m4")
    assert not keyring.enrols("h200")
    assert keyring.keys_of("mac-m4") == (newer.key.fingerprint,)
    line = keyring.lines[newer.key.fingerprint]
    assert line == public_line(read_public(line.split()[1]))
    assert fingerprint(read_public(line.split()[1])) == newer.key.fingerprint
