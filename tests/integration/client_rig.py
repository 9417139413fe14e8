"""A client, a bus, and a scripted runner: what the tests of the client share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bridge import canonical, proc, records, wire
from bridge.bus.chain import Chain
from bridge.bus.commits import compose_note, runner_identity
from bridge.bus.profile import PROFILES
from bridge.bus.refs import Refs
from bridge.bus.remote import Outcome as Swap
from bridge.bus.remote import Update
from bridge.client.api import Client
from bridge.client.checkout import find_checkout
from bridge.client.outcomes import JobStatus
from bridge.client.settings import Settings
from bridge.clock import Clock
from bridge.objects import Prepared
from bridge.records import ArtifactRef, Decline, Facts, Heartbeat, Held, Progress, Resources
from bridge.states import Event
from tests import samples
from tests.actors import WHEN_S, Actor, open_bus
from tests.lab import REPO, commit_all, git_in

PROFILE = replace(PROFILES["local"], network_timeout_s=20.0)


START_S = 1_000.0


class TurnedClock:
    """A clock that moves only when somebody pauses; each pause plays the next step of a script."""

    def __init__(self) -> None:
        self.now_s = START_S
        self.script: list[Callable[[], object]] = []
        self.every: Callable[[], object] | None = None

    @property
    def clock(self) -> Clock:
        """The clock as a client takes it."""
        return Clock(
            wall_s=lambda: WHEN_S + self.now_s - START_S,
            monotonic_s=lambda: self.now_s,
            pause=self._pause,
        )

    def _pause(self, seconds: float) -> None:
        self.now_s += seconds
        if self.script:
            self.script.pop(0)()
        if self.every is not None:
            self.every()


@dataclass
class Listener:
    """A watcher that keeps what it was told."""

    states: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    open: bool = False

    def begin(self) -> None:
        self.open = True

    def end(self) -> None:
        self.open = False

    def update(self, status: JobStatus) -> None:
        self.states.append(str(status.state))

    def note(self, text: str) -> None:
        self.notes.append(text)


class ScriptedRunner(Actor):
    """A runner reduced to its moves, each of them through the real bus."""

    session = "5" * 16
    sequence = 0
    trusted = samples.NOBODY

    def beat(
        self,
        *,
        claims: Sequence[Held] = (),
        declines: Sequence[Decline] = (),
        trusted: str | None = None,
    ) -> None:
        """Push a sign of life."""
        self.trusted = trusted or self.trusted
        self.sequence += 1
        beat = Heartbeat(
            self.name,
            self.session,
            self.sequence,
            samples.make_nonce(),
            PROFILE.heartbeat_s,
            make_facts(self.trusted),
            tuple(claims),
            tuple(declines),
        )
        commit = compose_note(
            "heartbeat.json", beat, "heartbeat", runner_identity(self.name), WHEN_S
        )
        ref = self.bus.refs.heartbeat(self.name)
        tip = self.bus.peek(ref)
        update = Update(ref, tip.oid if tip else None, commit)
        assert self.bus.swap([update]) == (Swap.WON,)

    def claim(self, ref: str, **changes: Any) -> Chain:
        """Claim a job and beat, listing the claim."""
        chain = self.bus.load(ref)
        record = samples.make_claim(chain, self.name, session=self.session, **changes)
        assert self.step(chain, Event.CLAIM, record) is Swap.WON
        chain = self.bus.load(ref)
        assert chain.claim_oid is not None
        self.beat(claims=[Held(chain.job.id, chain.claim_oid)])
        return chain

    def log(self, ref: str, data: bytes, progress: Progress | None = None) -> None:
        """Commit a chunk of output."""
        chain = self.bus.load(ref)
        record = samples.make_log(chain, data, progress=progress)
        name = f"logs/{chain.attempt}-{record.sequence:06d}.txt"
        assert self.step(chain, Event.LOG, record, files={name: data}) is Swap.WON

    def finish(
        self,
        ref: str,
        event: Event = Event.DONE,
        *,
        verdict: str | None = "pass",
        artifacts: Mapping[str, bytes] | None = None,
        files: Mapping[str, bytes] | None = None,
        **changes: Any,
    ) -> None:
        """Commit the result, with evidence where there is a verdict."""
        found = dict(files or {})
        named = dict(artifacts or {})
        evidence = make_evidence(verdict) if verdict and event is Event.DONE else None
        if evidence is not None:
            found["evidence.json"] = evidence
        found |= {f"artifacts/{path}": data for path, data in named.items()}
        chain = self.bus.load(ref)
        values: dict[str, Any] = {
            "by": self.name,
            "verdict": verdict if evidence else None,
            "evidence": canonical.digest_bytes(evidence) if evidence else None,
            "artifacts": tuple(
                ArtifactRef(path, canonical.digest_bytes(data), len(data))
                for path, data in named.items()
            ),
            **changes,
        }
        record = samples.make_result(chain, event, **values)
        assert self.step(chain, event, record, files=found) is Swap.WON

    def push(self, ref: str, commit: Prepared, old: str) -> None:
        """Swap in a commit of any make."""
        assert self.bus.swap([Update(ref, old, commit)]) == (Swap.WON,)


def make_facts(trusted: str) -> Facts:
    """What a runner of the tests says of itself."""
    return Facts(
        labels=("any",),
        resources=Resources(4, 4096),
        free=Resources(4, 4096),
        trusted=trusted,
        code_policy="merged",
        isolation="process",
        executors=("local",),
        os="linux",
        version="0.1.0",
    )


def make_evidence(verdict: str) -> bytes:
    """A record with one gate, in the shape that the client shows."""
    return canonical.encode(
        {
            "schema": "kakeya.evidence/1",
            "result": {"gates": verdict, "counts": {verdict: 1}},
            "gates": [{"id": "ends", "verdict": verdict, "blocking": True, "message": "it ended"}],
        }
    )


def make_project(folder: Path, *, presets: bool = True) -> Path:
    """A checkout with the presets of this repository and nothing else."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("a project\n")
    if presets:
        (folder / "presets").mkdir()
        for name in ("noop", "probe"):
            source = REPO / "presets" / f"{name}.yaml"
            (folder / "presets" / source.name).write_bytes(source.read_bytes())
    git_in(folder, "init", "--quiet")
    commit_all(folder, "a project begins")
    return folder


