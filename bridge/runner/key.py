"""The runner's own Ed25519 key: made at its first start, never leaves its machine.

It signs the commits of the runner's steps and the bundle of its evidence. A second key may lie
beside it, made to take its place: it does so at the first start at which the trusted commit lists
it, so that no reader meets a key that is not enrolled yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bridge.errors import RefusedError, UsageError
from bridge.signers import Keyring
from bridge.sshsig import SigningKey, public_line

_NAME, _NEXT, _OLD = "key", "key.next", "key.old"


@dataclass(frozen=True, slots=True)
class RunnerKey:
    """A key pair in OpenSSH's form.

    Attributes:
        private: the private key's file.
        public: the line that others enrol: `name ssh-ed25519 AAAA...`.
        fingerprint: of the public key.
        sign: signs a commit's bytes.
    """

    private: bytes
    public: str
    fingerprint: str
    sign: Callable[[bytes], bytes] = field(compare=False, repr=False)


def load_key(state_dir: Path, name: str) -> RunnerKey:
    """The key in the runner's state folder, made if there is none.

    Args:
        state_dir: the runner's state; the key is readable by its owner alone.
        name: the runner's name, for the public line.

    Raises:
        UsageError: the file there is no Ed25519 key without a passphrase.
    """
    return _load(state_dir / _NAME, name)


def load_next_key(state_dir: Path, name: str) -> RunnerKey:
    """The key that is to take the other one's place, made if there is none; raises as `load_key`.

    A runner that has no key yet has nothing to replace: its first key is made and meant then.
    """
    if not (state_dir / _NAME).exists():
        return load_key(state_dir, name)
    return _load(state_dir / _NEXT, name)


def choose_key(state_dir: Path, name: str, keyring: Keyring) -> RunnerKey:
    """The key to start with: the next one as soon as it is enrolled, else the present one.

    Raises:
        UsageError: as `load_key`.
        RefusedError: readers would take what this runner signs for forged, or for nothing.
    """
    key = load_key(state_dir, name)
    if (state_dir / _NEXT).exists():
        following = load_next_key(state_dir, name)
        if following.fingerprint in keyring.keys_of(name):
            (state_dir / _NAME).replace(state_dir / _OLD)
            (state_dir / _NEXT).replace(state_dir / _NAME)
            key = following
    fault = _fault(key.fingerprint, name, keyring)
    if fault:
        raise RefusedError(
            fault,
            where=f"{keyring.source}, key {key.fingerprint} in {state_dir}",
            remedy="enrol the key of this machine (kakeya_remote runner enroll), or take another "
            "name",
        )
    return key


def _fault(key: str, name: str, keyring: Keyring) -> str:
    owner = keyring.names.get(key)
    if key in keyring.revoked:
        return "this runner's key is revoked"
    if owner is not None and owner != name:
        return f"this runner's key is enrolled for {owner!r}, not for {name!r}"
    if owner is None and keyring.enrols(name):
        return f"{name!r} is enrolled with another key than this machine's"
    if owner is None and keyring.required:
        return f"{name!r} is not enrolled, and require_enrolled is set"
    return ""


def _load(path: Path, name: str) -> RunnerKey:
    if not path.exists():
        _make(path)
    data = path.read_bytes()
    try:
        key = SigningKey(data)
    except UsageError as error:
        raise UsageError(
            f"is {error.message}",
            where=str(path),
            remedy="move it away; the next start makes a new one, to be enrolled again",
        ) from error
    return RunnerKey(data, f"{name} {public_line(key.public)}", key.fingerprint, key.sign)


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = Ed25519PrivateKey.generate()
    data = made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        os.fsync(file.fileno())
