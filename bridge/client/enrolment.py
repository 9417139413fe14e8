"""Enrolling and revoking keys: a reviewable change of one small list, made on a branch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bridge.bus.enrolled import read_list
from bridge.bus.refs import is_name
from bridge.client.branches import change_file
from bridge.client.checkout import Checkout
from bridge.client.embedded import RUNNER
from bridge.errors import UsageError
from bridge.signers import REVOKED_PATH, SIGNERS_PATH, Keyring, read_keyring

_SIGNERS_HEAD = """\
# Runners whose signatures count, one key a line: name ssh-ed25519 AAAA... [comment]
# A key that was replaced stays listed, for what it signed; one that may be known to others is
# listed in `revoked` beside this file. OpenSSH and git read both files as they stand.
"""
_REVOKED_HEAD = """\
# Keys whose signatures count for nothing, old ones neither: ssh-ed25519 AAAA... [comment]
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A branch that changes one of the lists.

    Attributes:
        branch: its name; `commit` is its one commit, `base` what that stands on.
        path: the list.
        lines: what is added to it.
    """

    branch: str
    commit: str
    base: str
    path: str
    lines: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The change as `--json` prints it."""
        return {
            "schema": "kakeya.enrolment/1",
            "branch": self.branch,
            "commit": self.commit,
            "base": self.base,
            "path": self.path,
            "lines": list(self.lines),
        }


def enrol(checkout: Checkout, line: str, onto: str = "HEAD") -> Change:
    """Make a branch that lists one more key.

    Args:
        checkout: whose repository takes the branch; its files and its index stay as they are.
        line: `name ssh-ed25519 AAAA...`, as `kakeya_remote runner key` prints it.
        onto: the revision that the branch stands on.

    Raises:
        UsageError: no such line, or the key is listed already.
    """
    added = read_keyring(line, source="the key to enrol")
    if len(added.names) != 1:
        raise UsageError("one line `name ssh-ed25519 AAAA...` is wanted", where="the key to enrol")
    ((key, name),) = added.names.items()
    if not is_name(name):
        raise UsageError(f"{name!r} cannot be a runner's name", where="the key to enrol")
    if name == RUNNER:
        raise UsageError(
            f"every checkout has a runner called {name!r} of its own",
            where="the key to enrol",
            remedy="give the runner a name: kakeya_remote runner enroll --name NAME",
        )
    base = checkout.resolve(onto)
    signers, known = _read(checkout, base)
    if key in known.revoked:
        raise UsageError(
            "this key is revoked",
            where=f"{REVOKED_PATH} of commit {base[:12]}",
            remedy="make a new one: kakeya_remote runner enroll --rotate",
        )
    if key in known.names:
        raise UsageError(
            f"this key is enrolled already, for {known.names[key]!r}",
            where=f"{SIGNERS_PATH} of commit {base[:12]}",
            remedy="nothing to do; to replace it: kakeya_remote runner enroll --rotate",
        )
    verb = "One more key of" if known.enrols(name) else "Enrol"
    why = f"{verb} the runner {name}\n\nIts key is {key}.\n"
    row = f"{name} {added.lines[key]}"
    text = f"{signers or _SIGNERS_HEAD}{row}\n"
    branch = f"enroll/{name}-{_short(key)}"
    commit = change_file(checkout, branch, base, SIGNERS_PATH, text.encode(), why)
    return Change(branch, commit, base, SIGNERS_PATH, (row,))


def revoke(checkout: Checkout, what: str, onto: str = "HEAD") -> Change:
    """Make a branch that lists keys as revoked; they stay listed with their runner's name.

    Args:
        checkout: as for `enrol`.
        what: a fingerprint (`SHA256:...`), or the name of a runner, whose every key is meant then.
        onto: as for `enrol`.

    Raises:
        UsageError: no such key is enrolled, or it is revoked already.
    """
    base = checkout.resolve(onto)
    _, known = _read(checkout, base)
    keys = [what] if what in known.names else list(known.keys_of(what))
    keys = [key for key in keys if key not in known.revoked]
    if not keys:
        raise UsageError(
            f"no key that counts is called {what!r}",
            where=f"{SIGNERS_PATH} of commit {base[:12]}",
            remedy=f"give a runner's name or a key's fingerprint: git show {onto}:{SIGNERS_PATH}",
        )
    rows = tuple(f"{known.lines[key]} {known.names[key]}" for key in keys)
    text = (read_list(checkout.git, base, REVOKED_PATH) or _REVOKED_HEAD).rstrip("\n")
    why = f"Revoke {len(keys)} key(s) of {known.names[keys[0]]}\n\n" + "\n".join(keys) + "\n"
    branch = f"revoke/{known.names[keys[0]]}-{_short(keys[0])}"
    data = "\n".join([text, *rows, ""]).encode()
    commit = change_file(checkout, branch, base, REVOKED_PATH, data, why)
    return Change(branch, commit, base, REVOKED_PATH, rows)


def _read(checkout: Checkout, base: str) -> tuple[str, Keyring]:
    signers = read_list(checkout.git, base, SIGNERS_PATH) or ""
    revoked = read_list(checkout.git, base, REVOKED_PATH) or ""
    ring = read_keyring(signers, revoked, source=f"{SIGNERS_PATH} of commit {base[:12]}")
    return f"{signers.rstrip()}\n" if signers.strip() else "", ring


def _short(key: str) -> str:
    """A few characters of a fingerprint that may stand in a branch's name."""
    return re.sub(r"[^A-Za-z0-9]", "", key.removeprefix("SHA256:"))[:8]
