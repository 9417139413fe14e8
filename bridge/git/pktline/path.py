"""The way to one remote over smart HTTP: what it can do, and a rest after a surprise."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.git.answers import PushReply
from bridge.git.pktline import messages
from bridge.git.pktline.lines import SurpriseError
from bridge.git.pktline.messages import Capabilities, Row
from bridge.git.pktline.pack import build_pack, parse_pack
from bridge.git.pktline.session import Session
from bridge.git.settings import load_library, make_environment
from bridge.objects import GitObject

REST_S = 60.0
"""How long git alone is used after a surprise."""
COMMITS = "tree:0"

# what a person told git of the way to a server, and this path cannot do
_SPECIAL = ("http.", "https.", "url.", "protocol.")
_HARMLESS = ("http.postbuffer", "http.lowspeedlimit", "http.lowspeedtime", "http.maxrequests")


@dataclass(frozen=True, slots=True)
class Wish:
    """How a fetch is meant, see `Git.fetch`."""

    depth: int | None
    object_filter: str
    known: tuple[str, ...]
    max_bytes: int | None
    prune: bool


class FastPath:
    """The way to one remote, for all clones of a bus; it rests after a surprise.

    Args:
        url: the remote's address.
        timeout_s: how long one exchange may take.
        monotonic: seconds that never run backwards.

    Attributes:
        surprises: why it rested lately, latest last.
        max_reply_bytes, max_object_bytes: what one reply, and the objects in it, may hold; more is
            fetched by git.
        max_held_bytes: what a clone keeps in memory before it is begun again.
    """

    def __init__(
        self, url: str, timeout_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.surprises: list[str] = []
        self.max_reply_bytes, self.max_object_bytes = 32 * 2**20, 128 * 2**20
        self.max_held_bytes = 64 * 2**20
        self._session = Session(url, timeout_s)
        self._timeout_s, self._monotonic = timeout_s, monotonic
        self._capabilities: Capabilities | None = None
        self._pushes: frozenset[str] | None = None
        self._rests_until_s = float("-inf")
        self._is_plain: bool | None = None

    @classmethod
    def to(cls, url: str, timeout_s: float) -> FastPath | None:
        """The fast path to `url`, None where there can be none."""
        return cls(url, timeout_s) if url.startswith(("http://", "https://")) else None

    @property
    def rests(self) -> bool:
        """Whether git alone should be used now."""
        if self._is_plain is None:
            self._is_plain = not _special_settings(self._timeout_s)
        return not self._is_plain or self._monotonic() < self._rests_until_s

    def rest(self, why: str) -> None:
        """Let git do it for a while."""
        self.surprises = [*self.surprises[-9:], why]
        self._rests_until_s = self._monotonic() + REST_S
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def list_refs(self, prefixes: Sequence[str]) -> dict[str, str]:
        """Every ref of the remote that begins with one of `prefixes`."""
        request = messages.ask_refs(self._upload(), prefixes)
        reply = self._session.ask("git-upload-pack", request, self.max_reply_bytes)
        return messages.parse_refs(reply)

    def fetch(self, wants: Sequence[str], wish: Wish, haves: Sequence[str]) -> dict[str, GitObject]:
        """The objects behind `wants` that are not behind `haves`, by id."""
        request = messages.ask_objects(
            self._upload(), wants, haves, depth=wish.depth, object_filter=wish.object_filter
        )
        limit = min(self.max_reply_bytes, wish.max_bytes or self.max_reply_bytes)
        reply = self._session.ask("git-upload-pack", request, limit)
        found = parse_pack(messages.parse_objects(reply), max_bytes=self.max_object_bytes)
        if not found.keys() >= set(wants):
            raise SurpriseError("the remote did not send what was asked for")
        return found

    def push(self, rows: Sequence[Row], objects: Sequence[GitObject], *, atomic: bool) -> PushReply:
        """Swap `rows`, with `objects` that the remote may not have yet."""
        if atomic and "atomic" not in self._receive():
            raise SurpriseError("the remote knows no atomic push")
        pack = build_pack(objects) if any(new for _, _, new in rows) else b""
        request = messages.ask_push(rows, pack, atomic=atomic)
        reply = self._session.ask("git-receive-pack", request, self.max_reply_bytes)
        return messages.parse_push_reply(reply, rows)

    def _upload(self) -> Capabilities:
        if self._capabilities is None:
            said = self._session.advertise("git-upload-pack", self.max_reply_bytes)
            self._capabilities = messages.parse_capabilities(said)
        return self._capabilities

    def _receive(self) -> frozenset[str]:
        """What the other service can do; a server may leave out what it does not know."""
        if self._pushes is None:
            said = self._session.advertise("git-receive-pack", self.max_reply_bytes)
            self._pushes = messages.parse_push_capabilities(said)
        return self._pushes


def _special_settings(timeout_s: float) -> bool:
    """Whether a person told git something of the way that only git knows how to heed."""
    git = load_library().Git(str(Path.home()))
    git.update_environment(**make_environment())
    _, out, _ = git.execute(
        [git.GIT_PYTHON_GIT_EXECUTABLE, "config", "--null", "--name-only", "--list"],
        with_extended_output=True,
        with_exceptions=False,
        kill_after_timeout=timeout_s,
    )
    names = [name.lower() for name in str(out).split("\0")]
    return any(name.startswith(_SPECIAL) and name not in _HARMLESS for name in names)
