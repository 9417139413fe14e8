"""What a machine may call itself, told from its hardware and from what its Python can import."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MEMORY_RUNGS_GB = (16, 32, 64, 128, 256, 512)
_SLACK = 0.9  # a machine sold with 64 GB tells some 62


def probe_labels(hardware: Mapping[str, Any], modules: Iterable[str] = ()) -> tuple[str, ...]:
    """Labels of a machine. Pure.

    Args:
        hardware: as `bridge.runner.facts.describe_hardware` tells it.
        modules: what the jobs' interpreter can import.

    Returns:
        `any`; `mac-m4` by Apple's name of the chip; `cuda` and the GPU's short name, such as
        `h200`, where the driver tells one; `mlx` where both `mlx.core` and `mlx_lm` can be
        imported; `mem-64g` for each rung that the memory reaches.
    """
    labels = ["any"]
    chip = re.match(r"Apple M(\d+)", str(hardware.get("cpu", "")))
    if chip and hardware.get("machine") == "arm64":
        labels.append(f"mac-m{chip[1]}")
    accelerators = hardware.get("accelerators", ())
    if accelerators:
        labels.append("cuda")
    labels += [name for item in accelerators if (name := _short_name(str(item.get("name", ""))))]
    if {"mlx.core", "mlx_lm"} <= set(modules):
        labels.append("mlx")
    memory_gb = int(hardware.get("memory_mb", 0)) / 1024
    labels += [f"mem-{rung}g" for rung in MEMORY_RUNGS_GB if memory_gb >= rung * _SLACK]
    return tuple(dict.fromkeys(labels))


def probe_gpus(hardware: Mapping[str, Any]) -> dict[str, int]:
    """`gpus` and `gpu_memory_mb` (each, the smallest) as slots; nothing where there is none."""
    memories = [
        int(float(item["memory_mb"]))
        for item in hardware.get("accelerators", ())
        if re.fullmatch(r"[0-9.]+", str(item.get("memory_mb", "")))
    ]
    return {"gpus": len(memories), "gpu_memory_mb": min(memories)} if memories else {}


def _short_name(name: str) -> str:
    """`h200` of `NVIDIA H200`, `a100` of `NVIDIA A100-SXM4-80GB`; empty for other names."""
    found = re.search(r"\b([ABHL]\d{2,3}S?)\b", name)
    return found[1].lower() if found else ""
