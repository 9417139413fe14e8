"""The few calls to GitHub's REST interface that a check of evidence needs.

Source: https://docs.github.com/en/rest (pulls, issues/comments, commits/statuses). The token goes
to the one address that it was given for: redirects are not followed.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPMessage
from typing import IO, Any

from bridge.canonical import printable
from bridge.errors import BusError, UsageError

BOT = "github-actions[bot]"
MAX_DESCRIPTION = 140
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MAX_PAGES = 20
_TIMEOUT_S = 30.0
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}\Z")


@dataclass(frozen=True, slots=True)
class GitHub:
    """One repository there.

    Attributes:
        api: address of the interface, as `GITHUB_API_URL`.
        server: address that git fetches from, as `GITHUB_SERVER_URL`.
        repository: `owner/name`.
        token: never shown.
    """

    api: str
    server: str
    repository: str
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        for address in (self.api, self.server):
            parts = urllib.parse.urlsplit(address)
            local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
            if parts.scheme != "https" and not local:
                raise UsageError(f"{address!r} is no https address", where="GitHub")
        if not _REPOSITORY.match(self.repository):
            raise UsageError(f"{self.repository!r} is not owner/name", where="GitHub")

    @property
    def clone_url(self) -> str:
        """What git fetches from."""
        return f"{self.server}/{self.repository}"

    def git_settings(self) -> dict[str, str]:
        """Variables by which git shows the token to this server, and to no other."""
        basic = base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{self.server}/.extraheader",
            "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {basic}",
        }

    def find_proposal(self, owner: str, branch: str, commit: str) -> int | None:
        """The number of the open pull request whose head is `commit`, None where it moved on."""
        query = urllib.parse.urlencode(
            {"state": "open", "head": f"{owner}:{branch}", "per_page": 100}
        )
        found = self._call("GET", f"pulls?{query}")
        numbers = [item["number"] for item in found if item["head"]["sha"] == commit]
        return int(numbers[0]) if numbers else None

    def find_comment(self, number: int, marker: str) -> int | None:
        """The id of our own comment with the marker; one that a person wrote is not ours."""
        for page in range(1, _MAX_PAGES + 1):
            items = self._call("GET", f"issues/{number}/comments?per_page=100&page={page}")
            for item in items:
                ours = item["user"]["login"] == BOT and item["user"]["type"] == "Bot"
                if ours and str(item["body"]).startswith(marker):
                    return int(item["id"])
            if len(items) < 100:
                break
        return None

    def write_comment(self, number: int, comment: int | None, text: str) -> None:
        """Replace our comment, or write the first one."""
        if comment is not None:
            self._call("PATCH", f"issues/comments/{comment}", {"body": text})
        else:
            self._call("POST", f"issues/{number}/comments", {"body": text})

    def set_status(self, commit: str, *, context: str, success: bool, description: str) -> None:
        """Success or failure of a commit under a context of ours."""
        body = {"state": "success" if success else "failure", "context": context}
        body["description"] = description[:MAX_DESCRIPTION]
        self._call("POST", f"statuses/{commit}", body)

    def _call(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:
        address = f"{self.api}/repos/{self.repository}/{path}"
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            address,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
                "Content-Type": "application/json",
            },
        )
        try:
            with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read(_MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            told = printable(error.read(2000).decode("utf-8", "replace"), 300)
            raise BusError(
                f"{method} answers {error.code}: {told}",
                where=address,
                remedy="403: the workflow's permissions lack what this call needs",
            ) from error
        except (OSError, ValueError) as error:
            raise BusError(f"{method} failed: {error}", where=address) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002 - the base's signature
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: HTTPMessage,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect())
