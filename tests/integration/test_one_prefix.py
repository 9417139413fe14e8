"""The whole protocol where an agent may push below its own prefix and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.actors import open_bus
from tests.integration.test_enrolment import say
from tests.lab import Lab, git_in, make_bare
from tests.rawgit import RawGit
from tests.relay import make_relay_checkout
from tests.waiting import until

PREFIX = "refs/heads/agents/alice"
ROOT = f"{PREFIX}/kakeya"
_HOOK = f"""\
#!/bin/sh
case "$1" in
  {PREFIX}/*) echo "$1" >> "$GIT_DIR/moved"; exit 0 ;;
  *) echo "$1" >> "$GIT_DIR/refused"; echo "only {PREFIX}/ is yours" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def guarded(tmp_path: Path) -> RawGit:
    """A bare repository that takes no ref but alice's own."""
    raw = make_bare(tmp_path / "bus.git")
    hook = raw.path / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(_HOOK)
    hook.chmod(0o755)
    return raw


@pytest.mark.timeout(900)  # two dozen processes, one after another
def test_the_whole_protocol_fits_below_one_prefix(guarded: RawGit, tmp_path: Path) -> None:
    lab = _open(guarded, make_relay_checkout(tmp_path / "trusted"), tmp_path)
    where = ("--bus", lab.url, "--root", ROOT)
    say(lab, "bus", "init", lab.url, "--root", ROOT)
    with lab.runner(root=ROOT, fold={"keep": 2}, artifacts={"art_mb": 20}):
        words = ("run", "noop", *where, "--push-code", "--id", "nightly")
        done = say(lab, *words, "--wait").splitlines()[0]
        assert say(lab, *words).splitlines()[0] == done  # the key is taken, below the prefix too
        say(lab, "run", "relay", "-p", "artifact_mb=12", *where, "--wait")
        assert "noop" in say(lab, "logs", done, *where)
        long = say(lab, "run", "noop", "-p", "seconds=60", *where).splitlines()[0]
        ref = lab.bus.find(long)
        assert ref is not None
        lab.wait(ref, "claimed", "running")
        assert "cancelled" in say(lab, "cancel", long, *where)
        gone = say(lab, "run", "noop", "--label", "nobody", *where).splitlines()[0]
        say(lab, "why", gone, *where)
        say(lab, "cancel", gone, *where)
        again = say(lab, "retry", long, *where).splitlines()[0]
        say(lab, "cancel", again, *where)
        until(lambda: len(lab.bus.poll().jobs) <= 2, bound_s=120, what="the runner's own fold")
    say(lab, "bus", "fold", "--keep", "0", *where)
    say(lab, "results", done, *where, "--out", str(tmp_path / "results"))
    assert (tmp_path / "results" / "evidence.json").is_file()
    refs = guarded.run("for-each-ref", "--format=%(refname)").splitlines()
    assert all(ref.startswith(f"{ROOT}/") for ref in refs)
    moved = {ref.removeprefix(f"{ROOT}/").split("/")[0] for ref in _lines(guarded, "moved")}
    assert {"job", "hb", "ctl", "key", "code", "art", "ledger", "archive"} <= moved
    assert _lines(guarded, "refused") == []
    check = json.loads(say(lab, "bus", "check", *where, "--json").splitlines()[0])
    assert check["healthy"], check
    lab.bus.close()


def test_the_hook_refuses_the_default_root(guarded: RawGit, checkout: Path, tmp_path: Path) -> None:
    """Or the test above would show nothing."""
    lab = _open(guarded, checkout, tmp_path)
    told = say(lab, "bus", "init", lab.url, code=1)
    assert "refuses" in told
    assert _lines(guarded, "refused") != []
    lab.bus.close()


def _open(raw: RawGit, checkout: Path, folder: Path) -> Lab:
    """A lab whose own view of the bus lies below the prefix; the bus is not made yet."""
    place = folder / "lab"
    place.mkdir()
    bus = open_bus(str(raw.path), place / "requester", root=ROOT, init=False)
    return Lab(checkout, git_in(checkout, "rev-parse", "HEAD"), str(raw.path), bus, place)


def _lines(raw: RawGit, name: str) -> list[str]:
    path = raw.path / name
    return path.read_text().splitlines() if path.is_file() else []
