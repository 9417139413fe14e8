"""A small experiment written out as files, for the tests of evidence."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bridge import canonical

CONTEXTS = (256, 512)
DEPTHS = (0, 50, 100)
SEEDS = (0, 1)
PER_CELL = 4


def digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def sample_rows() -> Iterator[dict[str, Any]]:
    """Recall of two arms on the same needles, and their speed."""
    chance = random.Random(7)
    for seed in SEEDS:
        for context in CONTEXTS:
            for depth in DEPTHS:
                for index in range(PER_CELL):
                    source = digest_of(f"{seed} {context} {depth} {index}")
                    for arm in ("full", "sink_window"):
                        found = arm == "full" or depth == max(DEPTHS)
                        row = {
                            "arm": arm,
                            "seed": seed,
                            "unit": f"needle-{index}",
                            "input": source,
                            "at": {"context": context, "depth": depth},
                            "error": None,
                            "warmup": False,
                            "t_ms": round(chance.uniform(200, 300), 3),
                        }
                        yield {**row, "measure": "recall", "score": found}
                        speed = round(chance.uniform(45, 55), 3)
                        yield {**row, "measure": "tok_s", "score": speed}


def spec() -> dict[str, Any]:
    recall, window = {"m": "recall", "arm": "full"}, {"m": "recall", "arm": "sink_window"}
    lead = {"cmp": [{"sub": [recall, window]}, ">", "0"]}
    return {
        "metrics": [
            {"name": "recall", "reducer": "proportion", "by": ["arm", "context"]},
            {
                "name": "recall_cell",
                "measure": "recall",
                "reducer": "proportion",
                "by": ["arm", "context", "depth"],
            },
            {"name": "speed", "measure": "tok_s", "reducer": "harmonic_mean", "unit": "tok/s"},
        ],
        "plan": {
            "seeds": list(SEEDS),
            "n": "{samples}",
            "arms": ["full", "sink_window"],
            "dims": {"context": list(CONTEXTS), "depth": list(DEPTHS)},
        },
        "gates": [
            {
                "id": "full-recalls",
                "kind": "control",
                "rule": {"each": "context", "rule": {"cmp": [recall, ">=", "0.9"]}},
            },
            {
                "id": "full-beats-window",
                "rule": {"each": "context", "rule": lead},
                "decide": {"by": "ci", "method": "newcombe"},
                "needs": ["full-recalls"],
            },
            {
                "id": "speed-kept",
                "rule": {"cmp": [{"m": "speed", "arm": "sink_window"}, ">=", "40"]},
                "decide": {"by": "ci"},
            },
        ],
        "plots": [
            {"kind": "ladder", "metric": "recall", "x": "context"},
            {"kind": "heatmap", "metric": "recall_cell", "x": "context", "y": "depth"},
            {"kind": "stack", "metric": "recall", "x": "context"},
            {"kind": "curve", "metric": "recall", "x": "speed"},
            {"kind": "dots", "metric": "speed"},
            {"kind": "paired", "metric": "speed"},
            {"kind": "paired", "metric": "recall", "arms": ["sink_window", "full"]},
        ],
        "params": {"samples": PER_CELL},
        "predictions": [
            {
                "id": "window-loses",
                "text": "the window arm recalls less than half",
                "credence": "0.8",
                "rule": {"each": "context", "rule": {"cmp": [window, "<", "0.5"]}},
            },
            {"id": "by-hand", "text": "a person will say", "credence": "0.5"},
        ],
    }


def facts() -> dict[str, Any]:
    return {
        "schema": "kakeya.facts/1",
        "id": "01JD0000000000000000000000",
        "request": {"digest": digest_of("request"), "commit": "a" * 40},
        "preset": {"name": "niah-smoke", "digest": digest_of("preset"), "params": {"samples": 4}},
        "code": {"commit": "b" * 40, "tree": "c" * 40, "dirty": False, "hidden_index": 0},
        "inputs": [{"role": "weights", "digest": digest_of("weights")}],
        "runner": {"name": "box"},
        "hardware": {"cpu": "a cpu", "fingerprint": digest_of("cpu")},
        "attempts": [{"n": 1, "ended": "exit"}],
        "timings": {
            "queued": "2026-01-01T00:00:00.000000Z",
            "started": "2026-01-01T00:00:05.000000Z",
            "finished": "2026-01-01T00:01:00.000000Z",
        },
        "execution": {"reason": "exit", "code": 0},
        "artifacts": [],
    }


def write_rows(path: Path, rows: Iterator[Mapping[str, Any]] | list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_job(
    folder: Path,
    *,
    rows: list[dict[str, Any]] | None = None,
    spec_data: Mapping[str, Any] | None = None,
    facts_data: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """The files that a runner hands to the judge."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.json" for name in ("facts", "spec")}
    paths["samples"] = folder / "samples.jsonl"
    paths["facts"].write_bytes(canonical.encode(facts_data or facts()))
    paths["spec"].write_bytes(canonical.encode(spec_data or spec()))
    write_rows(paths["samples"], rows if rows is not None else list(sample_rows()))
    return paths
