"""A research journal entry from an evidence record: what was seen, and room for what it means.

The entry copies and counts; it infers nothing. Inferences, with a credence each, and the next
action are the person's to write. An entry names the one before by digest, so that a journal of
entries cannot be changed unseen.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import canonical
from bridge.errors import UsageError
from workloads.journal.entry import compose_entry, write_markdown
from workloads.shared.context import Context
from workloads.shared.job import refuse_problems
from workloads.shared.samples import Sample

__all__ = ["Config", "run"]

CODE = Path(__file__).resolve().parents[2]
_FAILURE = re.compile(r"\s*(?P<name>[^=;]+?)\s*=\s*(?P<prior>0|1|0?\.[0-9]{1,4}|1\.0+)\s*")


@dataclass(frozen=True, slots=True)
class Config:
    """One entry about one record.

    Attributes:
        path: folder of a promoted record, relative to the root of the code.
        hypothesis: what was believed before.
        failures: ways in which the result may mislead, `name=prior; name=prior`, priors 0..1.
        previous: digest of the entry before, empty for the first.
    """

    path: str
    hypothesis: str
    failures: str
    previous: str = ""

    def __post_init__(self) -> None:
        problems = []
        if not self.hypothesis.strip():
            problems.append("$.config.hypothesis: what was believed before has to be said")
        if self.previous and not canonical.is_digest(self.previous):
            problems.append("$.config.previous: no sha256 digest")
        try:
            total = sum(self.modes.values())
        except ValueError as error:
            problems.append(f"$.config.failures: {error}")
        else:
            if total > 1:
                problems.append(f"$.config.failures: priors add up to {total:g}, more than 1")
        refuse_problems(problems)

    @property
    def modes(self) -> dict[str, float]:
        """Failure modes and their priors (ValueError where one cannot be read)."""
        found: dict[str, float] = {}
        for part in self.failures.split(";"):
            match = _FAILURE.fullmatch(part)
            if match is None:
                raise ValueError(f"{part.strip()!r} is not NAME=PRIOR with a prior from 0 to 1")
            if match["name"] in found:
                raise ValueError(f"{match['name']!r} stands there twice")
            found[match["name"]] = float(match["prior"])
        return found


def run(config: Config, context: Context) -> None:
    """Write `entry.json` and `entry.md`, and a sample for each part that an entry must have."""
    record = read_record(CODE / config.path)
    entry = compose_entry(
        record, hypothesis=config.hypothesis, modes=config.modes, previous=config.previous or None
    )
    data = canonical.encode(entry)
    context.artifact("entry.json").write_bytes(data)
    context.artifact("entry.md").write_text(write_markdown(entry), "utf-8")
    context.state(entry=canonical.digest(entry), record=record["id"])
    for name, there in {
        "context": bool(entry["context"]["job"] and entry["context"]["code"]),
        "hypothesis": bool(entry["hypothesis"]),
        "observations": bool(entry["observations"]["gates"]),
        "failures": bool(entry["failures"]),
        "inferences-left-open": entry["inferences"] == [],
        "next-action-left-open": entry["next_action"] is None,
    }.items():
        context.sample(
            Sample(
                arm="entry", seed=0, unit=name, input=canonical.digest(record["id"]),
                measure="part", score=there,
            )
        )  # fmt: skip


def read_record(folder: Path) -> Mapping[str, Any]:
    """The evidence record in a folder, compressed or not.

    Raises:
        UsageError: there is none, or it is no record.
    """
    for name, open_file in (("evidence.json", Path.read_bytes), ("evidence.json.gz", _unpack)):
        path = folder / name
        if path.is_file():
            try:
                record = json.loads(open_file(path))
            except (ValueError, OSError, EOFError) as error:
                raise UsageError(f"no JSON: {error}", where=str(path)) from error
            if not isinstance(record, dict) or record.get("schema") != "kakeya.evidence/1":
                raise UsageError("no evidence record", where=str(path))
            return record
    raise UsageError(
        "there is no evidence record",
        where=str(folder),
        remedy="name a folder below evidence/records of the code commit",
    )


def _unpack(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())
