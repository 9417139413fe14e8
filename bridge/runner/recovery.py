"""What others and earlier sessions left: silent claims, and own claims."""

from __future__ import annotations

from collections.abc import Callable

from bridge.bus.chain import Chain
from bridge.bus.endings import compose_reap
from bridge.bus.interface import Bus
from bridge.bus.lease import SilenceWatch
from bridge.bus.remote import Outcome, Update
from bridge.bus.view import Snapshot
from bridge.records import Claim
from bridge.runner.batch import Batch
from bridge.runner.config import RunnerConfig
from bridge.runner.held import HeldJobs
from bridge.runner.queue import Queue
from bridge.runner.steps import Steps
from bridge.runner.trust import Trust, open_trust
from bridge.runner.workspace import job_folder


class Recovery:
    """Gives back what nobody works on, and goes on with what this runner began.

    Args:
        config: the runner's own settings.
        trust: the commit that this session trusts.
        bus: the bus.
        queue: this runner's view of it.
        steps: composes what is pushed.
        say: told each event in one line.
        session: of this runner, now.
    """

    def __init__(
        self,
        config: RunnerConfig,
        trust: Trust,
        bus: Bus,
        queue: Queue,
        steps: Steps,
        say: Callable[[str], None],
        session: str,
    ) -> None:
        self._session = session
        self._config, self._trust, self._bus = config, trust, bus
        self._queue, self._steps, self._say = queue, steps, say
        self._watch = SilenceWatch(config.profile.heartbeat_s)
        self._looked_at_s = float("-inf")

    def look(
        self, batch: Batch, snapshot: Snapshot, held: HeldJobs, now_s: float, *, fresh_s: float
    ) -> None:
        """Go on with own claims of an earlier session; count the silence of other runners.

        Args:
            batch: takes what is given back.
            snapshot: a poll that was just made.
            held: the jobs of this session.
            now_s: this process's monotonic clock.
            fresh_s: see `Heart.fresh_s`.
        """
        if now_s - self._looked_at_s < self._config.profile.heartbeat_s / 2:
            return
        self._looked_at_s = now_s
        claims = []
        for hold in self._queue.held(self._bus, snapshot, held):
            chain, claim = hold.chain, hold.chain.claim
            assert claim is not None
            assert chain.claim_oid is not None
            if claim.runner == self._config.name and claim.session != self._session:
                if chain.ref not in batch:  # else its next step is on the way
                    self._resume(batch, chain, claim, held)
                continue
            claims.append(chain.claim_oid)
            silent_s = self._watch.observe(
                now_s,
                chain.claim_oid,
                hold.mark,
                chain.tip,
                gap_s=hold.heartbeat_s,
                fresh_s=fresh_s,
            )
            if silent_s >= hold.lease_s:
                wished = self._bus.refs.wish(chain.job.id) in snapshot.wishes
                why = f"runner {claim.runner} was silent for {silent_s:.0f} s"
                self._give_back(batch, chain, why, wished=wished)
        self._watch.keep(claims)

    def _resume(self, batch: Batch, chain: Chain, claim: Claim, held: HeldJobs) -> None:
        """Adopt what an earlier session of this runner began; give back what it never began."""
        if job_folder(self._config.state_dir, chain.job.id, claim.attempt).is_dir():
            held.hold(chain, self._trust_of(claim)).adopt(self._logged(chain))
            self._say(f"{chain.job.id}: adopted, attempt {claim.attempt}")
        else:
            why = "its runner was restarted and does not know the job"
            self._give_back(batch, chain, why, wished=False)

    def _give_back(self, batch: Batch, chain: Chain, reason: str, *, wished: bool) -> None:
        commit = compose_reap(chain, reason, self._steps.signer(), wished=wished)

        def settle(outcome: Outcome) -> None:
            self._queue.forget(chain.ref)
            self._say(f"{chain.job.id}: given back ({outcome.value}): {reason}")

        batch.add(Update(chain.ref, chain.tip, commit), settle)

    def _trust_of(self, claim: Claim) -> Trust:
        """The trusted commit that a claim pinned, whatever this session trusts for new ones."""
        if claim.trusted == self._trust.commit:
            return self._trust
        return open_trust(
            self._config.trusted, claim.trusted, self._config.state_dir, allow_edits=True
        )

    def _logged(self, chain: Chain) -> int:
        """Bytes of the attempt's output that the bus has."""
        prefix = f"logs/{chain.attempt}-"
        return sum(
            len(self._bus.read(oid)) for path, oid in chain.files.items() if path.startswith(prefix)
        )
