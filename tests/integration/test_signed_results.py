"""A runner signs its evidence with its own key, and a reader who knows the key sees that it did."""

from __future__ import annotations

import sys
from pathlib import Path

from bridge import proc
from tests.lab import Lab
from tests.servers.child import server_env


def command(lab: Lab, *words: str) -> tuple[int, str]:
    """A command of the lab's own program: exit code, and all that it said."""
    done = proc.run(
        [sys.executable, "-m", "bridge.cli.main", *words],
        cwd=lab.folder,
        env={**server_env(lab.folder), "PYTHONPATH": str(lab.checkout)},
        timeout_s=60,
    )
    return done.code, done.stdout.decode() + done.stderr.decode()


def test_evidence_is_signed_and_a_stranger_is_named(lab: Lab, tmp_path: Path) -> None:
    with lab.runner() as _:
        chain = lab.wait(lab.submit("noop"))
    assert chain.state == "done", lab.words()
    folder = tmp_path / "results"
    code, said = command(lab, "results", chain.job.id, "--out", str(folder), "--bus", lab.url)
    assert code == 0, said
    code, line = command(lab, "runner", "key", "--config", str(lab.folder / "lab-1.yaml"))
    assert code == 0, line
    assert line.startswith("lab-1 ssh-ed25519 ")
    signers = tmp_path / "signers"
    signers.write_text(line)
    code, said = command(lab, "evidence", "verify", str(folder), "--signers", str(signers))
    assert code == 0, said
    assert "self" in said

    _, other = command(lab, "runner", "key", "--config", str(lab.settings("lab-2")))
    signers.write_text(other)
    code, said = command(lab, "evidence", "verify", str(folder), "--signers", str(signers))
    assert code == 4, said
    key = lab.folder / "lab-1" / "state" / "key"
    assert key.stat().st_mode & 0o077 == 0
