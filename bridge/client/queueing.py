"""Whether a queued job has anybody who may take it, from the heartbeats of one bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bridge.bus.lease import MIN_HEARTBEATS, SilenceWatch
from bridge.bus.profile import Profile
from bridge.git import RefTip
from bridge.records import Decline, Heartbeat

POLICY_REASONS = frozenset({"policy", "preset", "version"})
"""Declines that only the runner's operator, or another request, can change."""
_NEVER_REASONS = POLICY_REASONS | {"label", "resources"}
"""Declines that waiting alone does not lift, as `busy` and `draining` are lifted."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What is known of the runners of a bus, for one job.

    Attributes:
        live: runners not silent for a lease, by name; None where the heartbeat cannot be read.
        declines: why each of them does not take the job, where it says so.
    """

    live: Mapping[str, Heartbeat | None]
    declines: Mapping[str, Decline]

    @property
    def refused(self) -> bool:
        """Whether every live runner declines for good, at least one of them by policy."""
        reasons = {decline.reason for decline in self.declines.values()}
        everyone = bool(self.live) and self.declines.keys() == self.live.keys()
        return everyone and reasons <= _NEVER_REASONS and bool(reasons & POLICY_REASONS)

    def tell(self) -> tuple[str, ...]:
        """One line for each live runner."""
        lines = []
        for name, beat in sorted(self.live.items()):
            decline = self.declines.get(name)
            if decline is not None:
                lines.append(f"{name}: declines ({decline.reason}): {decline.detail}")
            elif beat is not None:
                state = "draining" if beat.facts.draining else "alive"
                lines.append(f"{name}: {state}, {len(beat.claims)} claims held")
        return tuple(lines)


class RunnerWatch:
    """Follows the heartbeats of a bus from poll to poll.

    Args:
        profile: how long a silent runner counts as alive, until its own heartbeat is read.
        read_beat: the record at a heartbeat's tip, None where it cannot be read.
    """

    def __init__(self, profile: Profile, read_beat: Callable[[RefTip], Heartbeat | None]) -> None:
        self._profile = profile
        self._read_beat = read_beat
        self._silence = SilenceWatch(profile.heartbeat_s)
        self._beats: dict[str, tuple[str, Heartbeat | None]] = {}

    def beat_of(self, runner: str, tips: Mapping[str, RefTip]) -> Heartbeat | None:
        """The latest heartbeat of one runner, read only where it has moved."""
        tip = tips.get(runner)
        if tip is None:
            return None
        known = self._beats.get(runner)
        if known is None or known[0] != tip.oid:
            known = (tip.oid, self._read_beat(tip))
            self._beats[runner] = known
        return known[1]

    def observe(self, now_s: float, tips: Mapping[str, RefTip], job_id: str) -> Queue:
        """Note one successful poll; returns what it says of the queued job `job_id`."""
        live: dict[str, Heartbeat | None] = {}
        declines: dict[str, Decline] = {}
        for name, tip in tips.items():
            beat = self.beat_of(name, tips)
            beat_s = max(beat.heartbeat_s if beat else 0.0, self._profile.heartbeat_s)
            silent_s = self._silence.observe(now_s, name, tip.oid, gap_s=beat_s)
            if silent_s >= max(self._profile.lease_s, MIN_HEARTBEATS * beat_s):
                continue
            live[name] = beat
            for decline in beat.declines if beat else ():
                if decline.id == job_id:
                    declines[name] = decline
        return Queue(live, declines)
