"""A requester's signature over a request: an SSH signature (SSHSIG), made and checked by OpenSSH.

The signed bytes are the request file itself, which names its bus, id, label and priority, so that
a signed request cannot be replayed elsewhere.

Source: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig, ssh-keygen(1).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bridge import proc
from bridge.errors import IntegrityError, UsageError

NAMESPACE = "kakeya-request"
_TIMEOUT_S = 20.0
_MAX_SIGNATURE_BYTES = 16 * 1024


def sign_request(data: bytes, key: Path) -> bytes:
    """The signature of a request file by an SSH key (a private key, or a public one in an agent).

    Raises:
        UsageError: the key is not there, or is locked and no agent holds it.
    """
    if not key.is_file():
        raise UsageError(
            "no such key", where=str(key), remedy=f"make one: ssh-keygen -t ed25519 -f {key}"
        )
    done = proc.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key)],
        cwd=key.parent,
        env=_environment(),
        timeout_s=_TIMEOUT_S,
        input=data,
    )
    if done.code or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise UsageError(
            f"cannot sign with it: {_last_line(done.stderr)}",
            where=str(key),
            remedy="unlock the key with ssh-add, or name another one",
        )
    return done.stdout


def verify_request(data: bytes, signature: bytes, allowed_signers: Path) -> str:
    """Who signed a request file, by the name that the runner's own list gives the key.

    Args:
        data: the request file.
        signature: as `sign_request` made it.
        allowed_signers: lines of `name namespaces="kakeya-request" ssh-ed25519 AAAA...`.

    Raises:
        IntegrityError: no listed key made this signature over these bytes in this namespace.
    """
    if len(signature) > _MAX_SIGNATURE_BYTES:
        raise IntegrityError("the signature is too large", where="request.sig")
    with tempfile.TemporaryDirectory(prefix="kakeya-sig-") as folder:
        path = Path(folder) / "request.sig"
        path.write_bytes(signature)
        common = ["-f", str(allowed_signers), "-s", str(path)]
        found = _ask(["-Y", "find-principals", *common], b"", folder)
        principal = found.splitlines()[0].strip() if found.strip() else ""
        if not principal:
            raise IntegrityError("signed by a key that is not listed", where="request.sig")
        answer = ["-Y", "verify", "-n", NAMESPACE, "-I", principal, *common]
        if not _ask(answer, data, folder):
            raise IntegrityError(
                f"the signature by {principal!r} does not fit the request", where="request.sig"
            )
    return principal


def _ask(arguments: list[str], data: bytes, folder: str) -> str:
    done = proc.run(
        ["ssh-keygen", *arguments],
        cwd=Path(folder),
        env=_environment(),
        timeout_s=_TIMEOUT_S,
        input=data,
    )
    return done.stdout.decode("utf-8", "replace") if done.code == 0 else ""


def _environment() -> dict[str, str]:
    import os

    agent = os.environ.get("SSH_AUTH_SOCK")
    return proc.base_env() | ({"SSH_AUTH_SOCK": agent} if agent else {})


def _last_line(data: bytes) -> str:
    lines = data.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else "no reason given"
