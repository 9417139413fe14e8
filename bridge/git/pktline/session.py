"""One kept-alive connection to a smart HTTP(S) server; every exchange has a bound.

An exchange ends within its seconds however slowly bytes drip, and no reply is read past its
limit. Redirects, proxies and ways to log in other than Basic are left to git.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from bridge.canonical import printable
from bridge.git.pktline import credentials
from bridge.git.pktline.lines import SurpriseError

_STEP = 65_536
_OK, _UNAUTHORIZED = 200, 401


class Session:
    """Exchanges with one repository's address.

    Args:
        url: an http or https address.
        timeout_s: how long one exchange may take.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._url, self._timeout_s = url, timeout_s
        self._host, self._port = parts.hostname or "", parts.port
        self._is_secure = parts.scheme == "https"
        self._path = parts.path.rstrip("/")
        self._connection: http.client.HTTPConnection | None = None
        self._credential: credentials.Credential | None = None

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def advertise(self, service: str, max_bytes: int) -> bytes:
        """What a service says of itself, by protocol 2 where it speaks it."""
        headers = {"Git-Protocol": "version=2"} if service == "git-upload-pack" else {}
        target = f"/info/refs?service={service}"
        return self._exchange("GET", target, f"{service}-advertisement", None, headers, max_bytes)

    def ask(self, service: str, body: bytes, max_bytes: int) -> bytes:
        """The answer of a service.

        Raises:
            SurpriseError: anything but an answer of git's, or more than `max_bytes`.
            TimeoutError: it was not there in time.
        """
        headers = {"Content-Type": f"application/x-{service}-request"}
        headers |= {"Git-Protocol": "version=2"} if service == "git-upload-pack" else {}
        return self._exchange("POST", f"/{service}", f"{service}-result", body, headers, max_bytes)

    def _exchange(
        self,
        verb: str,
        target: str,
        kind: str,
        body: bytes | None,
        headers: dict[str, str],
        max_bytes: int,
    ) -> bytes:
        headers = {**headers, "Accept": f"application/x-{kind}", "User-Agent": "git/kakeya"}
        status, found, data = self._try(verb, target, body, headers, max_bytes)
        if status == _UNAUTHORIZED:
            status, found, data = self._log_in(verb, target, body, headers, max_bytes)
        if status != _OK or found != f"application/x-{kind}":
            what = f"HTTP status {status}, content {printable(found, 60)}"
            raise SurpriseError(f"{what}, instead of {kind}")
        return data

    def _log_in(
        self, verb: str, target: str, body: bytes | None, headers: dict[str, str], max_bytes: int
    ) -> tuple[int, str, bytes]:
        """The exchange again, with what git's helpers know; what they knew before was wrong."""
        if self._credential is not None:
            credentials.reject(self._credential, self._timeout_s)
        self._credential = credentials.fill(self._url, self._timeout_s)
        if self._credential is None:
            raise SurpriseError("the remote asks for a password that no helper knows")
        answer = self._try(verb, target, body, headers, max_bytes)
        if answer[0] == _UNAUTHORIZED:
            credentials.reject(self._credential, self._timeout_s)
            self._credential = None
            raise SurpriseError("the remote does not take the password that a helper gave")
        if answer[0] == _OK:
            credentials.approve(self._credential, self._timeout_s)
        return answer

    def _try(
        self, verb: str, target: str, body: bytes | None, headers: dict[str, str], max_bytes: int
    ) -> tuple[int, str, bytes]:
        if self._credential is not None:
            headers = {**headers, "Authorization": self._credential.header}
        was_open = self._connection is not None
        try:
            return self._send(verb, self._path + target, body, headers, max_bytes)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            # a kept connection may have been closed meanwhile; to swap twice is to swap once
            if not was_open:
                raise SurpriseError(f"the connection broke off: {error}") from error
        try:
            return self._send(verb, self._path + target, body, headers, max_bytes)
        except (http.client.HTTPException, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise SurpriseError(f"the connection broke off: {error}") from error

    def _send(
        self, verb: str, target: str, body: bytes | None, headers: dict[str, str], max_bytes: int
    ) -> tuple[int, str, bytes]:
        connection = self._connection or self._open()
        is_whole = False
        try:
            with _deadline(connection, self._timeout_s):
                connection.request(verb, target, body, headers)
                reply = connection.getresponse()
                data = _read(reply, max_bytes if reply.status == _OK else _STEP)
                is_whole = True
        except (http.client.RemoteDisconnected, TimeoutError, ConnectionError, SurpriseError):
            raise
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise SurpriseError(f"the connection failed: {error}") from error
        finally:
            if is_whole and not reply.will_close:
                self._connection = connection
            else:
                connection.close()
                self._connection = None
        return reply.status, reply.headers.get("Content-Type", ""), data

    def _open(self) -> http.client.HTTPConnection:
        scheme = "https" if self._is_secure else "http"
        proxies = urllib.request.getproxies()
        if (scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(self._host):
            raise SurpriseError("there is a proxy to be used")
        if not self._is_secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        trusted = ssl.create_default_context(cafile=os.environ.get("GIT_SSL_CAINFO"))
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=trusted
        )


def _read(reply: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        SurpriseError: it is longer, or cut off.
    """
    parts, left = [], max_bytes
    while piece := reply.read1(_STEP):
        left -= len(piece)
        if left < 0:
            raise SurpriseError(f"more than {max_bytes} bytes")
        parts.append(piece)
    if reply.length:
        raise SurpriseError("the reply is cut off")
    reply.close()  # else the connection takes no other request
    return b"".join(parts)


@contextmanager
def _deadline(connection: http.client.HTTPConnection, limit_s: float) -> Iterator[None]:
    """Cut the connection when the time is over: a read's own timeout begins anew at each byte.

    Raises:
        TimeoutError: the time was over.
    """
    over = threading.Event()

    def cut() -> None:
        over.set()
        found: socket.socket | None = connection.sock
        if found is not None:
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(limit_s, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if over.is_set():
            raise TimeoutError(f"no answer within {limit_s:g} s") from error
        raise
    finally:
        timer.cancel()
    if over.is_set():
        raise TimeoutError(f"no answer within {limit_s:g} s")
