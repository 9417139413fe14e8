"""Artifacts as a requester names them: `ID:path` becomes a digest before anything is frozen."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge.bus.artifacts import ArtLimits, ArtStore
from bridge.bus.requester import RequesterBus
from bridge.bus.sources import fetch_artifact, find_artifact
from bridge.client.draft import choose_preset, is_manifest
from bridge.errors import KakeyaError, ManifestError
from bridge.records import ArtifactRef, Source
from presets.catalog import Catalog

_NAMED = re.compile(r"([0-9A-Za-z]{26}):([^\0\n]+)\Z")


def make_store(bus: RequesterBus, say: Callable[[str], None]) -> ArtStore:
    """The store of a requester's bus."""
    return ArtStore(
        bus.url,
        bus.refs,
        bus.cache / "art",
        timeout_s=bus.profile.network_timeout_s,
        limits=ArtLimits(),
        say=say,
    )


def resolve_artifacts(
    draft: Mapping[str, Any],
    texts: Sequence[str],
    catalog: Catalog,
    find: Callable[[str, str], Source],
) -> tuple[dict[str, Any], list[str]]:
    """A draft and its `NAME=VALUE` texts with every `ID:path` of an artifact param as its digest.

    Args:
        draft: what the requester wrote; where each artifact lies is added as `sources`.
        texts: params as `NAME=VALUE`.
        catalog: the presets that may be named.
        find: the artifact of a job, by id and path.

    Raises:
        ManifestError: `problems` names each that cannot be found, at its path.
        BusError: the bus does not answer.
    """
    if is_manifest(draft) and not texts:
        return dict(draft), list(texts)
    params = choose_preset(catalog, draft).params
    wanted = {name for name, param in params.items() if param.kind == "artifact"}
    found = _Resolved(find)
    given = draft.get("params", {})
    if isinstance(given, Mapping):
        given = {
            name: found.take(name, value) if name in wanted else value
            for name, value in given.items()
        }
    words = []
    for text in texts:
        name, equals, value = text.partition("=")
        words.append(f"{name}={found.take(name, value)}" if equals and name in wanted else text)
    if found.problems:
        raise ManifestError(
            "an artifact cannot be named",
            where="$.params",
            problems=tuple(found.problems),
            remedy="kakeya_remote results ID shows a job's artifacts",
        )
    if not found.sources:
        return dict(draft), words
    named = draft.get("sources")
    before = list(named) if isinstance(named, list) else []
    sources = [*before, *(item for item in found.sources if item not in before)]
    return {**draft, "params": given, "sources": sources}, words


class _Resolved:
    """What came of looking names up."""

    def __init__(self, find: Callable[[str, str], Source]) -> None:
        self._find = find
        self.sources: list[dict[str, str]] = []
        self.problems: list[str] = []

    def take(self, name: str, value: Any) -> Any:
        """The digest of `ID:path`; anything else as it is."""
        match = _NAMED.match(value) if isinstance(value, str) else None
        if match is None:
            return value
        try:
            source = self._find(match[1], match[2])
        except (KakeyaError, ValueError) as error:
            told = error.message if isinstance(error, KakeyaError) else str(error)
            self.problems.append(f"$.params.{name}: {told}")
            return value
        self.sources.append({"digest": source.digest, "job": source.job, "path": source.path})
        return source.digest


def find_source(bus: RequesterBus, ref: str, path: str) -> Source:
    """The artifact `path` of an ended job; raises as `find_artifact`."""
    chain = bus.load(ref)
    item = find_artifact(chain, path)
    return Source(item.sha256, chain.job.id, item.path)


def fetch_one(bus: RequesterBus, store: ArtStore, ref: str, path: str, target: Path) -> ArtifactRef:
    """Write one artifact of an ended job to `target`, over a file that is there.

    Raises:
        UsageError: no such artifact, or the job goes on.
        IntegrityError: what lies on the bus is not what the result says.
        BusError: the bus does not answer.
    """
    chain = bus.load(ref)
    item = find_artifact(chain, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".artifact-") as folder:
        partial = Path(folder) / "it"
        fetch_artifact(bus, store, chain, item, partial)
        partial.replace(target)
    return item
