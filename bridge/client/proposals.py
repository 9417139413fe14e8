"""Evidence records that a proposal adds: read from git objects as data, and judged again.

Nothing of the proposal is checked out, imported or run. The evaluator is that of this program,
which must come from the trusted base.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bridge import canonical
from bridge.bus.enrolled import read_list
from bridge.errors import ExitCode, IntegrityError, UsageError
from bridge.git import Git
from bridge.signers import REVOKED_PATH, SIGNERS_PATH
from evidence.promoted import ROOT, Checked, check_record, split_path
from presets.binding import render_spec
from presets.catalog import Catalog, parse_catalog

MAX_RECORDS = 200
MAX_BLOB_BYTES = 2 * 1024 * 1024
_FILE_MODE = "100644"
_FREE = re.compile(r"README\.md\Z|\.gitkeep\Z")


def check_proposal(git: Git, base: str, head: str) -> list[Checked]:
    """Judge every record that `head` adds to `base`, and refuse whatever else it does to records.

    Args:
        git: a repository that holds both.
        base: the trusted revision; its presets and `evidence/signers` are what is believed.
        head: the proposed revision.

    Raises:
        UsageError: one of the revisions is not here.
    """
    trusted, proposed = _commit(git, base), _commit(git, head)
    start = git.merge_base(trusted, proposed) or trusted
    before = git.list_files(start, ROOT)
    after = git.list_files(proposed, ROOT)
    found = [*_refuse(before, after)]
    added = _added(before, after)
    if len(added) > MAX_RECORDS:
        problem = f"{len(added)} records at once, at most {MAX_RECORDS} are judged"
        return [*found, Checked(ROOT, "malformed", ExitCode.USAGE, (problem,))]
    catalog = _catalog(git, trusted)
    with tempfile.TemporaryDirectory(prefix="kakeya-signers-") as scratch:
        signers = write_lists(git, trusted, Path(scratch))
        for folder, files in sorted(added.items()):
            found.append(_check(git, folder, files, signers, catalog))
    return found


def _commit(git: Git, revision: str) -> str:
    oid = git.resolve(revision)
    if oid is None:
        raise UsageError(
            f"there is no commit {canonical.printable(revision, 80)}",
            where=str(git.path),
            remedy="fetch it first; the check itself fetches nothing",
        )
    return oid


Entries = Mapping[str, tuple[str, str]]


def _refuse(before: Entries, after: Entries) -> Iterator[Checked]:
    """Edits and deletions of records, and files that are no part of one."""
    old_folders = {parts[0] for path in before if (parts := _split(path))}
    for path in sorted({*before, *after}):
        if before.get(path) == after.get(path) or _FREE.match(_inner(path)):
            continue
        parts = _split(path)
        if path in before and parts:
            word = "edited" if path in after else "deleted"
            yield _refused(path, word, "a promoted record stays as it is: add a new one")
        elif path in after and parts is None:
            yield _refused(path, "strange", "no file of an evidence record")
        elif path in after and after[path][0] != _FILE_MODE:
            yield _refused(path, "strange", f"mode {after[path][0]}: no plain file")
        elif parts and parts[0] in old_folders:
            yield _refused(path, "edited", "a file was added to a promoted record")


def _refused(path: str, word: str, why: str) -> Checked:
    shown = canonical.printable(_inner(path), 120)
    return Checked(shown, word, ExitCode.REFUSED, (why,))


def _added(before: Entries, after: Entries) -> dict[str, dict[str, str]]:
    old = {parts[0] for path in before if (parts := _split(path))}
    added: dict[str, dict[str, str]] = {}
    for path, (mode, oid) in after.items():
        parts = _split(path)
        if parts and parts[0] not in old and mode == _FILE_MODE:
            added.setdefault(parts[0], {})[parts[1]] = oid
    return added


def _check(
    git: Git, folder: str, files: Mapping[str, str], signers: Path | None, catalog: Catalog
) -> Checked:
    try:
        found = check_record(
            folder,
            {name: git.read_blob(oid, MAX_BLOB_BYTES) for name, oid in files.items()},
            signers,
        )
    except IntegrityError as error:
        return Checked(folder, "malformed", ExitCode.USAGE, (str(error),))
    return found if found.record is None else _compare_preset(found, catalog)


def _compare_preset(found: Checked, catalog: Catalog) -> Checked:
    """Hold the record's gates to the preset it names, where the base still has that version."""
    record = found.record
    assert record is not None
    name, digest = record["preset"].get("name"), record["preset"].get("digest")
    preset = catalog.presets.get(str(name))
    if preset is None or preset.digest != digest:
        what = "another version" if preset else "not there"
        note = f"preset {canonical.printable(str(name), 60)}: {what} on the trusted base"
        return _with_note(found, note)
    document = record["spec"]["document"]
    wanted = render_spec(preset, {})
    other = [
        key
        for key in ("metrics", "gates", "plots", "plan")
        if canonical.digest(document.get(key, type(wanted[key])())) != canonical.digest(wanted[key])
    ]
    if not other:
        return _with_note(found, f"preset {name}: as on the trusted base")
    problem = f"{', '.join(other)} are not those of preset {name}, whose digest the record names"
    return Checked(found.folder, "tampered", ExitCode.REFUSED, (problem,), found.notes)


def _with_note(found: Checked, note: str) -> Checked:
    return Checked(
        found.folder, found.word, found.code, found.problems, (*found.notes, note), found.record
    )


def _catalog(git: Git, trusted: str) -> Catalog:
    files = git.list_files(trusted, "presets")
    return parse_catalog({path: git.read(oid)[1] for path, (_, oid) in files.items()})


def write_lists(git: Git, trusted: str, scratch: Path) -> Path | None:
    """The trusted lists of keys as files side by side, None where there are no signers."""
    signers = read_list(git, trusted, SIGNERS_PATH)
    if signers is None:
        return None
    path = scratch / Path(SIGNERS_PATH).name
    path.write_text(signers, "utf-8")
    (scratch / Path(REVOKED_PATH).name).write_text(
        read_list(git, trusted, REVOKED_PATH) or "", "utf-8"
    )
    return path


def _inner(path: str) -> str:
    return path.removeprefix(f"{ROOT}/")


def _split(path: str) -> tuple[str, str] | None:
    return split_path(_inner(path))
