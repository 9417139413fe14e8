"""The machine as a job sees it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "torch", "transformers", "safetensors", "gguf", "mlx", "mlx-lm")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def describe(folder: Path) -> dict[str, Any]:
    """Facts of this machine; `counts` holds the numbers (None where the OS does not say).

    Args:
        folder: the disk that it lies on is measured.
    """
    disk = shutil.disk_usage(folder)
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "processor": _name_processor(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "packages": _list_packages(),
        "threads": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "accelerators": _list_accelerators(),
        "counts": {
            "cpus": os.cpu_count(),
            "cpus_usable": _count_usable_cpus(),
            "memory_mb": _measure_memory_mb(),
            "disk_free_mb": disk.free // 2**20,
            "load_1m": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        },
    }


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _count_usable_cpus() -> int | None:
    """Cores that the scheduler may use for this process; fewer than there are under a limit."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
    return len(affinity(0)) if affinity is not None else os.cpu_count()


def _measure_memory_mb() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (ValueError, OSError, AttributeError):
        return None


def _list_packages() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _list_accelerators() -> list[dict[str, Any]]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            {
                "kind": "cuda",
                "name": properties.name,
                "memory_mb": properties.total_memory // 2**20,
                "runtime": torch.version.cuda,
            }
        )
    if torch.backends.mps.is_available():
        found.append({"kind": "mps", "name": platform.processor()})
    return found
