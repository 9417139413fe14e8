"""A runner's own file, written once for a machine that has none."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge.runner.outbox import write_synced

_HEAD = """\
# What this runner is and may run. It is yours: nothing rewrites it. docs/operators.md says what
# each key means.
"""


def compose_settings(
    *,
    name: str,
    bus: str,
    labels: Sequence[str],
    checkout: Path,
    gpus: Mapping[str, int],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """The settings of a new runner. Its name is a label too, so that one machine can be asked.

    Args:
        name: the runner's name on the bus.
        bus: address or absolute path.
        labels: given or probed.
        checkout: the trusted checkout.
        gpus: `gpus` and `gpu_memory_mb`, where there are any.
        more: other keys of the file.
    """
    document: dict[str, Any] = {
        "name": name,
        "bus": bus,
        "labels": list(dict.fromkeys((*labels, name))),
        "trusted": {"checkout": str(checkout)},
        **more,
    }
    return {**document, "slots": dict(gpus)} if gpus else document


def write_settings(path: Path, document: Mapping[str, Any]) -> None:
    """Write the file, readable by its owner alone; it must not be there yet."""
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    text = _HEAD + yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)
    write_synced(path, text.encode())
    os.chmod(path, 0o600)
