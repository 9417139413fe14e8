"""One artifact of one job, wherever it lies: with the job's result, in the ledger, or at a ref."""

from __future__ import annotations

from pathlib import Path

from bridge.bus.artifacts import ArtStore
from bridge.bus.chain import Chain
from bridge.bus.contents import write_checked
from bridge.bus.requester import RequesterBus
from bridge.errors import TooLargeError, UsageError
from bridge.records import ArtifactRef

FOLDER = "artifacts/"
_MIB = 2**20


def find_artifact(chain: Chain, path: str) -> ArtifactRef:
    """What the result of an ended job says of the artifact `path`.

    Raises:
        UsageError: the job goes on, or left no such artifact.
    """
    if chain.result is None:
        raise UsageError(
            f"the job has not ended ({chain.state.value if chain.state else 'unreadable'})",
            where=chain.job.id,
            remedy=f"kakeya_remote wait {chain.job.id}",
        )
    wanted = path.removeprefix(FOLDER)
    for item in chain.result.artifacts:
        if item.path == wanted:
            return item
    known = ", ".join(item.path for item in chain.result.artifacts[:8]) or "none"
    raise UsageError(
        f"it left no artifact {wanted!a}; there are: {known}",
        where=chain.job.id,
        remedy=f"kakeya_remote results {chain.job.id} shows them all",
    )


def fetch_artifact(
    bus: RequesterBus, store: ArtStore, chain: Chain, item: ArtifactRef, target: Path
) -> None:
    """Write an artifact of an ended job to the new file `target`, checked by its digest.

    Raises:
        IntegrityError: what lies on the bus is not it, or is gone.
        TooLargeError: it is larger than `store.limits.fetch_mb`.
        BusError: the bus does not answer.
    """
    oid = chain.files.get(FOLDER + item.path)
    if oid is None:  # too large for the chain
        store.get(item.sha256, target, max_bytes=max(1, item.bytes))
        return
    if item.bytes > store.limits.fetch_mb * _MIB:
        raise TooLargeError(f"{item.bytes} bytes", where=f"{chain.job.id}:{item.path}")
    bus.fetch_files([oid])
    sha256 = item.sha256.removeprefix("sha256:")
    where = f"{chain.job.id}:{item.path}"
    write_checked(iter([bus.read(oid)]), sha256, item.bytes, target, where=where)
