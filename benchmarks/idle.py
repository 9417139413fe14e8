"""What an idle runner costs: bytes on the wire for each poll, and processor time."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psutil

from benchmarks.measure import Fact, Table
from benchmarks.scene import NAMES, SLOTS, missing_parts, open_scene
from bridge.bus.commits import compose_request
from bridge.bus.profile import PROFILES
from bridge.bus.refs import Refs
from bridge.bus.remote import Update
from bridge.bus.requester import RequesterBus
from tests.actors import FAST

_LIVE = (0, 50, 200)
_POLLS = 5
_SETTLE_S, _WATCH_S = 5.0, 12.0


@dataclass
class Counter:
    """Bytes that went through, both ways."""

    port: int
    count: int = 0
    sockets: list[socket.socket] = field(default_factory=list)


@contextmanager
def counting(address: str) -> Iterator[Counter]:
    """A port of loopback that passes everything on to `address`, and counts it."""
    parts = urlsplit(address)
    target = (parts.hostname or "", parts.port or 80)
    with socket.create_server(("127.0.0.1", 0)) as server:
        counter = Counter(server.getsockname()[1])

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near, _ = server.accept()
                    far = socket.create_connection(target)
                    counter.sockets += [near, far]
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=_pump, args=(*pair, counter), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield counter
        finally:
            server.close()
            for end in counter.sockets:
                end.close()


def _pump(source: socket.socket, sink: socket.socket, counter: Counter) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            counter.count += len(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def measure() -> Iterator[Table]:
    """Bytes over HTTP, and processor time over every transport."""
    rows = [row for name in ("http", "fast") if not missing_parts(name) for row in _bytes(name)]
    yield Table(
        "Bytes of an idle poll",
        "Both directions on the wire, HTTP headers and all, where nothing moved; "
        f"profile `local`, {_POLLS} polls each.",
        tuple(rows),
    )
    names = [name for name in NAMES if not missing_parts(name)]
    yield Table(
        "Processor time of an idle runner",
        f"The shipped runner and all its git processes for {_WATCH_S:g} s, after "
        f"{_SETTLE_S:g} s of back-off; heartbeats go on. The server's work is not counted over "
        "HTTP; over a path git's own server side is a child of the client's. *By hand* is the "
        "floor: a `git push` of a ready commit for each heartbeat and a `git ls-remote` for each "
        "poll, at the profile's pace, with no Python around them that is counted.",
        tuple(
            measured(name, profile)
            for name in names
            for profile in ("local", "self-hosted")
            for measured in (_processor, _by_hand)
        ),
    )


def _bytes(name: str) -> Iterator[Fact]:
    with open_scene(name) as scene, TemporaryDirectory() as folder:
        url = urlsplit(scene.remote.url)
        with counting(scene.remote.url) as counter:
            bus = RequesterBus(
                url._replace(netloc=f"127.0.0.1:{counter.port}").geturl(),
                Path(folder) / "cache",
                refs=Refs(),
                profile=FAST,
                fast=name == "fast",
            )
            live = 0
            for wanted in _LIVE:
                requests = [scene.make_request() for _ in range(wanted - live)]
                scene.bus.swap(
                    [Update(scene.ref_of(r), None, compose_request(r, when_s=0)) for r in requests]
                )
                live = wanted
                bus.poll()
                before = counter.count
                for _ in range(_POLLS):
                    bus.poll()
                value = (counter.count - before) / _POLLS
                goal = 2048.0 + 120 * live
                yield Fact(f"{NAMES[name]}, {live} live jobs", _POLLS, value, "B", goal)
            bus.close()


def _processor(name: str, profile: str) -> Fact:
    with open_scene(name) as scene:
        scene.start_runner("idle-1", launch=True, slots=SLOTS, profile=profile)
        scene.wait_for_runners(["idle-1"])
        process = psutil.Process(scene.runners[0].pid)
        time.sleep(_SETTLE_S)
        before, start_s = _spent_s(process), time.monotonic()
        time.sleep(_WATCH_S)
        share = (_spent_s(process) - before) / (time.monotonic() - start_s) * 100
        title = f"{NAMES[name]}, profile {profile}"
        return Fact(title, 1, share, "% of a core", 1.0)


def _by_hand(name: str, profile: str) -> Fact:
    """The same pace with plain git: what its processes alone cost."""
    pace = PROFILES[profile]
    with open_scene(name) as scene:
        beats, polls = math.ceil(_WATCH_S / pace.heartbeat_s), math.ceil(_WATCH_S / pace.poll_max_s)
        commits = scene.make_commits(beats)
        ref = scene.next_ref()
        due = [
            *((n * pace.heartbeat_s, ("push", "-q", scene.remote.url, f"{commit}:{ref}"))
              for n, commit in enumerate(commits)),
            *((n * pace.poll_max_s, ("ls-remote", scene.remote.url)) for n in range(polls)),
        ]  # fmt: skip
        before, start_s = os.times(), time.monotonic()
        for at_s, command in sorted(due):
            time.sleep(max(0.0, start_s + at_s - time.monotonic()))
            scene.git(*command)
        time.sleep(max(0.0, start_s + _WATCH_S - time.monotonic()))
        now, took_s = os.times(), time.monotonic() - start_s
        spent_s = now.children_user + now.children_system
        spent_s -= before.children_user + before.children_system
        title = f"{NAMES[name]}, profile {profile}, by hand with the git CLI"
        return Fact(title, 1, spent_s / took_s * 100, "% of a core")


def _spent_s(process: psutil.Process) -> float:
    """Processor seconds of a process and of the children that it has waited for."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
