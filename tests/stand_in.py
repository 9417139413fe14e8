"""What every stand-in for `bridge.runner.attempt.Attempt` holds: the claim, and no job yet."""

from __future__ import annotations

from bridge.bus.chain import Chain
from bridge.records import Checkpoint, Claim, Progress, Request, Resources
from bridge.runner.attempt import Surroundings
from bridge.runner.ending import Ended
from presets.definition import Preset


class AttemptStandIn:
    """The bus's side of an attempt; what runs is the subclass's matter."""

    def __init__(self, chain: Chain, preset: Preset, around: Surroundings) -> None:
        assert chain.request is not None
        assert chain.claim is not None
        assert chain.claim_oid is not None
        self.chain, self.preset = chain, preset
        self.claim: Claim = chain.claim
        self.claim_oid: str = chain.claim_oid
        self.request: Request = chain.request
        self.ended: Ended | None = None
        self.cancelled = False
        self.folder = around.config.state_dir / "jobs" / f"{self.request.id}-{self.claim.attempt}"

    @property
    def resources(self) -> Resources:
        """What the job occupies."""
        return self.request.resources

    def take_checkpoint(self) -> Checkpoint | None:
        """None is kept."""
        return None

    def release(self, chain: Chain) -> None:
        """Nothing was kept."""

    def take_progress(self) -> Progress | None:
        """None is reported."""
        return None
