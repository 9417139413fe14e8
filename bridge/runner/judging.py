"""From an ended job to its evidence: collect, describe, and let the trusted commit's judge decide.

The judge runs in a process of its own, from the export of the commit that the claim pinned: no
file of the code that was judged, and no edit of the running program, has a say in the verdict.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bridge import proc, records
from bridge.bus.chain import Chain
from bridge.canonical import decode, digest_bytes, encode, thaw
from bridge.errors import IntegrityError, KakeyaError, ManifestError
from bridge.git import Git
from bridge.records import ArtifactRef, Claim
from bridge.runner.artifacts import publish_large
from bridge.runner.baselines import find_baselines
from bridge.runner.collect import MAX_SAMPLES_BYTES, collect_artifacts, read_plain
from bridge.runner.config import RunnerConfig
from bridge.runner.facts import describe_hardware, describe_load
from bridge.runner.key import RunnerKey, load_key
from bridge.runner.trust import Trust, module_command
from bridge.runner.workspace import find_code, read_json
from bridge.states import Event
from evidence.sign import BUNDLE_NAME, sign_record
from executors.contract import OUT, REPORT, Ending
from presets.binding import render_spec
from presets.definition import Preset

JUDGE_TIMEOUT_S = 300.0
_MAX_REPORT_BYTES = 4 * 2**20
_MAX_EVIDENCE_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, the evidence's digest, and the files that go into the result's commit."""

    verdict: str | None = None
    evidence: str | None = None
    message: str = ""
    artifacts: tuple[ArtifactRef, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    work: str | None = None
    reused_from: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One ended attempt, as its runner knows it.

    `marks` are the clock readings `queued`, `claimed`, `started` and `finished`; `tell_energy` ends
    the count of the energy and says what it came to.
    """

    chain: Chain
    claim: Claim
    claim_oid: str
    preset: Preset
    folder: Path
    ending: Ending
    marks: Mapping[str, str | float | None]
    tell_energy: Callable[[], Mapping[str, Any]]


def judge_attempt(
    case: Case, config: RunnerConfig, trust: Trust, say: Callable[[str], None]
) -> Judgement:
    """Collect what the job left, have it judged, and gather the files of its result.

    Raises:
        KakeyaError: the judge could not be run or wrote nothing.
    """
    collected = collect_artifacts(case.folder / OUT / "artifacts")
    samples = read_plain(case.folder / OUT / "samples.jsonl", MAX_SAMPLES_BYTES)
    work = case.folder / "judge"
    work.mkdir(exist_ok=True)
    (work / "samples.jsonl").write_bytes(samples or b"")
    facts = _describe(case, config, trust)
    assert case.chain.request is not None
    request = case.chain.request
    large, failed = publish_large(
        case.folder / OUT / "artifacts", collected.large, request.id, config, say
    )
    artifacts = (*collected.artifacts, *large)
    facts["artifacts"] = [
        {"path": item.path, "sha256": item.sha256, "bytes": item.bytes} for item in artifacts
    ]
    facts["left"] = [*collected.left, *failed]
    spec = render_spec(case.preset, request.params, request.predictions)
    (work / "facts.json").write_bytes(encode(facts))
    (work / "spec.json").write_bytes(encode(spec))
    bases = find_baselines(request.baselines, trust.folder / "evidence" / "records")
    run_judge(trust, work, case.folder / OUT / "artifacts", bases)
    key = load_key(config.state_dir, config.name)
    return gather(work, artifacts, collected.files, samples, key)


def run_judge(trust: Trust, work: Path, artifacts: Path, bases: Mapping[str, Path]) -> None:
    """Have the judge of the trusted commit read `work` and write `work/out`.

    Raises:
        IntegrityError: it wrote no evidence.
    """
    argv = module_command(
        trust,
        "evidence",
        "judge",
        *("--facts", str(work / "facts.json")),
        *("--samples", str(work / "samples.jsonl")),
        *("--spec", str(work / "spec.json")),
        *("--artifacts", str(artifacts)),
        *("--out", str(work / "out")),
        *(word for alias, path in bases.items() for word in ("--base", f"{alias}={path}")),
    )
    done = proc.run(argv, cwd=work, env=proc.base_env(), timeout_s=JUDGE_TIMEOUT_S)
    if not (work / "out" / "evidence.json").is_file():
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise IntegrityError(
            f"the judge wrote no evidence (exit {done.code}): {lines[-1] if lines else 'silent'}",
            where=str(work),
            remedy="run it by hand from the trusted checkout: python -m evidence judge --help",
        )


def gather(
    work: Path,
    artifacts: tuple[ArtifactRef, ...],
    files: Mapping[str, bytes],
    samples: bytes | None,
    key: RunnerKey,
) -> Judgement:
    """What the judge wrote below `work/out`, signed, with the job's own files.

    Raises:
        IntegrityError: the record is too large to carry.
    """
    evidence = read_plain(work / "out" / "evidence.json", _MAX_EVIDENCE_BYTES)
    if evidence is None:
        raise IntegrityError("the evidence is larger than a result may carry", where=str(work))
    record: dict[str, Any] = json.loads(evidence)
    verdict = str(record["result"]["gates"])
    gathered = {"evidence.json": evidence, BUNDLE_NAME: sign_record(evidence, key.private)}
    if samples is not None:
        gathered["samples.jsonl"] = samples
    for path in sorted((work / "out").rglob("*")):
        name = path.relative_to(work / "out").as_posix()
        data = read_plain(path, _MAX_REPORT_BYTES)
        if data is not None and name != "evidence.json":
            gathered[name] = data
    gathered |= {f"artifacts/{path}": data for path, data in files.items()}
    return Judgement(verdict, digest_bytes(evidence), _summary(record), artifacts, gathered)


def _summary(record: Mapping[str, Any]) -> str:
    counts: Mapping[str, int] = record["result"]["counts"]
    told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    return f"gates: {told}" if told else "no gates"


def _describe(case: Case, config: RunnerConfig, trust: Trust) -> dict[str, Any]:
    request = case.chain.request
    assert request is not None
    noted = read_json(case.folder / "workspace.json")
    return {
        "id": request.id,
        "request": describe_request(case.chain, config),
        "preset": {
            "name": case.preset.name,
            "digest": case.preset.digest,
            "argv": noted.get("argv", []),
            "params": thaw(request.params),
        },
        "code": _describe_code(case, config, noted),
        "inputs": noted.get("inputs", []),
        "runner": {
            "name": config.name,
            "session": case.claim.session,
            "claim": case.claim_oid,
            "executor": case.claim.executor,
            "isolation": case.ending.isolation or case.claim.isolation,
            "limits": dict(sorted(case.ending.means.items())),
        },
        "hardware": {**describe_hardware(), "load": describe_load()},
        "env": _told(case.folder / REPORT / "environment.json"),
        "workload": _told(case.folder / OUT / "facts.json"),
        "attempts": _attempts(case),
        "timings": {name: time_text(mark) for name, mark in case.marks.items()},
        "execution": {**_describe_ending(case.ending), "energy": dict(case.tell_energy())},
        "trusted": {"commit": trust.commit, "tree": trust.tree, "edited": list(trust.edited)},
    }


def describe_request(chain: Chain, config: RunnerConfig) -> dict[str, Any]:
    """What a record says of its request."""
    request = chain.request
    assert request is not None
    return {
        "digest": chain.request_digest,
        "commit": chain.request_oid,
        "requested_by": request.requested_by,
        "requested_at": request.requested_at,
        "received_by": config.name,
        "retry_of": request.retry_of,
        "replay_of": request.replay_of,
        "amends": request.amends,
    }


def _describe_ending(ending: Ending) -> dict[str, Any]:
    return {
        "code": ending.code,
        "signal": ending.signal,
        "reason": ending.reason,
        "detail": records.clean_text(ending.detail, 500),
        "duration_s": f"{ending.duration_s:.3f}",
        "peak_memory_mb": f"{ending.peak_memory_mb:.1f}",
        "output_bytes": ending.output_bytes,
        "disk_bytes": ending.disk_bytes,
        "leftovers": ending.leftovers,
    }


def _describe_code(case: Case, config: RunnerConfig, noted: Mapping[str, object]) -> dict[str, Any]:
    """Which code ran: what the job's own interpreter read, held against the commit."""
    request = case.chain.request
    assert request is not None
    report = _told(case.folder / REPORT / "imported.json")
    files = report.get("files")
    imported = (
        {str(path): str(sha) for path, sha in files.items()} if isinstance(files, dict) else {}
    )
    try:
        differing = _differing(config.trusted, request.code, imported, case.folder)
    except KakeyaError as error:
        differing = [f"the commit cannot be read: {error.message}"]
    return {
        "commit": request.code,
        "tree": noted.get("code_tree"),
        "dirty": bool(differing),
        "differing": differing,
        "imported": imported,
        "foreign": report.get("foreign", []),
        "lfs_pointers": noted.get("lfs_pointers", []),
        "hidden_index": 0,  # exported from objects: no index, no worktree stands between
    }


def _differing(checkout: Path, commit: str, imported: Mapping[str, str], folder: Path) -> list[str]:
    def fetched(_: str) -> Git:
        raise IntegrityError("the code is on the bus alone", where=commit)

    try:
        git = find_code(checkout, commit, fetched)
    except KakeyaError:
        return _differing_on_disk(folder, imported)
    try:
        blobs = git.list_files(commit)
        return sorted(
            path
            for path, sha in imported.items()
            if path not in blobs or digest_bytes(git.read(blobs[path][1])[1]) != sha
        )
    finally:
        git.close()


def _differing_on_disk(folder: Path, imported: Mapping[str, str]) -> list[str]:
    """Against the export: weaker than against the commit, since the job might have edited it."""
    differing = []
    for path, sha in imported.items():
        data = read_plain(folder / "code" / path, _MAX_EVIDENCE_BYTES)
        if data is None or digest_bytes(data) != sha:
            differing.append(path)
    return sorted(differing)


def _told(path: Path) -> dict[str, Any]:
    """A JSON object that the job could have written itself; empty where it is none."""
    try:
        value = decode(read_plain(path, _MAX_REPORT_BYTES) or b"", max_bytes=_MAX_REPORT_BYTES)
    except ManifestError:
        return {}
    return value if isinstance(value, dict) else {}


def _attempts(case: Case) -> list[dict[str, Any]]:
    """Every try so far, the ones that died too."""
    rows: list[dict[str, Any]] = []
    for link in case.chain.links:
        if link.event is Event.CLAIM:
            rows.append({"n": len(rows) + 1, "claim": link.oid, "ended": "lost its claim"})
    if rows:
        rows[-1]["ended"] = case.ending.reason
        resumed = read_json(case.folder / "workspace.json").get("resumed")
        rows[-1] |= {"resumed": resumed} if resumed else {}
    return rows


def time_text(mark: str | float | None) -> str | None:
    """A clock reading as a record has it."""
    if isinstance(mark, float):
        return datetime.fromtimestamp(mark, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return mark
