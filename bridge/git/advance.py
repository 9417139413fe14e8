"""Moving a person's checkout forward, and never sideways."""

from __future__ import annotations

from bridge.canonical import printable
from bridge.errors import UsageError
from bridge.git.remote import Git

_FETCH_S = 300.0


def fast_forward(git: Git, revision: str | None) -> tuple[str, str]:
    """Fetch, and move the checkout's branch to a descendant of where it stands.

    Args:
        git: the checkout.
        revision: where to; the branch's upstream if None.

    Returns:
        The commits before and after.

    Raises:
        UsageError: there are edits, no such revision, or it does not descend from HEAD.
    """
    where = str(git.path.parent)
    edits = git.changed_files()
    if edits:
        raise UsageError(
            f"has {len(edits)} edits",
            where=where,
            remedy="commit or undo them",
            problems=edits[:20],
        )
    before = git.resolve("HEAD")
    status, _, err = git.run_verb("fetch", "--quiet", "--no-recurse-submodules", timeout_s=_FETCH_S)
    if status and revision is None:
        raise UsageError(
            f"cannot fetch: {printable(err.strip(), 300)}",
            where=where,
            remedy="check the checkout's remote: git fetch",
        )
    after = git.resolve(revision or "@{upstream}")
    if before is None or after is None:
        raise UsageError(
            f"has no {printable(revision, 80) if revision else 'upstream branch'}",
            where=where,
            remedy="name a commit: --to COMMIT, or set one: git branch --set-upstream-to",
        )
    if not git.is_ancestor(before, after):
        raise UsageError(
            f"{after[:12]} does not descend from {before[:12]}, which is trusted now",
            where=where,
            remedy="move the checkout by hand, if that is what you want",
        )
    status, _, err = git.run_verb("merge", "--quiet", "--ff-only", after)
    if status:
        raise UsageError(f"cannot be moved: {printable(err.strip(), 300)}", where=where)
    return before, after
