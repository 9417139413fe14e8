"""Headless Chromium driven through its DevTools protocol, with no package but Python's own.

Source: https://chromedevtools.github.io/devtools-protocol/, RFC 6455 (the client's half).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bridge import proc
from tests.servers.child import find_program
from tests.waiting import until

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_ANSWER_S = 120.0


class Page:
    """One tab, and every request that it made.

    Attributes:
        requests: address of each request, the page's own first.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._buffer = b""
        self._count = 0
        self._events: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self._session = ""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(item["targetId"] for item in targets if item["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one command."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._send(json.dumps(message).encode())
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found
            self._note(answer)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, waited for where it is a promise."""
        options = {"awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, address: str, *, width: int, height: int, theme: str) -> None:
        """Load a page at a size and in a colour scheme, until it has fired `load`."""
        self.requests.clear()
        self._events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._note(self._receive())

    def screenshot(self, *, whole: bool = False, height: int | None = None) -> bytes:
        """A PNG of the window, or of the whole page, at most `height` pixels of it."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        tall = min(size["height"], height or size["height"])
        clip = {"x": 0, "y": 0, "width": size["width"], "height": tall, "scale": 1}
        options = {"captureBeyondViewport": True, "clip": clip} if whole or height else {}
        return base64.b64decode(
            self.call("Page.captureScreenshot", format="png", **options)["data"]
        )

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])

    def _send(self, data: bytes) -> None:
        mask = os.urandom(4)
        size = len(data)
        if size < 126:
            head = struct.pack("!BB", 0x81, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x81, 0x80 | 127, size)
        repeated = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size)
        self._stream.sendall(head + mask + masked)

    def _receive(self) -> dict[str, Any]:
        parts = b""
        while True:
            first, second = self._read(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", self._read(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self._read(8))
            data = self._read(size)
            assert first & 0x0F in (0, 1, 2, 9), f"frame {first:#x}: {data[:200]!r}"
            if first & 0x0F == 9:
                continue  # a ping: the browser on loopback does not insist on its answer
            parts += data
            if first & 0x80:
                found: dict[str, Any] = json.loads(parts)
                return found

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            more = self._stream.recv(1 << 20)
            assert more, "the browser hung up"
            self._buffer += more
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """One empty tab of a browser with a profile of its own, ended when the block ends."""
    program = find_program("chromium")
    assert program is not None
    profile = folder / "profile"
    argv = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    env = {**proc.base_env(), "HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    process = proc.spawn(argv, cwd=folder, env=env, stdout=folder / "chromium.log")
    try:
        note = profile / "DevToolsActivePort"

        def listening() -> list[str] | None:
            assert process.poll() is None, (folder / "chromium.log").read_text()
            lines = note.read_text().splitlines() if note.is_file() else []
            return lines if len(lines) == 2 else None

        lines = until(listening, bound_s=60, what="chromium listening")
        assert lines is not None
        with contextlib.closing(_connect(int(lines[0]), lines[1])) as stream:
            yield Page(stream)
    finally:
        proc.kill_group(process.pid)
        process.wait()


def _connect(port: int, path: str) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port), _ANSWER_S)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket"]
    lines += ["Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
    stream.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        assert byte, head
        head += byte
    assert b" 101 " in head, head
    return stream
