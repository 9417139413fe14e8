"""Training that a requeued attempt goes on with: everything a step needs, written at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def write_snapshot(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, texts and lists or dicts of them to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    os.replace(temporary, path)


def read_snapshot(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What `write_snapshot` wrote, None where nothing is; no code is ever loaded with it."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state
