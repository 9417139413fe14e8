"""What a service tells the system that started it: ready, alive, stopping. Source: sd_notify(3)."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
import time
from collections.abc import Mapping

BEATS = 4
"""Signs of life within one watchdog interval."""


class Notice:
    """Signs of life of one process; without a service manager nothing is said.

    systemd is told by datagrams to `NOTIFY_SOCKET`. Where `KAKEYA_WATCHDOG_S` is set (launchd has
    no watchdog), the process ends itself, with the stack of every thread on stderr, once `beat`
    was not called for so long.

    Args:
        env: the environment; the variables are left in place, jobs are started without them.
        pid: this process's number: signs of life are asked of one process alone.
    """

    def __init__(self, env: Mapping[str, str], pid: int) -> None:
        self._address = env.get("NOTIFY_SOCKET", "")
        self._self_watch_s = _seconds(env.get("KAKEYA_WATCHDOG_S"), 1.0)
        asked = env.get("WATCHDOG_PID", str(pid)) == str(pid)
        watchdog_s = _seconds(env.get("WATCHDOG_USEC"), 1e6) if asked else 0.0
        bounds = [bound for bound in (watchdog_s, self._self_watch_s) if bound]
        self._every_s = min(bounds) / BEATS if bounds else 0.0
        self._at_s = float("-inf")

    def ready(self) -> None:
        """It serves."""
        self._send("READY=1\nSTATUS=serving")

    def beat(self) -> None:
        """Its loop turns; cheap to call, since most calls say nothing."""
        now_s = time.monotonic()
        if not self._every_s or now_s - self._at_s < self._every_s:
            return
        self._at_s = now_s
        self._send("WATCHDOG=1")
        if self._self_watch_s:
            faulthandler.dump_traceback_later(self._self_watch_s, exit=True, file=2)

    def stopping(self, why: str) -> None:
        """It is about to end."""
        self._send(f"STOPPING=1\nSTATUS={why}")

    def close(self) -> None:
        """Watch no more."""
        if self._self_watch_s:
            faulthandler.cancel_dump_traceback_later()

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        # a manager that does not listen must not stop the runner
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.settimeout(1.0)
            one.sendto(text.encode(), address)


def _seconds(text: str | None, scale: float) -> float:
    try:
        return max(0.0, float(text or 0) / scale)
    except ValueError:
        return 0.0


def open_notice() -> Notice:
    """The notice of this process."""
    return Notice(os.environ, os.getpid())
