"""Signatures over a record: DSSE envelopes of in-toto statements, made with an OpenSSH key.

Source: https://github.com/secure-systems-lab/dsse (the bytes that are signed need no canonical
form). A DSSE signature is not an SSHSIG, though one Ed25519 key makes both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge import canonical
from bridge.errors import IntegrityError, ManifestError, UsageError
from bridge.signers import read_keyring
from bridge.sshsig import fingerprint
from evidence.statements import make_statements

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope

PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUNDLE_SCHEMA = "kakeya.bundle/1"
BUNDLE_NAME = "evidence.bundle.json"
MAX_BUNDLE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Signers:
    """The keys that a reader trusts: name by fingerprint, and the public key behind it.

    `revoked` are fingerprints that are trusted no more; none of them is among the others.
    """

    names: Mapping[str, str]
    keys: Mapping[str, Any]
    revoked: frozenset[str] = frozenset()


def read_signers(text: str, *, revoked: str = "", where: str = "signers") -> Signers:
    """Trusted signers from the two lists of `bridge.signers`.

    Raises:
        UsageError: a line that is no such thing, or a key that stands twice.
    """
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    keyring = read_keyring(text, revoked, source=where)
    names = {key: name for key, name in keyring.names.items() if key not in keyring.revoked}
    keys = {
        key: SSlibKey.from_crypto(load_ssh_public_key(keyring.lines[key].encode()), keyid=key)
        for key in names
    }
    return Signers(names, keys, keyring.revoked)


def sign_record(record_bytes: bytes, private_key: bytes) -> bytes:
    """The bundle of a record, signed with an unencrypted OpenSSH Ed25519 key.

    Raises:
        UsageError: the key is no such key.
        ManifestError: the record is not JSON.
    """
    record = canonical.decode(record_bytes, where="evidence.json", max_bytes=64 * 2**20)
    envelopes = [_envelope(statement) for statement in make_statements(record, record_bytes)]
    return _sign(envelopes, private_key)


def countersign(bundle: bytes, record_bytes: bytes, private_key: bytes, trusted: Signers) -> bytes:
    """The bundle with one more signature, once it is found to be sound.

    Raises:
        IntegrityError: the bundle does not hold; as `verify_bundle`.
        UsageError: the key is no Ed25519 key.
    """
    verify_bundle(bundle, record_bytes, trusted)
    return _sign(_read_bundle(bundle), private_key)


def verify_bundle(bundle: bytes, record_bytes: bytes, trusted: Signers) -> tuple[str, ...]:
    """The names of the trusted signers of every statement.

    Raises:
        IntegrityError: no trusted key signed, a signature does not fit, or the statements are not
            those of this record.
    """
    record = canonical.decode(record_bytes, where="evidence.json", max_bytes=64 * 2**20)
    wanted = [canonical.encode(one) for one in make_statements(record, record_bytes)]
    envelopes = _read_bundle(bundle)
    if [envelope.payload for envelope in envelopes] != wanted:
        raise IntegrityError(
            "the signed statements are not those of this record",
            where=BUNDLE_NAME,
            remedy="the record was changed after it was signed, or belongs to another bundle",
        )
    accepted = [_accept(envelope, trusted) for envelope in envelopes]
    common = set.intersection(*accepted)
    if not common:
        seen = sorted({keyid for envelope in envelopes for keyid in envelope.signatures})
        raise IntegrityError(
            "no key that is enrolled signed this record",
            where=BUNDLE_NAME,
            problems=tuple(
                f"signed by {'the revoked key ' if keyid in trusted.revoked else ''}{keyid}"
                for keyid in seen
            ),
            remedy="enrol the runner's key on the trusted branch, or do not trust the record",
        )
    return tuple(sorted(trusted.names[keyid] for keyid in common))


def _accept(envelope: Envelope, trusted: Signers) -> set[str]:
    """The trusted keys that signed; a trusted key with a wrong signature is an error."""
    from securesystemslib.exceptions import UnverifiedSignatureError

    found = set()
    for keyid, signature in envelope.signatures.items():
        if keyid not in trusted.keys:
            continue
        try:
            trusted.keys[keyid].verify_signature(signature, envelope.pae())
        except UnverifiedSignatureError as error:
            raise IntegrityError(
                f"the signature by {trusted.names[keyid]!r} does not fit", where=BUNDLE_NAME
            ) from error
        found.add(keyid)
    return found


def _envelope(statement: Mapping[str, Any]) -> Envelope:
    from securesystemslib.dsse import Envelope

    return Envelope(canonical.encode(statement), PAYLOAD_TYPE, {})


def _sign(envelopes: Sequence[Envelope], private_key: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key
    from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

    try:
        key = load_ssh_private_key(private_key, password=None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"no unencrypted OpenSSH key: {error}", where="signing key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            "an Ed25519 key is wanted", where="signing key", remedy="ssh-keygen -t ed25519"
        )
    public = key.public_key()
    keyid = fingerprint(public.public_bytes_raw())
    signer = CryptoSigner(key, SSlibKey.from_crypto(public, keyid=keyid))
    for envelope in envelopes:
        envelope.sign(signer)
    document = {"schema": BUNDLE_SCHEMA, "envelopes": [one.to_dict() for one in envelopes]}
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _read_bundle(bundle: bytes) -> list[Envelope]:
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import FormatError

    try:
        data = canonical.decode(bundle, where=BUNDLE_NAME, max_bytes=MAX_BUNDLE_BYTES)
        if data["schema"] != BUNDLE_SCHEMA:
            raise ValueError(f"{data['schema']!r} is not {BUNDLE_SCHEMA}")
        envelopes = [Envelope.from_dict(item) for item in data["envelopes"]]
    except (ManifestError, FormatError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"not a bundle: {error}", where=BUNDLE_NAME) from error
    if any(envelope.payload_type != PAYLOAD_TYPE for envelope in envelopes):
        raise IntegrityError(f"a payload is not {PAYLOAD_TYPE}", where=BUNDLE_NAME)
    return envelopes
