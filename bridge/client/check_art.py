"""Looking at the artifacts at refs of their own: whose they are, and whether they are it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from bridge.bus.art import read_owner
from bridge.bus.artifacts import ArtStore
from bridge.bus.requester import RequesterBus
from bridge.errors import BusError, KakeyaError, MissingArtifactError, TooLargeError
from bridge.git import RefTip

MAX_READ_BYTES = 32 * 2**20
"""An artifact that is larger is not read by a check; it is checked whenever it is used."""

Found = tuple[str, str, str, str]
"""Level, ref, what was found, what to do."""


def check_arts(
    bus: RequesterBus,
    store: ArtStore,
    arts: Collection[RefTip],
    live: Collection[str],
    delete: Callable[[str], str],
) -> Iterator[Found]:
    """What is wrong with the art refs of a bus, as (level, ref, text, remedy).

    Args:
        bus: the bus.
        store: reads artifacts there.
        arts: every art ref.
        live: ids of the jobs at refs of their own.
        delete: the command that deletes a ref.
    """
    owners = {tip.ref: read_owner(tip) for tip in arts}
    jobs = {owner.job for owner in owners.values() if owner}
    folded = bus.ledger.holds(sorted(jobs - set(live)))
    for tip in sorted(arts, key=lambda item: item.ref):
        wrong = _wrong(store, tip.ref)
        if wrong:
            yield "fault", tip.ref, wrong, delete(tip.ref)
            continue
        owner = owners[tip.ref]
        if owner is None:
            yield "warning", tip.ref, "its commit does not say whose it is", delete(tip.ref)
        elif owner.job not in live and owner.job not in folded:
            text = f"{owner.kind} of the job {owner.job}, which is neither live nor in the ledger"
            yield "warning", tip.ref, text, delete(tip.ref)
        elif owner.kind == "checkpoint" and owner.job in folded:
            text = f"checkpoint of the job {owner.job}, which has ended"
            yield "warning", tip.ref, text, "kakeya_remote bus fold removes it"


def _wrong(store: ArtStore, ref: str) -> str:
    """Why what lies at an art ref is not what its name says; empty where it is, or is too large."""
    digest = f"sha256:{ref.rpartition('/')[2]}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            store.get(digest, Path(folder) / "it", max_bytes=MAX_READ_BYTES)
        except (TooLargeError, MissingArtifactError, BusError):
            return ""  # not read here, gone since the refs were listed, or not to be had now
        except KakeyaError as error:
            return error.message
    return ""
