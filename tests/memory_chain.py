"""A job's chain held in memory: commits appended as they were composed, read as if fetched."""

from __future__ import annotations

from bridge.bus.chain import Chain, Commit, read_chain
from bridge.bus.commits import compose_request
from bridge.bus.refs import JobRef
from bridge.errors import IntegrityError
from bridge.objects import Prepared, parse_commit, split_signature
from bridge.records import Request
from bridge.signers import Keyring
from tests.actors import WHEN_S


class MemoryChain:
    """The chain of `request`; nothing of it is on any remote."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.job = JobRef(request.label, request.priority, request.id)
        self.bus_id = request.bus
        self.commits: list[Commit] = []
        self._blobs: dict[str, bytes] = {}
        self.append(compose_request(request, when_s=WHEN_S))

    def append(self, prepared: Prepared) -> None:
        """Take a commit as the new tip, whatever it holds."""
        for item in prepared.objects:
            if item.kind == "blob":
                self._blobs[item.oid] = item.data
        data = prepared.objects[-1].data
        _, parents, message = parse_commit(data)
        sealed = split_signature(data)
        self.commits.append(Commit(prepared.oid, parents, message, prepared.files, None, sealed))

    def blob(self, oid: str) -> bytes:
        """The content of a blob."""
        if oid not in self._blobs:
            raise IntegrityError(f"object {oid} is not here")
        return self._blobs[oid]

    def read(self, keyring: Keyring | None = None) -> Chain:
        """The chain as a reader judges it."""
        return read_chain(
            "refs/x", self.job, self.commits, self.blob, bus_id=self.bus_id, keyring=keyring
        )
