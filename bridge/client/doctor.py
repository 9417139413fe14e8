"""What a requester can find out about why jobs do not move, each finding with what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from bridge import wire
from bridge.bus.commits import compose_note, requester_identity
from bridge.bus.remote import Outcome as Swap
from bridge.bus.remote import Update
from bridge.canonical import make_ulid
from bridge.client.api import Client
from bridge.client.checkout import requester_name, resolve_code
from bridge.client.code import check_code
from bridge.client.queueing import RunnerWatch
from bridge.findings import FAULT, OK, WARNING, Finding, look
from bridge.git import git_version
from bridge.records import CancelWish, Heartbeat

MIN_GIT = (2, 31)
"""`GIT_CONFIG_COUNT`, by which the caches are pointed at their remote, came with this version."""


def examine(client: Client) -> tuple[Finding, ...]:
    """Look at everything a requester depends on; a check that fails does not stop the others."""
    findings = [look("git", check_git), look("settings", lambda: _check_settings(client))]
    findings.append(look("presets", lambda: _check_presets(client)))
    if client.settings.bus is None:
        return tuple(findings)
    reach = look("bus", lambda: _check_bus(client))
    findings.append(reach)
    if reach.level != FAULT:
        findings.append(look("push", lambda: _check_push(client)))
        findings += _check_runners(client)
        findings.append(look("code", lambda: _check_code(client)))
    return tuple(findings)


def check_git() -> Finding:
    """Whether git is here, and new enough."""
    version = git_version()
    text = f"{'.'.join(map(str, version))} at {shutil.which('git')}; no identity is needed"
    if version < MIN_GIT:
        wanted = ".".join(map(str, MIN_GIT))
        return Finding("git", FAULT, text, f"install git {wanted} or newer")
    return Finding("git", OK, text)


def _check_settings(client: Client) -> Finding:
    settings = client.settings
    if settings.bus is None or settings.profile is None:
        settings.require()
    assert settings.profile is not None
    source = settings.sources.get("bus", "?")
    where = f"{settings.bus} (from {source}), refs below {settings.refs.root}"
    return Finding("settings", OK, f"{where}, profile {settings.profile.name}")


def _check_presets(client: Client) -> Finding:
    catalog, source = client.catalog()
    return Finding("presets", OK, f"{len(catalog.presets)} presets from {source}")


def _check_bus(client: Client) -> Finding:
    identity = client.bus.identity()
    made = f"made {identity.created_at}; protocol {wire.PROTOCOL}"
    return Finding("bus", OK, f"bus {identity.id}, {made}")


def _check_push(client: Client) -> Finding:
    """Create and delete a wish for a job that does not exist: harmless, and just what we need."""
    clock, bus = client.clock, client.bus
    now_s = clock.wall_s()
    job_id = make_ulid(int(now_s * 1000), clock.randomness(10))
    by = requester_name(client.checkout)
    digest = wire.digest_of(bus.identity())
    wish = CancelWish(job_id, digest, by, clock.nonce(), "doctor's probe")
    author = requester_identity(by)
    commit = compose_note("cancel.json", wish, "doctor's probe", author, int(now_s))
    ref = bus.refs.wish(job_id)
    if bus.swap([Update(ref, None, commit)]) != (Swap.WON,):
        return Finding(
            "push", FAULT, f"{ref} could not be made", "ask for push rights below the bus's root"
        )
    if bus.swap([Update(ref, commit.oid, None)]) != (Swap.WON,):
        return Finding(
            "push", WARNING, f"{ref} could be made but not deleted", "folding will remove it"
        )
    return Finding("push", OK, f"this machine may push below {bus.refs.root}")


def _check_runners(client: Client) -> Iterator[Finding]:
    """Each runner, watched for as long as a living one may be silent."""
    bus, clock = client.bus, client.clock
    watch = RunnerWatch(bus.profile, bus.read_beat)
    tips = bus.beats()
    if not tips:
        yield Finding(
            "runners",
            WARNING,
            "no runner has ever beaten on this bus",
            f"start one: kakeya_remote runner start --bus {bus.url}",
        )
        return
    first = {name: tip.oid for name, tip in tips.items()}
    beats = {name: watch.beat_of(name, tips) for name in tips}
    ages_s = {name: max(0.0, clock.wall_s() - bus.dated_s(tip)) for name, tip in tips.items()}
    recent = [name for name, age_s in ages_s.items() if age_s <= _lease_s(client, beats[name])]
    moved: set[str] = set()
    deadline_s = clock.monotonic_s() + 2 * bus.profile.heartbeat_s
    while recent and not moved.issuperset(recent) and clock.monotonic_s() < deadline_s:
        clock.pause(bus.profile.poll_max_s)
        tips = bus.beats()
        moved |= {name for name, tip in tips.items() if first.get(name) != tip.oid}
    for name in sorted(first):
        yield _judge_runner(name, beats[name], ages_s[name], alive=name in moved)


def _lease_s(client: Client, beat: Heartbeat | None) -> float:
    heartbeat_s = beat.heartbeat_s if beat else client.bus.profile.heartbeat_s
    return max(client.bus.profile.lease_s, 5 * heartbeat_s)


def _judge_runner(name: str, beat: Heartbeat | None, age_s: float, *, alive: bool) -> Finding:
    if beat is None:
        return Finding(
            "runner",
            WARNING,
            f"{name}: its heartbeat cannot be read",
            "bring this program and the runner's to the same version",
        )
    facts = beat.facts
    text = (
        f"{name}: {'alive' if alive else 'silent'}, last beat dated {age_s:.0f} s ago, "
        f"labels {', '.join(facts.labels)}, code policy {facts.code_policy}, "
        f"trusts {facts.trusted[:12]}, {len(beat.claims)} claims held, version {facts.version}"
    )
    if not alive:
        return Finding("runner", WARNING, text, f"look at {name}: kakeya_remote runner start")
    if facts.draining:
        return Finding("runner", WARNING, f"{text}, draining", f"start {name} again")
    return Finding("runner", OK, text)


def _check_code(client: Client) -> Finding:
    commit = resolve_code(client.checkout, "HEAD")
    if client.embedded is None:
        check_code(client.bus, client.checkout, commit)
    edits = client.checkout.git.changed_files() if client.checkout else ()
    if edits:
        return Finding(
            "code",
            WARNING,
            f"HEAD is {commit[:12]}; {len(edits)} uncommitted edits are never part of a job",
            "commit what a job should run",
        )
    return Finding("code", OK, f"HEAD {commit[:12]} can be got by a runner")
