"""Telling somebody that a job has ended: a command or a web address of the runner's own file.

Nothing of a request says whom to tell. What is told goes as JSON to the command's stdin or in the
body of a POST; no string of it becomes a word of a command. A notice that cannot be delivered is
said in the runner's log, and nothing else comes of it.
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import proc
from bridge.bus.chain import Chain
from bridge.errors import ExecutorError, KakeyaError
from bridge.states import TERMINAL_EVENTS

STATES = tuple(sorted(event.value for event in TERMINAL_EVENTS))
TRIES = 3
MAX_WAITING = 200
"""Notices that wait; what comes beyond them is dropped, and said."""
_PAUSES_S = (1.0, 5.0)
_WORKERS = 2
_MAX_OUTPUT = 64 * 1024
_DEFAULT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Hook:
    """Whom to tell of which ends.

    Attributes:
        on: the terminal states that are told.
        verdicts: of jobs that were judged, only these; empty for any.
        command: argv of a program that gets the notice on stdin; empty where `webhook` is given.
        webhook: an address that gets it by POST; "" where `command` is given.
        timeout_s: how long one try may take.
    """

    on: tuple[str, ...] = STATES
    verdicts: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    webhook: str = ""
    timeout_s: float = _DEFAULT_TIMEOUT_S

    def wants(self, notice: Mapping[str, Any]) -> bool:
        """Whether this end is told."""
        if notice["state"] not in self.on:
            return False
        return not self.verdicts or notice["verdict"] in self.verdicts

    @property
    def name(self) -> str:
        """What the log calls it: never the whole address, which may hold a secret."""
        if self.command:
            return self.command[0]
        return f"webhook at {urllib.parse.urlsplit(self.webhook).hostname}"


def make_hooks(documents: Sequence[Mapping[str, Any]]) -> tuple[Hook, ...]:
    """The hooks of a runner's file, whose shape the schema has checked."""
    return tuple(
        Hook(
            on=tuple(one.get("on", STATES)),
            verdicts=tuple(one.get("verdicts", ())),
            command=tuple(one.get("command", ())),
            webhook=one.get("webhook", ""),
            timeout_s=float(one.get("timeout_s", _DEFAULT_TIMEOUT_S)),
        )
        for one in documents
    )


def make_notice(chain: Chain, runner: str) -> dict[str, Any]:
    """What is told of a job that has ended: schema `kakeya.notice/1`.

    Args:
        chain: the job.
        runner: who wrote its end.
    """
    result, request = chain.result, chain.request
    assert result is not None
    preset = request.preset.name if request else None
    words = result.state if result.verdict is None else f"{result.state}, verdict {result.verdict}"
    told = f"{preset or 'a job'} {words}"
    return {
        "schema": "kakeya.notice/1",
        "id": chain.job.id,
        "ref": chain.ref,
        "state": result.state,
        "verdict": result.verdict,
        "preset": preset,
        "requested_by": request.requested_by if request else None,
        "runner": runner,
        "attempt": result.attempt,
        "message": result.message,
        "text": f"{told} ({chain.job.id} on {runner}): {result.message}".rstrip(": "),
    }


class Notifier:
    """Delivers notices on threads of its own; nothing waits for them.

    Args:
        hooks: whom to tell.
        say: told what could not be delivered.
        pauses_s: between the tries of one notice.
    """

    def __init__(
        self,
        hooks: Sequence[Hook],
        say: Callable[[str], None],
        *,
        pauses_s: Sequence[float] = _PAUSES_S,
    ) -> None:
        self._hooks, self._say, self._pauses_s = tuple(hooks), say, tuple(pauses_s)
        self._waiting: queue.Queue[tuple[Hook, dict[str, Any]]] = queue.Queue(MAX_WAITING)
        self._stopped = threading.Event()
        self._workers: list[threading.Thread] = []

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def tell(self, notice: dict[str, Any]) -> None:
        """Tell every hook that wants it; returns at once."""
        for hook in self._hooks:
            if not hook.wants(notice):
                continue
            try:
                self._waiting.put_nowait((hook, notice))
            except queue.Full:
                self._say(f"{notice['id']}: not told to {hook.name}: {MAX_WAITING} notices wait")
        while len(self._workers) < min(_WORKERS, self._waiting.qsize()):
            # a daemon: a receiver that never answers does not keep the runner from ending
            self._workers.append(threading.Thread(target=self._work, name="notice", daemon=True))
            self._workers[-1].start()

    def close(self, limit_s: float = 5.0) -> None:
        """Deliver what waits, for at most `limit_s`; then nothing is tried again."""
        done = threading.Thread(target=self._waiting.join, daemon=True)
        done.start()
        done.join(limit_s)
        self._stopped.set()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                hook, notice = self._waiting.get(timeout=1.0)
            except queue.Empty:
                continue
            try:
                self._deliver(hook, notice)
            finally:
                self._waiting.task_done()

    def _deliver(self, hook: Hook, notice: dict[str, Any]) -> None:
        reason = ""
        for number in range(TRIES):
            if number and self._stopped.wait(self._pauses_s[min(number, len(self._pauses_s)) - 1]):
                break
            try:
                run_command(hook, notice) if hook.command else post(hook, notice)
            except _FinalError as error:
                reason = str(error)
                break
            except (KakeyaError, OSError, ValueError, http.client.HTTPException) as error:
                reason = str(error)
            else:
                return
        self._say(f"{notice['id']}: not told to {hook.name}: {reason[:300]}")


class _FinalError(Exception):
    """A receiver said no: it would say so again."""


def run_command(hook: Hook, notice: Mapping[str, Any]) -> None:
    """Run a hook's program with the notice on its stdin.

    Raises:
        MissingPartError: there is no such program.
        ExecutorError: it ran too long, or did not end with 0.
    """
    env = proc.base_env() | {
        f"KAKEYA_{name.upper()}": str(notice[name] or "")
        for name in ("id", "state", "verdict", "preset", "runner")
    }
    done = proc.run(
        hook.command,
        cwd=Path("/"),
        env=env,
        timeout_s=hook.timeout_s,
        input=json.dumps(notice).encode(),
        max_output=_MAX_OUTPUT,
    )
    if done.code != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ExecutorError(f"exit code {done.code}: {lines[-1] if lines else 'silent'}")


def post(hook: Hook, notice: Mapping[str, Any]) -> None:
    """Send the notice to a hook's address; redirects are not followed.

    Raises:
        OSError: no answer in time, or one that may be better next time.
    """
    request = urllib.request.Request(  # noqa: S310 - http or https, by the schema of the file
        hook.webhook,
        data=json.dumps(notice).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "kakeya_remote"},
        method="POST",
    )
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=hook.timeout_s):
            pass
    except urllib.error.HTTPError as error:
        with error:
            if error.code >= 500 or error.code == 429:
                raise OSError(f"it answered {error.code}") from error
            raise _FinalError(f"it answered {error.code}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer that leads elsewhere is an error: the operator named one address."""

    def redirect_request(self, *_: Any) -> None:
        """No other address is asked."""
