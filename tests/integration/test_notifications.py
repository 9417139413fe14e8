"""A real runner tells whom its own file names, of every end that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import UsageError
from bridge.records import PresetRef
from bridge.runner.config import load_config
from tests import samples
from tests.lab import Lab
from tests.servers.receiver import receiving
from tests.waiting import until


def told_by(log: Path) -> dict[str, dict[str, Any]]:
    """The notices in a folder by the state that they tell."""
    notices = [json.loads(path.read_bytes()) for path in log.glob("*.json")]
    return {notice["state"]: notice for notice in notices}


def test_every_end_that_a_runner_writes_is_told(lab: Lab, tmp_path: Path) -> None:
    log = tmp_path / "told"
    log.mkdir()
    program = tmp_path / "hook"
    program.write_text(f"#!/bin/sh\ncat > {log}/$$ && mv {log}/$$ {log}/$$.json\n")
    program.chmod(0o755)
    with receiving() as receiver:
        gone = {"webhook": "http://127.0.0.1:9/none", "timeout_s": 1}
        notify = [{"command": [str(program)]}, {"webhook": receiver.address, "on": ["done"]}, gone]
        with lab.runner(notify=notify):
            refs = {
                "done": lab.submit("noop"),
                "failed": lab.submit("noop", {"exit_code": 7}),
                "rejected": lab.submit(
                    "noop", preset=PresetRef("no-such", samples.SOME_DIGEST), params={}
                ),
            }
            ends = {state: lab.wait(ref) for state, ref in refs.items()}
            until(lambda: told_by(log).keys() == refs.keys(), what="three notices")
            until(lambda: receiver.taken, what="a notice by POST")
    told = told_by(log)
    assert told.keys() == refs.keys()
    for state, notice in told.items():
        assert notice["id"] == ends[state].job.id
        assert notice["ref"] == refs[state]
        assert notice["runner"] == "lab-1"
    assert (told["done"]["verdict"], told["done"]["preset"]) == ("pass", "noop")
    assert "exit code 7" in told["failed"]["message"]
    assert receiver.taken == [told["done"]]


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ({}, "is not valid"),
        ({"command": ["x"], "webhook": "https://a.example"}, "is valid under each of"),
        ({"webhook": "file:///etc/passwd"}, "is not an address"),
        ({"webhook": "https://a.example", "on": ["running"]}, "is not one of"),
        ({"command": "rm -rf /"}, "is not of type 'array'"),
    ],
)
def test_a_hook_that_cannot_be_is_refused_at_its_path(
    hook: dict[str, object], words: str, lab: Lab
) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(lab.settings("odd", notify=[hook]))
    assert any("$.notify[0]" in line and words in line for line in caught.value.problems)
