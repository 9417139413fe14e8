"""A baseline is fixed in the request, and taken from the trusted commit's promoted records."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bridge import proc
from bridge.canonical import digest
from tests.lab import Lab, commit_all, make_bare, make_checkout, open_lab
from tests.servers.child import server_env

GATE = """  - id: as-many-as-before
    rule: {cmp: [{m: slept_s, arm: noop, stat: count}, ">=", {base: before, m: slept_s, arm: noop}]}
"""


def run(lab: Lab, *words: str) -> tuple[int, str]:
    """`run noop-again --wait` from the lab's checkout: exit code and what it said."""
    argv = [sys.executable, "-m", "bridge.cli.main", "run", "noop-again", "--wait", "--json"]
    env = {**server_env(lab.folder), "PYTHONPATH": str(lab.checkout)}
    done = proc.run([*argv, "--bus", lab.url, *words], cwd=lab.checkout, env=env, timeout_s=120)
    return done.code, done.stdout.decode() + done.stderr.decode()


def test_a_gate_compares_with_the_record_that_the_request_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "trusted").mkdir()
    checkout = make_checkout(tmp_path / "trusted")
    noop = (checkout / "presets" / "noop.yaml").read_text()
    again = noop.replace("name: noop", "name: noop-again").replace("gates:\n", f"gates:\n{GATE}")
    (checkout / "presets" / "noop-again.yaml").write_text(again)
    record = {"metrics": [{"name": "slept_s", "arm": "noop", "value": "0", "n": 1}]}
    folder = checkout / "evidence" / "records" / "2026" / "before"
    folder.mkdir(parents=True)
    (folder / "evidence.json").write_text(json.dumps(record))
    commit_all(checkout, "a preset that compares, and a record to compare with")
    make_bare(tmp_path / "bus.git")
    lab = open_lab(checkout, str(tmp_path / "bus.git"), tmp_path / "lab")
    with lab.runner():
        code, said = run(lab)
        assert code == 10, said  # nothing was named: absent data never passes
        code, said = run(lab, "--baseline", f"before={folder / 'evidence.json'}")
        assert code == 0, said + lab.words()
        code, said = run(lab, "--baseline", "before=sha256:" + "0" * 64)
        assert code == 10, said  # no such record is promoted
        named = f"before={digest(record)}"
        code, said = run(lab, "--baseline", named, "--amends", "sha256:" + "1" * 64)
        assert code == 0, said
    outcome = json.loads(said.splitlines()[0])
    assert outcome["request"]["amends"] == "sha256:" + "1" * 64
    assert outcome["request"]["baselines"] == [{"alias": "before", "digest": digest(record)}]
    lab.bus.close()
