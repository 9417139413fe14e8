"""Records that a request names as baselines, found among those that were promoted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bridge import canonical
from bridge.errors import KakeyaError
from bridge.records import Baseline
from evidence.judge import load_json

_NAME = "evidence.json"


def find_baselines(wanted: Sequence[Baseline], records: Path) -> Mapping[str, Path]:
    """The files of the baselines that are there, by alias; a gate over another one is missing.

    Args:
        wanted: what the request fixed before the run.
        records: `evidence/records` of the trusted commit.
    """
    if not wanted:
        return {}
    known = {digest: path for path in _files(records) for digest in _digest(path)}
    return {item.alias: known[item.digest] for item in wanted if item.digest in known}


def _files(records: Path) -> Iterator[Path]:
    # a compressed record is named, and read, by its plain name
    yield from sorted({path.with_name(_NAME) for path in records.rglob(f"{_NAME}*")})


def _digest(path: Path) -> Iterator[str]:
    try:
        yield canonical.digest(load_json(path))
    except KakeyaError:
        return  # a record that cannot be read is nobody's baseline
