"""What a runner's queue takes from a poll."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.bus.refs import JobRef
from bridge.bus.view import Snapshot
from bridge.git import RefTip
from bridge.runner.config import parse_config
from bridge.runner.queue import Queue
from tests import samples

JOB = JobRef("any", 5, samples.make_id())
REF = f"refs/heads/kakeya/job/any/5{JOB.id}"


def make_queue(tmp_path: Path) -> Queue:
    document = {"name": "r", "bus": "b.git", "trusted": {"checkout": "."}, "slots": {"cpus": 2}}
    config = parse_config(document, where="test", base=tmp_path)
    trust: Any = SimpleNamespace(commit="0" * 40)
    return Queue(config, trust, random.Random(1))


def see(subject: str | None) -> Snapshot:
    """A poll that shows one job, or none."""
    tip = RefTip(REF, cast("str", subject), f"kakeya: {subject}")
    return Snapshot({REF: (JOB, tip)} if subject else {}, {}, {}, ())


@pytest.mark.parametrize(
    ("before", "now", "hurries"),
    [
        (None, "request", True),
        ("claim", "requeue", True),
        ("log", "done", True),
        ("done", None, True),
        ("claim", "a stranger's word", True),
        ("request", "request", False),
        ("request", "claim", False),
        ("claim", "log", False),
    ],
)
def test_only_what_comes_ends_or_goes_is_followed_in_a_hurry(
    tmp_path: Path, before: str | None, now: str | None, hurries: bool
) -> None:
    queue = make_queue(tmp_path)
    queue.update(see(before), 0.0)
    assert queue.update(see(now), 1.0) is hurries
