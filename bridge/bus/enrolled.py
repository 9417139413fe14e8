"""The lists of enrolled and revoked keys, read from the objects of one commit."""

from __future__ import annotations

from bridge.errors import UsageError
from bridge.git import Git
from bridge.signers import MAX_LIST_BYTES, REVOKED_PATH, SIGNERS_PATH, Keyring, read_keyring


def read_list(git: Git, commit: str, path: str) -> str | None:
    """One of the lists as text, None where the commit has no such file.

    Raises:
        IntegrityError: it is no plain file, or too large.
        UsageError: it is no text.
    """
    entry = git.list_files(commit, path).get(path)
    if entry is None:
        return None
    try:
        return git.read_blob(entry[1], MAX_LIST_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("is no text", where=f"{path} of commit {commit[:12]}") from error


def keyring_at(git: Git, commit: str | None, *, required: bool = False) -> Keyring:
    """The keyring of a commit: empty where it lists nobody, or where there is no commit.

    Args:
        git: a repository that holds it.
        commit: the commit whose lists are believed.
        required: whether steps of other runners than the enrolled ones count for nothing.

    Raises:
        UsageError: a line of a list that is no such thing.
    """
    if commit is None:
        return Keyring(required=required, source="no commit")
    signers = read_list(git, commit, SIGNERS_PATH) or ""
    revoked = read_list(git, commit, REVOKED_PATH) or ""
    source = f"{SIGNERS_PATH} of commit {commit[:12]}"
    return read_keyring(signers, revoked, required=required, source=source)
