"""Disk, memory and clock of a runner's machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bridge.findings import FAULT, OK, WARNING, Finding
from bridge.runner.config import RunnerConfig

LOW_DISK_MB, NO_DISK_MB = 10 * 1024, 1024
LOW_MEMORY_SHARE = 0.1
STALLED_SHARE = 10.0
"""Percent of a minute in which something waited for memory (Linux pressure stall information)."""
SKEW_S = 30.0
_PRESSURE = Path("/proc/pressure/memory")
_ASK_S = 10.0


def check_disk(config: RunnerConfig) -> Iterator[Finding]:
    """Room below each of the runner's folders; one finding for each disk that is short of it."""
    seen: set[int] = set()
    worst = None
    for name in ("state_dir", "cache_dir", "assets_dir"):
        folder = _existing(getattr(config, name))
        device = folder.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        free_mb = shutil.disk_usage(folder).free // 2**20
        worst = free_mb if worst is None else min(worst, free_mb)
        if free_mb < LOW_DISK_MB:
            level = FAULT if free_mb < NO_DISK_MB else WARNING
            text = f"{free_mb} MiB are free at {folder} ({name}); jobs and results need room"
            remedy = f"free some there, or put {name} on another disk; cache_dir may be deleted"
            yield Finding("disk", level, text, remedy)
    if worst is not None and worst >= LOW_DISK_MB:
        yield Finding("disk", OK, f"{worst // 1024} GiB free")


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def check_memory() -> Finding:
    """Whether jobs would start on a machine that is short of memory already."""
    memory = psutil.virtual_memory()
    free_mb, total_mb = memory.available // 2**20, memory.total // 2**20
    stalled = read_pressure()
    text = f"{free_mb} of {total_mb} MiB free"
    if stalled is not None:
        text += f"; {stalled:g} % of the last minute something waited for memory"
    if free_mb < total_mb * LOW_MEMORY_SHARE or (stalled or 0.0) > STALLED_SHARE:
        remedy = "end what else runs here, or lower slots.memory_mb"
        return Finding("memory", WARNING, text, remedy)
    return Finding("memory", OK, text)


def read_pressure(path: Path = _PRESSURE) -> float | None:
    """Percent of the last minute in which some process waited for memory; None where not told."""
    try:
        words = path.read_text("utf-8").split()
        return float(next(word for word in words if word.startswith("avg60=")).split("=")[1])
    except (OSError, StopIteration, ValueError):
        return None


def check_clock(bus: str, wall_s: Callable[[], float]) -> Finding:
    """How far this clock is from the remote's. Only told: nothing is ever decided by it."""
    remote_s = remote_time_s(bus)
    if remote_s is None:
        return Finding("clock", OK, "the remote tells no time (only HTTP does); none is needed")
    skew_s = wall_s() - remote_s
    text = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the remote"
    if abs(skew_s) > SKEW_S:
        return Finding(
            "clock",
            WARNING,
            f"{text}; dates in records will be wrong, leases are not touched",
            "set the clock by the network: timedatectl set-ntp true, or sntp on macOS",
        )
    return Finding("clock", OK, text)


def remote_time_s(bus: str) -> float | None:
    """Unix seconds in the `Date` of an HTTP answer (RFC 9110, 6.6.1), whatever the answer is."""
    import http.client

    parts = urlsplit(bus)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        return None
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=_ASK_S)
    try:
        connection.request("HEAD", parts.path or "/")
        date = connection.getresponse().getheader("Date")
        when = parsedate_to_datetime(date) if date else None
    except (OSError, ValueError, http.client.HTTPException):
        return None  # the check of the bus tells what is wrong there
    finally:
        connection.close()
    if when is None:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
