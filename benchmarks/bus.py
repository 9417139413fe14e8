"""What the steps of a job cost on a bus in a local folder, with few and with many live jobs."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, time_ms
from bridge import canonical, proc
from bridge.bus.commits import compose_request
from bridge.bus.profile import PROFILES
from bridge.bus.refs import JobRef, Refs
from bridge.bus.remote import GitBus, Outcome, Update
from bridge.records import BusIdentity, PresetRef, Request, Resources

_REPETITIONS = 10
_LIVE = (1, 200)  # fewer than 200 jobs stay live: ended ones are folded into the ledger


def measure() -> Iterator[Row]:
    """Submit, peek at one ref, poll them all, read one chain; at each number of live jobs."""
    with tempfile.TemporaryDirectory(prefix="kakeya-bench-") as folder:
        bus = _make_bus(Path(folder))
        identity = bus.create_identity(BusIdentity(_ulid(), "2026-01-01T00:00:00Z"), _now_s())
        refs: list[str] = []
        for live in _LIVE:
            while len(refs) < live:
                refs.append(_submit(bus, identity.id))
            last = refs[-1]
            label = f"{live} live"
            yield Row(f"bus, {label}: peek", _times(lambda ref=last: bus.peek(ref)))
            yield Row(f"bus, {label}: poll", _times(bus.poll))
            yield Row(f"bus, {label}: read a chain", _times(lambda ref=last: bus.load(ref)))
            yield Row(
                f"bus, {label}: submit", _times(lambda: refs.append(_submit(bus, identity.id)))
            )
        bus.close()


def _times(action: object) -> tuple[float, ...]:
    assert callable(action)
    return time_ms(action, repetitions=_REPETITIONS)


def _make_bus(folder: Path) -> GitBus:
    remote = folder / "bus.git"
    for argv in (
        ["git", "init", "--quiet", "--bare", str(remote)],
        ["git", "-C", str(remote), "config", "uploadpack.allowFilter", "true"],
    ):
        done = proc.run(argv, cwd=folder, env=proc.base_env(), timeout_s=60.0)
        assert done.code == 0, done.stderr.decode(errors="replace")
    return GitBus(str(remote), folder / "cache", refs=Refs(), profile=PROFILES["local"])


def _submit(bus: GitBus, bus_id: str) -> str:
    request = Request(
        id=_ulid(),
        bus=bus_id,
        preset=PresetRef("noop", "sha256:" + "0" * 64),
        params={},
        code="0" * 40,
        label="any",
        labels=("any",),
        resources=Resources(),
        priority=5,
        nonce=secrets.token_hex(8),
        requested_by="benchmark",
        requested_at="2026-01-01T00:00:00Z",
    )
    ref = bus.refs.job(JobRef(request.label, request.priority, request.id))
    commit = compose_request(request, when_s=_now_s())
    assert bus.swap([Update(ref, None, commit)]) == (Outcome.WON,)
    return ref


def _ulid() -> str:
    return canonical.make_ulid(time.time_ns() // 1_000_000, secrets.token_bytes(10))


def _now_s() -> int:
    return int(time.time())
