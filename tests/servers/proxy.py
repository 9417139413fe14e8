"""A line that can be cut: a proxy on loopback in front of one port."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_BLOCK = 65536


class Proxy:
    """Passes bytes on between its own port and another one; see `open_proxy`.

    `mode` is what happens to bytes: `pass`, `hang` (connections are taken, nothing is passed on)
    or `refuse` (connections are closed at once).
    """

    def __init__(self, target: int) -> None:
        self.mode = "pass"
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._open: dict[socket.socket, socket.socket | None] = {}
        self._guard = threading.Lock()
        self._over = False
        threading.Thread(target=self._take, daemon=True).start()

    def cut(self) -> None:
        """Break every connection that is there, with nothing more passed on."""
        with self._guard:
            for line in [*self._open, *(peer for peer in self._open.values() if peer)]:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more connections."""
        self._over = True
        self.mode = "refuse"
        self._server.close()
        self.cut()

    def _take(self) -> None:
        while not self._over:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            if self.mode == "refuse":
                line.close()
            else:
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        peer = None
        try:
            with self._guard:
                self._open[line] = None
            if self.mode == "pass":
                peer = socket.create_connection(("127.0.0.1", self._target), 10)
                with self._guard:
                    self._open[line] = peer
            self._pass_on(line, peer)
        except OSError:
            pass
        finally:
            with self._guard:
                self._open.pop(line, None)
            for end in (line, peer):
                if end is not None:
                    end.close()

    def _pass_on(self, line: socket.socket, peer: socket.socket | None) -> None:
        with selectors.DefaultSelector() as chosen:
            chosen.register(line, selectors.EVENT_READ, peer)
            if peer is not None:
                chosen.register(peer, selectors.EVENT_READ, line)
            while not self._over:
                for key, _ in chosen.select(0.2):
                    assert isinstance(key.fileobj, socket.socket)
                    block = key.fileobj.recv(_BLOCK)
                    if not block:
                        return
                    if self.mode == "pass" and key.data is not None:
                        key.data.sendall(block)


@contextmanager
def open_proxy(target: int) -> Iterator[Proxy]:
    """A proxy in front of a port of loopback while the block runs."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
