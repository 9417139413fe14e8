"""Promote a record: a reviewable branch with its few files, made without touching the worktree."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bridge import canonical
from bridge.client.branches import author_of
from bridge.client.checkout import Checkout
from bridge.client.proposals import write_lists
from bridge.errors import ExitCode, IntegrityError, UsageError
from bridge.git import Git
from bridge.objects import GitObject, build_tree, parse_tree, seal_tree
from evidence.packed import read_packed
from evidence.promoted import ROOT, Checked, check_record, folder_of, lay_out
from evidence.record import SAMPLES_PATH
from evidence.report.text import headline
from evidence.sign import BUNDLE_NAME
from evidence.verify import RECORD_NAME

BRANCH_PREFIX = "evidence/"
_FOLDER_MODE, _FILE_MODE = "40000", "100644"


@dataclass(frozen=True, slots=True)
class Promotion:
    """A branch that holds one more record than what it starts from.

    Attributes:
        branch: its name.
        commit: its one commit.
        base: what that commit stands on.
        folder: where the record lies in it.
        files: sizes in bytes by path.
        checked: what the record is worth, as the check of a pull request will find it.
    """

    branch: str
    commit: str
    base: str
    folder: str
    files: Mapping[str, int]
    checked: Checked


def promote(checkout: Checkout, results: Path, onto: str = "HEAD") -> Promotion:
    """Make the branch `evidence/<id>` on top of `onto`; failed and negative runs have their place.

    Args:
        checkout: whose repository takes the branch; its files and its index stay as they are.
        results: the folder of the record, as `kakeya_remote results` writes it.
        onto: the revision that the branch stands on.

    Raises:
        UsageError: no record, one that is too large, or one that is promoted already.
        IntegrityError: the record is not what its samples give.
    """
    git = checkout.git
    files, job_id = _read(results)
    name = folder_of(job_id)
    checked = check_record(name, files)
    if checked.code in (ExitCode.REFUSED, ExitCode.USAGE):
        raise IntegrityError(
            f"the record is {checked.word} and is not promoted",
            where=str(results),
            problems=checked.problems,
            remedy="fetch the result again: kakeya_remote results ID",
        )
    base = checkout.resolve(onto)
    checked = _check_signature(git, base, name, files, checked)
    ref = f"refs/heads/{BRANCH_PREFIX}{job_id}"
    parts = [*ROOT.split("/"), *name.split("/")]
    tree, objects = _graft(git, git.tree_of(base), parts, files)
    commit = seal_tree(
        tree,
        parents=[base],
        message=_message(job_id, checked),
        author=author_of(checkout),
        when_s=int(time.time()),
    )
    if git.tip_of(ref) is not None:
        raise UsageError(
            "there is such a branch already",
            where=ref,
            remedy=f"look at it, or delete it: git branch -D {BRANCH_PREFIX}{job_id}",
        )
    git.store([*objects, commit])
    git.create_ref(ref, commit.oid)
    sizes = {f"{ROOT}/{name}/{path}": len(data) for path, data in files.items()}
    branch = BRANCH_PREFIX + job_id
    return Promotion(branch, commit.oid, base, f"{ROOT}/{name}", sizes, checked)


def _check_signature(
    git: Git, base: str, name: str, files: Mapping[str, bytes], found: Checked
) -> Checked:
    """What the keys enrolled on the base say of the record, which is promoted in either case."""
    with tempfile.TemporaryDirectory(prefix="kakeya-signers-") as scratch:
        held = check_record(name, files, write_lists(git, base, Path(scratch)))
    if held.code is not ExitCode.REFUSED:
        return held
    note = (
        "no key that is enrolled on the base signed it, so that the check of a pull request "
        "refuses it; first: kakeya_remote runner enroll"
    )
    return replace(found, notes=(note,))


def _read(results: Path) -> tuple[dict[str, bytes], str]:
    record = read_packed(results / RECORD_NAME)
    if record is None:
        raise UsageError(
            "there is no evidence.json here",
            where=str(results),
            remedy="fetch a finished job first: kakeya_remote results ID",
        )
    document = canonical.decode(record, where=RECORD_NAME, max_bytes=64 * 2**20)
    job_id = document.get("id") if isinstance(document, dict) else None
    bundle = results / BUNDLE_NAME
    files = lay_out(
        record,
        read_packed(results / SAMPLES_PATH),
        bundle.read_bytes() if bundle.is_file() else None,
    )
    return files, str(job_id)


def _graft(
    git: Git, tree: str | None, parts: Sequence[str], files: Mapping[str, bytes]
) -> tuple[str, list[GitObject]]:
    """The tree with a new folder of files at `parts`; every other entry keeps its id and mode."""
    entries = parse_tree(git.read(tree)[1]) if tree else {}
    if not parts:
        if entries:
            raise UsageError("this record is promoted already", where=ROOT)
        blobs = {name: GitObject("blob", data) for name, data in files.items()}
        made = build_tree({name: (_FILE_MODE, blob.oid) for name, blob in blobs.items()})
        return made.oid, [*blobs.values(), made]
    mode, oid = entries.get(parts[0], (_FOLDER_MODE, None))
    if mode != _FOLDER_MODE:
        raise IntegrityError(f"{parts[0]!r} is no folder", where=ROOT)
    inner, objects = _graft(git, oid, parts[1:], files)
    made = build_tree({**entries, parts[0]: (_FOLDER_MODE, inner)})
    return made.oid, [*objects, made]


def _message(job_id: str, checked: Checked) -> str:
    assert checked.record is not None
    name = canonical.printable(str(checked.record["preset"].get("name") or "record"), 60)
    lines = [f"Evidence of {name}: {checked.word}", "", f"Job {job_id}", headline(checked.record)]
    return "\n".join([*lines, *(canonical.printable(note, 300) for note in checked.notes)])
