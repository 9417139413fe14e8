"""The part of GitHub's REST interface that a comment on a pull request needs, on loopback.

Source: https://docs.github.com/en/rest/issues/comments, .../pulls/pulls, .../commits/statuses.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MAX_BODY = 65_536
BOT = {"login": "github-actions[bot]", "type": "Bot"}


@dataclass
class Hub:
    """What the server holds.

    Attributes:
        repository: the one it knows, `owner/name`.
        token: who may ask.
        address: where it listens, as `GITHUB_API_URL`.
        pulls: open pull requests, as the interface lists them.
        comments: of each pull request, oldest first.
        statuses: as they were set: commit, state, context, description.
    """

    repository: str
    token: str
    address: str = ""
    pulls: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    statuses: list[dict[str, str]] = field(default_factory=list)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Status and JSON of one call."""
        route = path.removeprefix(f"/repos/{self.repository}/")
        if method == "GET" and route == "pulls":
            return 200, [one for one in self.pulls if one["head"]["label"] == query["head"]]
        if found := re.fullmatch(r"issues/(\d+)/comments", route):
            return self._comments(method, int(found[1]), query, body)
        if found := re.fullmatch(r"issues/comments/(\d+)", route):
            return self._edit(method, int(found[1]), body)
        if (found := re.fullmatch(r"statuses/([0-9a-f]{40})", route)) and method == "POST":
            return self._status(found[1], body)
        return 404, {"message": "Not Found"}

    def _status(self, commit: str, body: Any) -> tuple[int, Any]:
        if len(body["description"]) > 140:
            return 422, {"message": "description is too long"}
        self.statuses.append({"commit": commit, **body})
        return 201, body

    def _comments(
        self, method: str, number: int, query: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        kept = self.comments.setdefault(number, [])
        if method == "GET":
            size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
            return 200, kept[(page - 1) * size : page * size]
        if len(body["body"]) > MAX_BODY:
            return 422, {"message": "body is too long"}
        count = sum(len(items) for items in self.comments.values())
        kept.append({"id": count + 1, "user": BOT, "body": body["body"]})
        return 201, kept[-1]

    def _edit(self, method: str, number: int, body: Any) -> tuple[int, Any]:
        every = [item for items in self.comments.values() for item in items]
        found = next((item for item in every if item["id"] == number), None)
        if found is None or method != "PATCH":
            return 404, {"message": "Not Found"}
        if found["user"] != BOT:
            return 403, {"message": "Resource not accessible by integration"}
        found["body"] = body["body"]
        return 200, found


@contextmanager
def serve_hub(repository: str, token: str) -> Iterator[Hub]:
    """The interface of one repository, while the block runs."""
    hub = Hub(repository, token)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PATCH(self) -> None:
            self._answer()

        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                status, answer = 401, {"message": "Bad credentials"}
            else:
                status, answer = hub.answer(self.command, parts.path, query, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Nothing: the tests look at what the server holds."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
