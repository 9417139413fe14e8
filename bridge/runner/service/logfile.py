"""What a runner says, in a file that never grows without end."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_BYTES = 5 * 2**20
KEPT = 4
"""Files of former words beside the one that is written: 25 MiB in all."""


class _Handler(RotatingFileHandler):
    """Rotates, and leads this process's stderr into the file of the moment."""

    def _open(self):  # type: ignore[no-untyped-def]  # the base class's own stream type
        stream = super()._open()
        os.dup2(stream.fileno(), 2)  # tracebacks and the watchdog's last words belong here too
        return stream


def open_log(path: Path, *, max_bytes: int = MAX_BYTES) -> Callable[[str], None]:
    """A `say` that writes dated lines to `path`; stderr goes there as well from now on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _Handler(path, maxBytes=max_bytes, backupCount=KEPT, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.Logger("kakeya_remote.runner", logging.INFO)
    logger.addHandler(handler)

    def say(line: str) -> None:
        logger.info("%s", line)

    return say
