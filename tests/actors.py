"""Clients and runners reduced to the moves that they make on a bus."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge.bus.chain import Chain
from bridge.bus.commits import compose_request, compose_step, requester_identity, runner_identity
from bridge.bus.profile import PROFILES, Profile
from bridge.bus.refs import JobRef, Refs
from bridge.bus.remote import Outcome, Update
from bridge.bus.requester import RequesterBus
from bridge.objects import Prepared
from bridge.records import BusIdentity
from bridge.states import Event
from tests import samples

WHEN_S = samples.START_MS // 1000
FAST = replace(PROFILES["local"], network_timeout_s=20.0)


def open_bus(
    url: str, cache: Path, *, root: str | None = None, profile: Profile = FAST, init: bool = True
) -> RequesterBus:
    """A bus with a cache of its own; made on the remote first where `init` says so."""
    fast = os.environ.get("KAKEYA_FAST_PATH") != "false"  # as the transport's variables say
    bus = RequesterBus(url, cache, refs=Refs(root) if root else Refs(), profile=profile, fast=fast)
    if init:
        bus.create_identity(BusIdentity(samples.make_id(), "2026-01-02T03:04:05Z"), WHEN_S)
    return bus


@dataclass
class Actor:
    """Somebody at one bus: every move is composed from what the bus says at that moment."""

    bus: RequesterBus
    name: str = "mac-m4"

    def submit(self, **changes: Any) -> str:
        """Push a request; returns its ref."""
        request = samples.make_request(self.bus.identity().id, **changes)
        ref = self.bus.refs.job(JobRef(request.label, request.priority, request.id))
        commit = compose_request(request, when_s=WHEN_S)
        assert self.bus.swap([Update(ref, None, commit)]) == (Outcome.WON,)
        return ref

    def compose(
        self,
        chain: Chain,
        event: Event,
        record: Any = None,
        *,
        files: Mapping[str, bytes] | None = None,
    ) -> Prepared:
        """The commit of one step, with the usual record where none is given."""
        by_client = event in (Event.CANCELLED, Event.EXPIRED)
        author = requester_identity("alice") if by_client else runner_identity(self.name)
        return compose_step(
            chain,
            event,
            record or self._usual(chain, event),
            author=author,
            when_s=WHEN_S,
            files=files,
        )

    def step(self, chain: Chain, event: Event, record: Any = None, **options: Any) -> Outcome:
        """Compose a step from `chain` and swap it in."""
        commit = self.compose(chain, event, record, **options)
        (outcome,) = self.bus.swap([Update(chain.ref, chain.tip, commit)])
        return outcome

    def advance(self, ref: str, *events: Event) -> Chain:
        """Win every one of `events` on the job, each from a fresh look; returns the last look."""
        for event in events:
            assert self.step(self.bus.load(ref), event) is Outcome.WON
        return self.bus.load(ref)

    def _usual(self, chain: Chain, event: Event) -> Any:
        if event is Event.CLAIM:
            return samples.make_claim(chain, self.name)
        if event is Event.LOG:
            return samples.make_log(chain)
        if event is Event.REQUEUE:
            return samples.make_requeue(chain, self.name)
        return samples.make_result(chain, event, by=self.name)
