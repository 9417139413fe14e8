"""Whose keys count: the enrolled runners and the revoked keys, two small files of one commit. Pure.

`evidence/signers` is an allowed-signers file of OpenSSH and `evidence/revoked` a plain list of
public keys, so that `git verify-commit` takes both as they stand. One list serves the commits of a
job and its evidence. Keys are listed or not; no date has a say, since whoever holds a stolen key
can write any date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bridge.errors import UsageError
from bridge.sshsig import KEY_TYPE, fingerprint, read_public

SIGNERS_PATH = "evidence/signers"
REVOKED_PATH = "evidence/revoked"
MAX_LIST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that a reader knows.

    Attributes:
        names: the enrolled runner behind each fingerprint (`SHA256:...`); several keys may be one
            runner's, so that the old one stays listed for what it signed.
        lines: the public line (`ssh-ed25519 AAAA...`) behind each fingerprint.
        revoked: fingerprints whose signatures count for nothing, old ones neither.
        required: whether a step of a runner that is not enrolled counts for nothing.
        source: where the lists come from, for a person.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, str] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()
    required: bool = False
    source: str = "no list"

    def enrols(self, runner: str) -> bool:
        """Whether a runner of this name is enrolled."""
        return runner in self.names.values()

    def keys_of(self, runner: str) -> tuple[str, ...]:
        """The fingerprints of a runner's keys that are not revoked."""
        return tuple(
            key for key, name in self.names.items() if name == runner and key not in self.revoked
        )


def read_keyring(
    signers: str, revoked: str = "", *, required: bool = False, source: str = SIGNERS_PATH
) -> Keyring:
    """The keyring of the two lists.

    Args:
        signers: lines of `name ssh-ed25519 AAAA... [comment]`; `#` starts a comment.
        revoked: lines of `ssh-ed25519 AAAA... [comment]`.
        required: see `Keyring`.
        source: where they come from, also for errors.

    Raises:
        UsageError: a line that is no such thing, or a key that stands twice among the signers.
    """
    names: dict[str, str] = {}
    lines: dict[str, str] = {}
    for place, words in _rows(signers, source):
        key, line = _read_key(words[1:], place, f"`name {KEY_TYPE} AAAA...` is wanted")
        if key in names:
            raise UsageError(f"the key of {names[key]!r} stands twice", where=place)
        names[key], lines[key] = words[0], line
    gone = frozenset(
        _read_key(words, place, f"`{KEY_TYPE} AAAA...` is wanted")[0]
        for place, words in _rows(revoked, f"{source}, revoked keys")
    )
    return Keyring(names, lines, gone, required, source)


def _rows(text: str, where: str) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].split()
        if words:
            yield f"{where}, line {number}", words


def _read_key(words: list[str], place: str, wanted: str) -> tuple[str, str]:
    if len(words) < 2 or words[0] != KEY_TYPE:
        raise UsageError(wanted, where=place)
    try:
        return fingerprint(read_public(words[1])), f"{KEY_TYPE} {words[1]}"
    except ValueError as error:
        raise UsageError(f"no public key: {error}", where=place) from error
