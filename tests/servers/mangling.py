"""A server between the fast path and a real one that spoils replies; git's own pass untouched."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

HTML = b"<!doctype html><title>Sign in</title><p>Please sign in to go on."


@dataclass
class Reply:
    """What the real server said, to be changed before it is passed on.

    Attributes:
        drip_s: a pause between the bytes of the body, from the first on.
        endless: the body goes on for ever.
        missing: so many bytes are announced and never sent.
    """

    status: int
    kind: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float | None = None
    endless: bool = False
    missing: int = 0


@dataclass
class Mangler:
    """The server in between.

    Attributes:
        address: of the server in between, as that of the real one.
        spoil: what becomes of the exchange of that name: advertise, refs, fetch or push.
        seen, reply_bytes: the name of each exchange of the fast path, and what the server said.
        sent_bytes: what endless replies came to.
        gone: set when the block ends, so that no reply outlives it.
    """

    address: str
    spoil: dict[str, Callable[[Reply], None]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    reply_bytes: list[int] = field(default_factory=list)
    sent_bytes: int = 0
    gone: threading.Event = field(default_factory=threading.Event)


def _name_of(path: str, body: bytes) -> str:
    if path.endswith("git-receive-pack"):
        return "push"
    if "command=ls-refs" in body.decode("latin-1"):
        return "refs"
    return "fetch" if "command=fetch" in body.decode("latin-1") else "advertise"


class _Handler(BaseHTTPRequestHandler):
    """Passes one request on."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._pass_on("GET", None)

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._pass_on("POST", body)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _pass_on(self, verb: str, body: bytes | None) -> None:
        mangler, parts = self.server.mangler, self.server.upstream
        there = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        skipped = {"host", "connection", "content-length", "transfer-encoding"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in skipped}
        there.request(verb, self.path, body, headers)
        found = there.getresponse()
        reply = Reply(found.status, found.headers.get("Content-Type", ""), found.read())
        there.close()
        if self.headers.get("User-Agent") == "git/kakeya":
            name = _name_of(self.path, body or b"")
            mangler.seen.append(name)
            mangler.reply_bytes.append(len(reply.body))
            mangler.spoil.get(name, lambda _: None)(reply)
        with suppress(OSError):
            self._send(reply, mangler)

    def _send(self, reply: Reply, mangler: Mangler) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        if reply.endless:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(reply.body) + reply.missing))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        step = 1 if reply.drip_s else 65_536
        for at in range(0, len(reply.body), step):
            self.wfile.write(reply.body[at : at + step])
            if reply.drip_s:
                mangler.gone.wait(reply.drip_s)
        while reply.endless and not mangler.gone.is_set():
            self.wfile.write(b"x" * 65_536)
            mangler.sent_bytes += 65_536
        self.close_connection = bool(reply.missing or reply.endless)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str, certificate: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream)
        scheme = "https" if certificate else "http"
        port = self.server_address[1]
        self.mangler = Mangler(f"{scheme}://127.0.0.1:{port}{self.upstream.path}")
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what is tested."""


@contextmanager
def mangle(upstream: str, certificate: Path | None = None) -> Iterator[Mangler]:
    """Serve what `upstream` serves, over TLS where a certificate with its key is given."""
    server = _Server(upstream, certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.mangler
    finally:
        server.mangler.gone.set()
        server.shutdown()
        server.server_close()
        thread.join()