@dataclass
class Rig:
    """One bus with a client and a runner on it.

    Attributes:
        project: the requester's checkout.
        url: the bus.
        clock: the client's time.
        listener: what the client told.
        runner: the other side.
    """

    project: Path
    url: str
    folder: Path
    clock: TurnedClock
    listener: Listener
    runner: ScriptedRunner
    client: Client

    @property
    def head(self) -> str:
        """The project's HEAD."""
        return git_in(self.project, "rev-parse", "HEAD")

    def submit(self, preset: str = "noop", params: Any = None, **options: Any) -> tuple[str, str]:
        """Submit a job whose code the runner trusts; returns id and ref."""
        submission = self.client.submit(preset, params, **options)
        return submission.id, submission.ref

    def wait_with(self, job_id: str, *steps: Callable[[], object], timeout_s: float = 60.0) -> Any:
        """Wait while the script plays, one step at each pause."""
        self.clock.script = list(steps)
        return self.client.wait(job_id, timeout_s)

    def close(self) -> None:
        """End the git processes."""
        self.client.close()
        self.runner.bus.close()


def open_client(
    url: str, project: Path | None, cache: Path, clock: Clock, listener: Listener
) -> Client:
    """A client with settings made by hand."""
    settings = Settings(url, Refs(), PROFILE, (), cache, {"bus": "--bus"})
    checkout = find_checkout(project) if project else None
    client = Client(settings, checkout=checkout, clock=clock, watcher=listener)
    client.bus._stamp = None  # the clock is turned by hand: one pause is one step of the script
    return client


def open_rig(url: str, folder: Path) -> Rig:
    """A rig on the bus at `url`; its runner has beaten once and trusts the project's HEAD."""
    project = make_project(folder / "project")
    clock, listener = TurnedClock(), Listener()
    runner = ScriptedRunner(open_bus(url, folder / "runner"), "mac-m4")
    client = open_client(url, project, folder / "client", clock.clock, listener)
    rig = Rig(project, url, folder, clock, listener, runner, client)
    runner.beat(trusted=rig.head)
    return rig


def digest_of_key(data: bytes) -> records.KeyNote:
    """The record under an idempotency key."""
    note: records.KeyNote = wire.parse("key", data)
    return note


def command(*words: str) -> list[str]:
    """A command as a process of its own."""
    return [sys.executable, "-m", "bridge.cli.main", *words]


def command_env(**more: str) -> dict[str, str]:
    """What such a process gets, with the bus of the fixture `in_project`."""
    kept = {name: os.environ[name] for name in ("KAKEYA_BUS", "KAKEYA_CACHE")}
    return {**proc.base_env(), "PYTHONPATH": str(REPO), **kept, **more}
