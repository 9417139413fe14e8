"""in-toto statements about a record: SLSA provenance of the run, and what the evidence says.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md,
https://slsa.dev/spec/v1.0/provenance. Subjects are matched by digest alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bridge import canonical

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
EVIDENCE = "urn:kakeya:experiment-evidence:v1"
BUILD_TYPE = "urn:kakeya:job:v1"


def make_statements(record: Mapping[str, Any], record_bytes: bytes) -> list[dict[str, Any]]:
    """The two statements of a record, a pure function of its bytes."""
    subject = _subjects(record, record_bytes)
    return [
        _statement(PROVENANCE, subject, _provenance(record)),
        _statement(EVIDENCE, subject, _evidence(record)),
    ]


def _statement(kind: str, subject: list[dict[str, Any]], predicate: Any) -> dict[str, Any]:
    return {"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate}


def _subjects(record: Mapping[str, Any], record_bytes: bytes) -> list[dict[str, Any]]:
    found = [("evidence.json", canonical.digest_bytes(record_bytes))]
    if record["samples"]:
        found.append((record["samples"]["path"], record["samples"]["sha256"]))
    found += [(f"artifacts/{item['path']}", item["sha256"]) for item in record["artifacts"]]
    return [{"name": name, "digest": _digest(digest)} for name, digest in found]


def _digest(digest: str) -> dict[str, str]:
    kind, _, value = digest.partition(":")
    return {kind: value}


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    code, runner, timings = record["code"], record["runner"], record["timings"]
    dependencies = [
        {"name": item["role"], "digest": _digest(item["digest"])} for item in record["inputs"]
    ]
    if code.get("commit"):
        dependencies.insert(0, {"name": "code", "digest": {"gitCommit": code["commit"]}})
    metadata = {"invocationId": str(record["id"])}
    for name, key in (("startedOn", "started"), ("finishedOn", "finished")):
        moment = _moment(timings.get(key))
        if moment:
            metadata[name] = moment
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "request": str(record["request"].get("digest", "")),
                "preset": str(record["preset"].get("name", "")),
                "presetDigest": str(record["preset"].get("digest", "")),
                "params": dict(record["preset"].get("params", {})),
            },
            "internalParameters": {
                "trusted": str(record["trusted"].get("commit", "")),
                "evaluator": record["evaluator"]["digest"],
            },
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {"id": f"urn:kakeya:runner:{runner.get('name') or runner.get('id') or ''}"},
            "metadata": metadata,
        },
    }


def _moment(value: object) -> str | None:
    """An RFC 3339 time in whole seconds, None where there is none."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _evidence(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": record["schema"],
        "verdict": record["result"]["gates"],
        "counts": dict(record["result"]["counts"]),
        "integrity": record["result"]["integrity"],
        "gates": [
            {"id": row["id"], "digest": row["digest"], "verdict": row["verdict"]}
            for row in record["gates"]
        ],
        "predictions": [
            {"id": row["id"], "outcome": row["outcome"]} for row in record["predictions"]
        ],
        "spec": record["spec"]["digest"],
        "nonClaims": record["non_claims"],
    }
