"""What this machine is, as far as it can be read without a workload's libraries."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

import psutil

from bridge import proc
from bridge.canonical import digest
from bridge.errors import KakeyaError

_QUERY = "name,driver_version,memory.total,power.limit"


def describe_hardware() -> dict[str, Any]:
    """CPU, memory, accelerators and their drivers; `fingerprint` is the digest of it all."""
    facts: dict[str, Any] = {
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        "threads": psutil.cpu_count() or 1,
        "memory_mb": int(psutil.virtual_memory().total / 2**20),
        "accelerators": _accelerators(),
    }
    return {**facts, "fingerprint": digest(facts)}


def describe_load() -> dict[str, Any]:
    """What else the machine is doing now: load averages, free memory, power source."""
    one, five, _ = os.getloadavg()
    battery = None
    with contextlib.suppress(Exception):  # psutil raises what it likes where /sys is odd
        battery = psutil.sensors_battery()
    return {
        "load_1m": f"{one:.2f}",
        "load_5m": f"{five:.2f}",
        "memory_free_mb": int(psutil.virtual_memory().available / 2**20),
        "power": "unknown" if battery is None else "mains" if battery.power_plugged else "battery",
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return _answer("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or "unknown"


def _accelerators() -> list[dict[str, str]]:
    text = _answer("nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits")
    names = ("name", "driver", "memory_mb", "power_limit_w")
    return [
        dict(zip(names, (cell.strip() for cell in line.split(",")), strict=False))
        for line in text.splitlines()
        if "," in line
    ]


def _answer(*argv: str) -> str:
    try:
        done = proc.run(argv, cwd=Path("/"), env=proc.base_env(), timeout_s=10.0)
    except KakeyaError:
        return ""  # the program is not here: nothing to tell
    return done.stdout.decode("utf-8", "replace").strip() if done.code == 0 else ""
