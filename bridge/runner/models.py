"""Accelerators and model paths: what presets will look for on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bridge.findings import FAULT, OK, WARNING, Finding
from bridge.runner.config import RunnerConfig
from presets.catalog import Catalog
from presets.tokens import Source

_GPU_LABEL = re.compile(r"cuda|[abhl][0-9]{2,3}s?")
OFFLINE = (
    "jobs run with HF_HUB_OFFLINE=1, so that a name is never looked up on the hub: a path that is "
    "missing would fail there as an error of the hub"
)


def check_accelerators(config: RunnerConfig, hardware: Mapping[str, Any]) -> Iterator[Finding]:
    """GPUs as the driver tells them, against the labels and the slots."""
    gpus = [str(item.get("name")) for item in hardware.get("accelerators", ())]
    chip = str(hardware.get("cpu", ""))
    promised = [label for label in config.labels if _GPU_LABEL.fullmatch(label)]
    text = ", ".join(gpus) or ("Metal of the " + chip if chip.startswith("Apple") else "no GPU")
    if promised and not gpus:
        yield Finding(
            "gpu",
            FAULT,
            f"no GPU is seen, but the labels say {', '.join(promised)}",
            "run nvidia-smi: mend the driver, or drop the labels from the runner's file",
        )
    elif gpus and config.slots.gpus == 0:
        yield Finding(
            "gpu",
            WARNING,
            f"{text}, but slots.gpus is 0: no job that asks for one is taken",
            f"write into the runner's file: slots: {{gpus: {len(gpus)}, gpu_memory_mb: ...}}",
        )
    elif config.slots.gpus > len(gpus):
        text = f"slots.gpus is {config.slots.gpus}, the driver tells {len(gpus)}"
        yield Finding("gpu", FAULT, text, "correct slots.gpus in the runner's file")
    else:
        yield Finding("gpu", OK, text)
    apple = [label for label in config.labels if label.startswith("mac-m") or label == "mlx"]
    if apple and not chip.startswith("Apple") and "mlx" not in apple:
        text = f"the labels say {', '.join(apple)}, the processor is {chip or 'unknown'}"
        yield Finding("metal", FAULT, text, "drop the labels from the runner's file")


def check_models(
    config: RunnerConfig, catalog: Catalog, env: Mapping[str, str]
) -> Iterator[Finding]:
    """Each variable that a preset of these labels takes a path from."""
    wanted: dict[str, list[str]] = {}
    for preset in catalog.presets.values():
        if not set(preset.labels) <= set(config.labels):
            continue
        for token in preset.inputs.values():
            if token.source is Source.ENV:
                wanted.setdefault(token.text, []).append(preset.name)
    for name, presets in sorted(wanted.items()):
        yield _check_path(name, env.get(name), ", ".join(sorted(presets)))
    if not wanted:
        yield Finding("models", OK, "no preset of these labels takes a path of this machine")


def _check_path(name: str, value: str | None, presets: str) -> Finding:
    if not value:
        return Finding(
            "models",
            WARNING,
            f"{name} is not set: {presets} will fail here",
            f"write into the runner's file: env: {{{name}: /path/to/the/model}}",
        )
    path = Path(value).expanduser()
    if path.is_absolute() and path.exists():
        return Finding("models", OK, f"{name} is {path}")
    what = "is not there" if path.is_absolute() else "is no path of this machine"
    return Finding(
        "models",
        FAULT,
        f"{name} is {value}, which {what}: {presets} will fail here. {OFFLINE[0].upper()}"
        f"{OFFLINE[1:]}",
        "fetch the model to a folder that stays (hf download NAME --local-dir DIR) "
        f"and name that folder as env: {{{name}: DIR}}",
    )
