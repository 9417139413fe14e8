"""Wire records that are valid and say what a test wants said."""

from __future__ import annotations

import itertools
import secrets
from typing import Any

from bridge import canonical
from bridge.bus.chain import Chain
from bridge.records import (
    Claim,
    Exit,
    LogChunk,
    PresetRef,
    Progress,
    Request,
    Requeue,
    Resources,
    Result,
)
from bridge.states import Event

NOBODY = "0" * 40
SOME_DIGEST = canonical.digest("something")
START_MS = 1_760_000_000_000
_numbers = itertools.count()


def make_nonce() -> str:
    """A nonce as every record carries one."""
    return secrets.token_hex(8)


def make_id() -> str:
    """A job id that no other call gives, later ones sorting later."""
    return canonical.make_ulid(START_MS + next(_numbers), secrets.token_bytes(10))


def make_request(bus_id: str, **changes: Any) -> Request:
    """A request for `noop`, label any, priority 5."""
    values: dict[str, Any] = {
        "id": make_id(),
        "bus": bus_id,
        "preset": PresetRef("noop", SOME_DIGEST),
        "params": {"seconds": 0},
        "code": NOBODY,
        "label": "any",
        "labels": ("any",),
        "resources": Resources(),
        "priority": 5,
        "nonce": make_nonce(),
        "requested_by": "alice",
        "requested_at": "2026-01-02T03:04:05Z",
    }
    return Request(**{**values, **changes})


def make_claim(chain: Chain, runner: str = "mac-m4", **changes: Any) -> Claim:
    """A claim of what `chain` offers."""
    values: dict[str, Any] = {
        "request": chain.request_digest or SOME_DIGEST,
        "attempt": chain.attempt,
        "runner": runner,
        "session": make_nonce(),
        "trusted": NOBODY,
        "preset": SOME_DIGEST,
        "executor": "local",
        "isolation": "process",
        "lease_s": 8.0,
        "heartbeat_s": 1.0,
        "nonce": make_nonce(),
    }
    return Claim(**{**values, **changes})


def make_log(chain: Chain, data: bytes = b"", **changes: Any) -> LogChunk:
    """The next chunk of log of the claim in force."""
    values: dict[str, Any] = {
        "request": chain.request_digest or SOME_DIGEST,
        "claim": chain.claim_oid or NOBODY,
        "attempt": chain.attempt,
        "sequence": chain.log_sequence + 1,
        "bytes": len(data),
        "nonce": make_nonce(),
        "progress": Progress(1, 3),
    }
    return LogChunk(**{**values, **changes})


def make_requeue(chain: Chain, by: str = "h200", **changes: Any) -> Requeue:
    """The claim in force given back."""
    values: dict[str, Any] = {
        "request": chain.request_digest or SOME_DIGEST,
        "claim": chain.claim_oid or NOBODY,
        "attempt": chain.attempt,
        "reason": "silent for longer than its lease",
        "by": by,
        "nonce": make_nonce(),
    }
    return Requeue(**{**values, **changes})


def make_result(chain: Chain, event: Event = Event.DONE, **changes: Any) -> Result:
    """A terminal record of `chain` as it stands."""
    ran = event in (Event.DONE, Event.FAILED)
    values: dict[str, Any] = {
        "state": event.value,
        "request": chain.request_digest,
        "request_commit": chain.request_oid or NOBODY,
        "attempt": chain.attempt,
        "by": "mac-m4",
        "nonce": make_nonce(),
        "claim": chain.claim_oid,
        "exit": Exit(0 if event is Event.DONE else 1, None, "exit") if ran else None,
    }
    return Result(**{**values, **changes})
