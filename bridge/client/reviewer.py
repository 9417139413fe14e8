"""What a reviewer depends on: the clone, the judge, the lists of keys, the records themselves."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

from bridge.canonical import printable
from bridge.client.doctor import check_git
from bridge.errors import KakeyaError
from bridge.findings import FAULT, OK, WARNING, Finding, look
from bridge.git import Git
from bridge.signers import REVOKED_PATH, SIGNERS_PATH, read_keyring
from evidence.promoted import ROOT, check_record, split_path

JUDGES = ("evidence/", "bridge/", "presets/")
MAX_RECORDS = 500
MAX_BLOB_BYTES = 2 * 1024 * 1024
_POINTER = b"version https://git-lfs.github.com/spec/"


def examine(folder: Path) -> tuple[Finding, ...]:
    """Look at everything a reviewer of records depends on; nothing is fetched."""
    findings = [look("git", check_git), _check_reports()]
    git = Git.find(folder)
    if git is None:
        text = f"{folder} is in no git checkout: records of a proposal cannot be judged"
        return (*findings, Finding("clone", FAULT, text, "run this inside a clone"))
    try:
        findings.append(_check_clone(git))
        findings.append(_check_base(git))
        findings.append(_check_judge(git))
        findings += [look("signers", lambda: _check_signers(git))]
        findings += [*_check_records(git)]
    finally:
        git.close()
    return tuple(findings)


def _check_reports() -> Finding:
    missing = [name for name in ("jinja2", "matplotlib") if not importlib.util.find_spec(name)]
    if missing:
        text = f"{', '.join(missing)} not installed: verdicts are told, pages are not drawn"
        remedy = "pip install -c constraints.txt 'kakeya-remote[reports]'"
        return Finding("reports", WARNING, text, remedy)
    return Finding("reports", OK, "report pages can be drawn")


def _check_clone(git: Git) -> Finding:
    if git.resolve("HEAD") is None:
        return Finding("clone", FAULT, "the clone has no commit", "git pull")
    if (git.path / "shallow").exists():
        return Finding(
            "clone",
            FAULT,
            "the clone is shallow: where a proposal left its base cannot be told, and what it "
            "adds neither",
            "git fetch --unshallow",
        )
    return Finding("clone", OK, f"whole, HEAD {(git.resolve('HEAD') or '')[:12]}")


def _check_base(git: Git) -> Finding:
    for name in ("origin/HEAD", "origin/main", "main"):
        commit = git.resolve(name)
        if commit is not None:
            return Finding("base", OK, f"{name} is {commit[:12]}; is it what the host has?")
    return Finding(
        "base",
        FAULT,
        "no branch to compare with: neither origin/HEAD nor main",
        "git fetch origin, then name it: kakeya_remote evidence check-records --base REV",
    )


def _check_judge(git: Git) -> Finding:
    edits = [path for path in git.changed_files() if path.startswith(JUDGES)]
    edits = [path for path in edits if not path.startswith(f"{ROOT}/")]
    edits += [path for path in git.hidden_files() if path.startswith(JUDGES)]
    if edits:
        return Finding(
            "judge",
            FAULT,
            f"{len(edits)} files that judge are edited here ({', '.join(edits[:3])}): verdicts "
            "would be those of the edits",
            "git stash, or review in a clean clone",
        )
    return Finding("judge", OK, "the files that judge are those of HEAD")


def _check_signers(git: Git) -> Finding:
    texts = {path: _read_text(git, path) for path in (SIGNERS_PATH, REVOKED_PATH)}
    if texts[SIGNERS_PATH] is None:
        return Finding(
            "signers",
            WARNING,
            f"{SIGNERS_PATH} is not there: no signature can be held to a known key",
            f"collect the lines of `kakeya_remote runner key` in {SIGNERS_PATH}",
        )
    try:
        keyring = read_keyring(texts[SIGNERS_PATH] or "", texts[REVOKED_PATH] or "")
    except KakeyaError as error:
        remedy = error.remedy or "correct that line: NAME ssh-ed25519 AAAA..."
        return Finding("signers", FAULT, str(error), remedy)
    revoked = len(keyring.revoked)
    return Finding("signers", OK, f"{len(keyring.names)} keys are listed, {revoked} are revoked")


def _read_text(git: Git, path: str) -> str | None:
    entry = git.list_files("HEAD", path).get(path)
    if entry is None:
        return None
    try:
        return git.read_blob(entry[1], MAX_BLOB_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        return "\N{REPLACEMENT CHARACTER}"  # no line of keys: refused with its place


def _check_records(git: Git) -> Iterator[Finding]:
    """Each record of HEAD, recomputed; faults are named, all are counted."""
    folders: dict[str, dict[str, str]] = {}
    strange = []
    for path, (_, oid) in git.list_files("HEAD", ROOT).items():
        parts = split_path(path.removeprefix(f"{ROOT}/"))
        if parts:
            folders.setdefault(parts[0], {})[parts[1]] = oid
        elif not path.endswith(("README.md", ".gitkeep")):
            strange.append(path)
    if strange:
        text = f"{len(strange)} files are no part of a record: {printable(strange[0], 120)}"
        yield Finding("records", FAULT, text, "git rm them: only records lie there")
    sound = 0
    for name, files in sorted(folders.items())[:MAX_RECORDS]:
        found = look("record", lambda name=name, files=files: _check_record(git, name, files))  # type: ignore[misc]
        sound += found.level == OK
        if found.level != OK:
            yield found
    total = len(folders)
    if sound == total:
        yield Finding("records", OK, f"{total} records, each follows from its samples")
    elif total > MAX_RECORDS:
        text = f"{MAX_RECORDS} of {total} records were recomputed"
        yield Finding("records", WARNING, text, "kakeya_remote run evidence-check does them all")


def _check_record(git: Git, name: str, files: Mapping[str, str]) -> Finding:
    data = {file: git.read_blob(oid, MAX_BLOB_BYTES) for file, oid in files.items()}
    pointers = [file for file, blob in data.items() if blob.startswith(_POINTER)]
    if pointers:
        text = f"{name}: {', '.join(pointers)} is a pointer of git-lfs, not the file"
        remedy = "records are kept as plain files: git lfs untrack, then commit them again"
        return Finding("record", FAULT, text, remedy)
    try:
        checked = check_record(name, data)
    except KakeyaError as error:
        return Finding("record", FAULT, f"{name}: {error}", error.remedy)
    if checked.problems:
        text = f"{name}: {checked.word}: {checked.problems[0]}"
        remedy = "do not believe it; git log it to see who changed it, and revert that commit"
        return Finding("record", FAULT, text, remedy)
    return Finding("record", OK, f"{name}: {checked.word}")
