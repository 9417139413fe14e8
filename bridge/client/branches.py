"""Reviewable branches, made of git objects alone: worktree and index stay as they are."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bridge.client.checkout import Checkout, requester_name
from bridge.errors import BusError, IntegrityError, UsageError
from bridge.git import Git
from bridge.objects import FOLDER_MODE, GitObject, Identity, build_tree, parse_tree, seal_tree

_FILE_MODE = "100644"


def change_file(
    checkout: Checkout, branch: str, base: str, path: str, data: bytes, why: str
) -> str:
    """Make `branch` with one commit on `base` in which the file at `path` holds `data`.

    Args:
        checkout: whose repository takes the branch.
        branch: its name, without `refs/heads/`.
        base: full id of the commit that it stands on.
        path: of the file, new or not.
        data: its content.
        why: the commit's message.

    Returns:
        The id of the commit.

    Raises:
        UsageError: there is such a branch already.
    """
    git = checkout.git
    ref = f"refs/heads/{branch}"
    if git.tip_of(ref) is not None:
        raise UsageError(
            "there is such a branch already",
            where=ref,
            remedy=f"look at it, or delete it: git branch -D {branch}",
        )
    blob = GitObject("blob", data)
    tree, trees = _graft(git, git.tree_of(base), path.split("/"), blob.oid)
    commit = seal_tree(
        tree, parents=[base], message=why, author=author_of(checkout), when_s=int(time.time())
    )
    git.store([blob, *trees, commit])
    git.create_ref(ref, commit.oid)
    return commit.oid


def push_branch(checkout: Checkout, branch: str, commit: str, remote: str) -> None:
    """Push a new branch, by name, to where pull requests are made.

    Args:
        checkout: whose repository holds it.
        branch: its name.
        commit: where it stands.
        remote: a URL, or the name of one of the checkout's remotes.

    Raises:
        BusError: the remote does not take it.
    """
    ref = f"refs/heads/{branch}"
    url = checkout.git.config(f"remote.{remote}.url") or remote
    reply = checkout.git.push(url, [(ref, None, commit)], atomic=False)
    refused = next((line for line in reply.lines if line.flag == "!"), None)
    if refused is not None or reply.status:
        why = refused.summary if refused else reply.stderr.strip()[:300]
        raise BusError(f"the remote does not take the branch: {why}", where=ref)


def author_of(checkout: Checkout) -> Identity:
    """Who makes a branch here: git's own user."""
    email = checkout.git.config("user.email") or "kakeya@localhost.invalid"
    return Identity(requester_name(checkout), email)


def _graft(
    git: Git, tree: str | None, parts: Sequence[str], blob: str
) -> tuple[str, list[GitObject]]:
    entries = parse_tree(git.read(tree)[1]) if tree else {}
    name, rest = parts[0], parts[1:]
    mode, oid = entries.get(name, (None, None))
    if not rest:
        if mode not in (None, _FILE_MODE):
            raise IntegrityError(f"{name!r} is no plain file (mode {mode})")
        made = build_tree({**entries, name: (_FILE_MODE, blob)})
        return made.oid, [made]
    if mode not in (None, FOLDER_MODE):
        raise IntegrityError(f"{name!r} is no folder (mode {mode})")
    inner, objects = _graft(git, oid, rest, blob)
    made = build_tree({**entries, name: (FOLDER_MODE, inner)})
    return made.oid, [*objects, made]
