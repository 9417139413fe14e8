"""How fast a bus is used: three profiles, each a set of intervals in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.errors import UsageError


@dataclass(frozen=True, slots=True)
class Profile:
    """The clocks of a bus.

    Attributes:
        heartbeat_s: a runner pushes a sign of life at least this often.
        lease_s: silence after which others may reap a claim; at least five heartbeats.
        poll_min_s, poll_max_s: bounds of a poller's back-off.
        log_s: a chunk of log is pushed at most this often.
        push_gap_s: least time between two pushes of one runner.
        shared_gap: the gap is times the live runners, where the host counts them all together.
        network_timeout_s: hard limit of one git command on the network.
    """

    name: str
    heartbeat_s: float
    lease_s: float
    poll_min_s: float
    poll_max_s: float
    log_s: float
    push_gap_s: float
    network_timeout_s: float
    shared_gap: bool = False

    def gap_s(self, runners: int) -> float:
        """Least time between two pushes of one runner among so many live ones."""
        return self.push_gap_s * (max(1, runners) if self.shared_gap else 1)


PROFILES: dict[str, Profile] = {
    "local": Profile("local", 1.0, 8.0, 0.02, 0.5, 1.0, 0.0, 30.0),
    "self-hosted": Profile("self-hosted", 5.0, 30.0, 0.05, 2.0, 5.0, 1.0, 120.0),
    # GitHub advises at most 6 pushes a minute for a whole repository
    "github": Profile("github", 60.0, 360.0, 1.0, 5.0, 60.0, 20.0, 300.0, shared_gap=True),
}


def choose_profile(name: str | None, url: str) -> Profile:
    """The profile called `name`, or the one that suits the address.

    Raises:
        UsageError: no profile has that name.
    """
    if name is None:
        if "github.com" in url:
            name = "github"
        else:
            name = "self-hosted" if "://" in url or "@" in url else "local"
    if name not in PROFILES:
        raise UsageError(
            f"no profile is called {name!r}",
            where="profile",
            remedy=f"use one of {', '.join(PROFILES)}",
        )
    return PROFILES[name]
