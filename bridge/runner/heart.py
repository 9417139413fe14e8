"""The runner's heartbeat: one ref on the bus, moved by this session alone."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from bridge.bus.commits import compose_note, runner_identity
from bridge.bus.interface import Bus
from bridge.bus.remote import Outcome, Update
from bridge.bus.view import Snapshot
from bridge.errors import KakeyaError, RefusedError
from bridge.objects import Prepared
from bridge.records import Decline, Facts, Heartbeat, Held
from bridge.runner.config import RunnerConfig
from bridge.runner.outbox import write_synced


class Heart:
    """Beats for one session.

    Args:
        config: the runner's name and profile.
        bus: where it beats.
        wall: Unix seconds, for the commit's date alone.
    """

    def __init__(self, config: RunnerConfig, bus: Bus, wall: Callable[[], float]) -> None:
        self.session = secrets.token_hex(8)
        self.ref = bus.refs.heartbeat(config.name)
        self._config, self._bus, self._wall = config, bus, wall
        self._note: Path = config.state_dir / "session"
        self._sequence = 0
        self._tip: str | None = None
        self._at_s = float("-inf")
        self._composed_s = float("-inf")
        self._listed: frozenset[str] = frozenset()

    def take_over(self, pause: Callable[[float], None]) -> None:
        """Find whether another live session beats under this name; if none does, follow it.

        Raises:
            RefusedError: one does.
        """
        tip = self._bus.peek(self.ref)
        if tip is not None and not self._is_own_past():
            # the other's own pace says how long a living session may be silent
            pause(2 * self._pace_s())
            later = self._bus.peek(self.ref)
            if later is not None and later.oid != tip.oid:
                raise self._taken()
        self._tip = tip.oid if tip else None
        write_synced(self._note, self.session.encode())

    def due(self, now_s: float, claims: Mapping[str, str]) -> bool:
        """Whether it is time to beat: the interval is over, or a claim is not listed yet.

        One that is held no more may stay listed until the next beat: its job has moved on, and a
        push for that alone would keep the next job waiting.
        """
        is_unlisted = not self._listed.issuperset(claims.values())
        return is_unlisted or now_s - self._at_s >= self._config.profile.heartbeat_s

    def fresh_s(self, snapshot: Snapshot) -> float:
        """Monotonic seconds: the snapshot shows the bus as it was then, or later.

        Read your own writes: a poll that shows this runner's last beat was answered after that
        beat had been made; one that does not may show the bus of any time.
        """
        shown = snapshot.heartbeats.get(self.ref)
        if shown is None or shown.oid != self._tip:
            return float("-inf")
        return self._composed_s

    def compose(
        self, facts: Facts, claims: Mapping[str, str], declines: tuple[Decline, ...]
    ) -> Update:
        """The next beat, listing claims as job id to claim oid."""
        self._sequence += 1
        record = Heartbeat(
            runner=self._config.name,
            session=self.session,
            sequence=self._sequence,
            nonce=secrets.token_hex(8),
            heartbeat_s=self._config.profile.heartbeat_s,
            facts=facts,
            claims=tuple(Held(job_id, oid) for job_id, oid in claims.items()),
            declines=declines,
        )
        commit = compose_note(
            "heartbeat.json",
            record,
            f"heartbeat {self._sequence}, {len(claims)} held",
            runner_identity(self._config.name),
            int(self._wall()),
        )
        return Update(self.ref, self._tip, commit)

    def settle(
        self,
        update: Update,
        outcome: Outcome,
        now_s: float,
        claims: Mapping[str, str],
        *,
        composed_s: float,
    ) -> None:
        """Take note of what became of a beat that was composed at `composed_s`.

        Raises:
            RefusedError: another session moved the ref: this one has lost its name.
        """
        commit: Prepared | None = update.new
        assert commit is not None
        if outcome is Outcome.WON:
            self._tip, self._at_s, self._composed_s = commit.oid, now_s, composed_s
            self._listed = frozenset(claims.values())
        elif outcome is Outcome.LOST:
            tip = self._bus.peek(self.ref)
            if tip is not None and self._session_at() != self.session:
                raise self._taken()
            self._tip = tip.oid if tip else None  # somebody deleted it: begin anew

    def _is_own_past(self) -> bool:
        try:
            return self._session_at() == self._note.read_text("utf-8")
        except OSError:
            return False

    def _session_at(self) -> str | None:
        try:
            return self._bus.load_heartbeat(self.ref).session
        except KakeyaError:
            return None  # no heartbeat that anybody could have written on purpose

    def _pace_s(self) -> float:
        try:
            return self._bus.load_heartbeat(self.ref).heartbeat_s
        except KakeyaError:
            return self._config.profile.heartbeat_s

    def _taken(self) -> RefusedError:
        return RefusedError(
            f"another live session has the name {self._config.name} on this bus",
            where=self.ref,
            remedy="stop that runner, or give this one a name of its own",
        )
