"""A cancel reaches a job's grandchildren within two heartbeats, and whoever waits is told.

Heartbeats are counted by the server, in the order in which it took them: no clock is asked. The
clocks are those of the profile for a bus on the network, so that a slow machine has seconds where
it needs tenths.
"""

from __future__ import annotations

from pathlib import Path

from tests.drills.field import BOUND_S, Field
from tests.drills.table import ALL, Drill
from tests.lab import commit_all, git_in, make_checkout
from tests.waiting import until

HEARTBEATS = 2
GENERATIONS = 3

_FAMILY = """\
import os, subprocess, sys, time
level = int(sys.argv[1]) if sys.argv[1].isdigit() else GENERATIONS
print("pid", os.getpid(), flush=True)
if level > 1:
    subprocess.Popen([sys.executable, __file__, str(level - 1)], start_new_session=True)
time.sleep(600)
"""

_PRESET = """\
name: family
description: A job with a child and a grandchild, each in a session of its own.
argv: ["{python}", -m, family, --job, "{job}"]
labels: [any]
resources: {cpus: 1, memory_mb: 64}
limits: {wall_s: 600, memory_mb: 512, output_mb: 1, disk_mb: 1}
executors: [local]
"""

_HOOK = """#!/bin/sh
[ "$1" = committed ] || exit 0
alive=dead
for pid in $(cat {folder}/pids 2>/dev/null); do kill -0 "$pid" 2>/dev/null && alive=alive; done
while read -r old new ref; do
  case "$ref" in
    */hb/*) echo "beat $alive" ;;
    */ctl/*) echo "wish $alive" ;;
    */job/*) echo "$(git log -1 --format=%s "$new" | cut -d, -f1) $alive" ;;
  esac
done >>{folder}/events
exit 0
"""


def make_family_checkout(folder: Path) -> Path:
    """A trusted checkout with a preset whose job has grandchildren."""
    checkout = make_checkout(folder)
    (checkout / "family.py").write_text(_FAMILY.replace("GENERATIONS", str(GENERATIONS)))
    (checkout / "presets" / "family.yaml").write_text(_PRESET)
    commit_all(checkout, "a job with a family")
    return checkout


def cancel_a_family(field: Field) -> list[str]:
    """Cancel a running family; returns what the server saw from the wish on, in order.

    Raises:
        AssertionError: the family outlived two heartbeats, or the client was not told.
    """
    folder = field.lab.folder / "own-checkout"
    folder.mkdir()
    field.lab.checkout = make_family_checkout(folder)
    field.lab.commit = git_in(field.lab.checkout, "rev-parse", "HEAD")
    watch = field.lab.folder / "watch"
    watch.mkdir()
    field.start("one", whole=True, profile="self-hosted")
    client = field.command("client", "run", "family", "--wait", "--json")
    ref = until(lambda: next(iter(field.lab.bus.poll().jobs), ""), bound_s=BOUND_S, what="the job")
    field.refs.append(ref)
    pids = until(lambda: _family(field, ref), bound_s=BOUND_S, what="three generations")
    (watch / "pids").write_text(" ".join(pids))
    hook = field.remote.path / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(_HOOK.format(folder=watch))
    hook.chmod(0o755)
    field.strike()
    canceller = field.command("canceller", "cancel", ref[-26:])
    assert canceller.wait(timeout=BOUND_S) == 0, field.words("canceller")
    assert client.wait(timeout=BOUND_S) == 3, field.words("client")
    field.settle("cancelled")
    events = (watch / "events").read_text().splitlines()
    seen = events[events.index("wish alive") :]
    assert "kakeya: cancelled dead" in seen, events
    before = seen[: seen.index("kakeya: cancelled dead")]
    assert before.count("beat alive") <= HEARTBEATS, seen
    return seen


def _family(field: Field, ref: str) -> list[str]:
    lines = field.lab.output(field.chain(ref)).splitlines()
    pids = [line.split()[1] for line in lines if line.startswith("pid ")]
    return pids if len(pids) == GENERATIONS else []


def _cancel(field: Field) -> None:
    seen = cancel_a_family(field)
    field.ends[f"grandchildren ended after {seen.count('beat alive')} heartbeats"] += 1


DRILLS: tuple[Drill, ...] = (
    Drill("cancel of a job with grandchildren", _cancel, over=ALL, brief=("file",)),
)
