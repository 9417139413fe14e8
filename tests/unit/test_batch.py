"""What waits for the next push: one ref that nobody can move holds up no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.bus.commits import compose_request
from bridge.bus.profile import PROFILES
from bridge.bus.remote import Outcome, Update
from bridge.errors import BusError
from bridge.runner.batch import Batch
from bridge.runner.outbox import Outbox
from tests import samples


class Locked:
    """A bus on which some refs are locked, and which may be down."""

    profile = PROFILES["local"]

    def __init__(self) -> None:
        self.locked: set[str] = set()
        self.down = False
        self.now_s = 0.0
        self.pushes: list[list[str]] = []

    def swap(self, updates: Sequence[Update], *, atomic: bool = False) -> tuple[Outcome, ...]:
        del atomic
        if self.down:
            raise BusError("no answer")
        self.pushes.append([update.ref for update in updates])
        return tuple(
            Outcome.UNSETTLED if update.ref in self.locked else Outcome.WON for update in updates
        )


def make_update(ref: str) -> Update:
    return Update(ref, None, compose_request(samples.make_request(samples.make_id()), when_s=1))


def make_batch(bus: Any, folder: Path, said: list[str]) -> tuple[Batch, Outbox]:
    outbox = Outbox(folder / "outbox")
    return Batch(bus, outbox, said.append, lambda: bus.now_s), outbox


def test_a_stuck_ref_is_set_aside_and_comes_back(tmp_path: Path) -> None:
    bus, said, won = Locked(), list[str](), list[str]()
    batch, outbox = make_batch(bus, tmp_path, said)
    bus.locked = {"stuck"}
    batch.add(make_update("stuck"), lambda outcome: won.append(str(outcome)), letter="1.claim")
    batch.flush()
    assert (len(batch), "stuck" in batch, won) == (0, True, [])
    assert [letter.name for letter in outbox.letters()] == ["1.claim"]
    heartbeats = 60
    for now_s in range(1, heartbeats + 1):
        bus.now_s = now_s
        batch.take_up()
        batch.add(make_update("beat"), lambda outcome: None)
        batch.flush()
    assert sum("beat" in push for push in bus.pushes) == heartbeats
    tries = sum("stuck" in push for push in bus.pushes)
    assert heartbeats / bus.profile.lease_s < tries < heartbeats / 2
    assert len(said) == 1
    assert "stuck.lock" in said[0]
    bus.locked = set()
    bus.now_s += bus.profile.lease_s / 2
    batch.take_up()
    batch.flush()
    assert won == ["won"]
    assert not list(outbox.letters())
    assert "stuck" not in batch


def test_a_ref_keeps_its_first_swap(tmp_path: Path) -> None:
    bus, won = Locked(), list[str]()
    batch, _ = make_batch(bus, tmp_path, [])
    for name in ("first", "second"):
        batch.add(make_update("one"), lambda outcome, name=name: won.append(name))  # type: ignore[misc]
    batch.flush()
    assert (won, bus.pushes) == (["first"], [["one"]])


def test_what_could_not_be_pushed_is_due_again(tmp_path: Path) -> None:
    bus, won = Locked(), list[str]()
    batch, _ = make_batch(bus, tmp_path, [])
    batch.add(make_update("one"), lambda outcome: won.append(str(outcome)))
    bus.down = True
    try:
        batch.flush()
    except BusError:
        bus.down = False
    assert len(batch) == 1
    batch.flush()
    assert won == ["won"]


def test_what_the_disk_does_not_take_is_not_pushed(tmp_path: Path) -> None:
    bus = Locked()
    batch, _ = make_batch(bus, tmp_path, [])
    (tmp_path / "outbox").rmdir()
    with pytest.raises(BusError, match="cannot be kept on this machine's disk"):
        batch.add(make_update("one"), lambda outcome: None, letter="1.claim")
    batch.flush()
    assert ("one" in batch, bus.pushes) == (False, [])


def test_what_the_session_before_left_is_kept_until_it_is_settled(tmp_path: Path) -> None:
    bus, said = Locked(), list[str]()
    before, _ = make_batch(bus, tmp_path, said)
    bus.down = True
    for ref in ("free", "stuck"):
        before.add(make_update(ref), lambda _: None, letter=f"{ref}.result")
    with pytest.raises(BusError):
        before.flush()

    bus.down, bus.locked = False, {"stuck"}
    batch, outbox = make_batch(bus, tmp_path, said)
    batch.restore()
    batch.flush()
    assert said[0] == "delivered free.result of the session before: won"
    assert "stuck" in batch
    assert [letter.name for letter in outbox.letters()] == ["stuck.result"]

    bus.locked, bus.now_s = set(), 100.0
    batch.take_up()
    batch.flush()
    assert said[-1] == "delivered stuck.result of the session before: won"
    assert list(outbox.letters()) == []
