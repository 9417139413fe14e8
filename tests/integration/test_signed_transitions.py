"""Real runners that sign: git itself verifies their commits; a forged step is written over."""

from __future__ import annotations

from pathlib import Path

from bridge.bus.chain import Chain
from bridge.bus.remote import Outcome, Update
from bridge.bus.requester import RequesterBus
from bridge.bus.standing import Fault, Word
from bridge.objects import split_signature
from bridge.signers import read_keyring
from bridge.sshsig import GIT, read_signature
from bridge.states import Event
from tests.actors import FAST, Actor
from tests.integration.test_signed_results import command
from tests.lab import Lab
from tests.rawgit import RawGit
from tests.waiting import until


def enrolled_view(lab: Lab, folder: Path, line: str) -> RequesterBus:
    """A requester's view of the lab's bus, with one enrolled runner."""
    return RequesterBus(
        lab.url, folder, refs=lab.bus.refs, profile=FAST, keyring=read_keyring(line)
    )


def test_git_verifies_every_commit_of_a_runner(lab: Lab, tmp_path: Path) -> None:
    with lab.runner():
        chain = lab.wait(lab.submit("probe"))
    assert chain.state == "done", lab.words()
    assert chain.standing is not None
    assert chain.standing.word is Word.UNENROLLED
    _, line = command(lab, "runner", "key", "--config", str(lab.folder / "lab-1.yaml"))
    raw = RawGit(tmp_path / "clone")
    raw.path.mkdir()
    raw.run("init", "--quiet", "--bare")
    raw.run("fetch", "--quiet", lab.url, chain.tip)
    (tmp_path / "signers").write_text(line)
    request, *steps = raw.run("rev-list", "--reverse", chain.tip).splitlines()
    events = [link.event for link in chain.links[1:]]
    assert {Event.CLAIM, Event.LOG, Event.DONE} == set(events)
    for oid in steps:
        raw.run("-c", f"gpg.ssh.allowedSignersFile={tmp_path}/signers", "verify-commit", oid)
    assert split_signature(raw.run("cat-file", "commit", request).encode()) is None
    seen = enrolled_view(lab, tmp_path / "view", line)
    try:
        standing = seen.load(chain.ref).standing
        assert standing is not None
        assert (standing.word, standing.runner) == (Word.ENROLLED, "lab-1")
    finally:
        seen.close()


def test_a_forged_step_is_named_and_written_over(lab: Lab, tmp_path: Path) -> None:
    """Somebody with push rights ends a running job in its runner's name."""
    with lab.runner() as _:
        _, line = command(lab, "runner", "key", "--config", str(lab.folder / "lab-1.yaml"))
        seen = enrolled_view(lab, tmp_path / "view", line)
        ref = lab.submit("noop", {"seconds": 3})
        lab.wait(ref, "claimed", "running")
        forged: list[str] = []

        def forge() -> bool:
            chain = seen.load(ref)
            commit = Actor(seen, "lab-1").compose(chain, Event.DONE)
            won = seen.swap([Update(ref, chain.tip, commit)]) == (Outcome.WON,)
            forged.extend([commit.oid] if won else [])
            return won

        until(forge, bound_s=60, what="a forged result on the job's branch")
        chain = lab.wait(ref)
        assert "writing over a foreign commit" in lab.words()
    try:
        told: Chain = seen.load(ref)
        assert told.state == "done"
        assert told.result is not None
        assert told.tip != forged[0]
        assert told.faults[0].startswith(f"{forged[0][:12]}: {Fault.FORGED}: it is not signed")
        assert chain.faults == told.faults
        data = RawGit(Path(lab.url)).run("cat-file", "commit", told.tip).encode() + b"\n"
        sealed = split_signature(data)
        assert sealed is not None
        assert read_signature(sealed.signature).fits(sealed.payload, GIT)
    finally:
        seen.close()
