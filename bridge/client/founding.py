"""Making a bus: a bare repository with the bounds a bus needs, and the identity that names it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bridge.bus.requester import RequesterBus
from bridge.canonical import make_ulid
from bridge.clock import Clock
from bridge.git import Git
from bridge.records import BusIdentity

MAX_PUSH_BYTES = 128 * 2**20
"""The largest push a local bus takes: a result with samples and artifacts, and room to spare."""

SERVER_SETTINGS: tuple[tuple[str, str], ...] = (
    ("receive.maxInputSize", str(MAX_PUSH_BYTES)),
    ("receive.advertiseAtomic", "true"),
    ("receive.fsckObjects", "true"),
    ("receive.denyDeletes", "false"),
    ("receive.denyNonFastForwards", "false"),  # a heartbeat replaces the one before
    ("uploadpack.allowFilter", "true"),
    ("uploadpack.allowAnySHA1InWant", "true"),
    # old heartbeats are the only garbage of a bus; without this they pile up for two weeks
    ("gc.auto", "5000"),
    ("gc.pruneExpire", "1.hour.ago"),
)


@dataclass(frozen=True, slots=True)
class Founded:
    """A bus that is there now; `created` is False where it was there before."""

    bus: str
    root: str
    identity: BusIdentity
    created: bool

    def as_json(self) -> dict[str, Any]:
        """The bus as `--json` prints it."""
        return {
            "schema": "kakeya.founded/1",
            "bus": self.bus,
            "root": self.root,
            "id": self.identity.id,
            "created_at": self.identity.created_at,
            "created": self.created,
        }


def utc_text(unix_s: float) -> str:
    """A Unix time as records carry it, in whole seconds UTC."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def prepare_server(path: Path) -> None:
    """Make `path` a bare repository fit for a bus, or give the settings to the one that is there.

    Raises:
        UsageError: something else is there.
    """
    Git.create_bare(path, SERVER_SETTINGS).close()


def found(bus: RequesterBus, clock: Clock) -> Founded:
    """Give the bus its identity, once; a second call finds the first one's.

    Raises:
        BusError: the remote does not answer, or refuses the push.
    """
    created = bus.ledger.identity() is None
    now_s = clock.wall_s()
    wanted = BusIdentity(make_ulid(int(now_s * 1000), clock.randomness(10)), utc_text(now_s))
    identity = bus.create_identity(wanted, int(now_s)) if created else bus.identity()
    return Founded(bus.url, bus.refs.root, identity, created and identity.id == wanted.id)
