"""The runner's own Ed25519 key: made at its first start, never leaves its machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import UsageError

_NAME = "key"


@dataclass(frozen=True, slots=True)
class RunnerKey:
    """A key pair in OpenSSH's form: `public` is the line that others enrol."""

    private: bytes
    public: str


def load_key(state_dir: Path, name: str) -> RunnerKey:
    """The key in the runner's state folder, made if there is none.

    Args:
        state_dir: the runner's state; the key is readable by its owner alone.
        name: the runner's name, for the public line.

    Raises:
        UsageError: the file there is no Ed25519 key without a passphrase.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_ssh_private_key,
    )

    path = state_dir / _NAME
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        data = made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        state_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fsync(file.fileno())
    data = path.read_bytes()
    try:
        private = load_ssh_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"is no private key without a passphrase: {error}",
            where=str(path),
            remedy="move it away; the next start makes a new one, to be enrolled again",
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError("is no Ed25519 key", where=str(path), remedy="move it away")
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return RunnerKey(data, f"{name} {line}")
