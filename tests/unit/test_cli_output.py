from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.logs import clean_output, print_chunks
from bridge.cli.output import escape_controls, print_json, print_table
from bridge.cli.run import read_predictions, read_text_file
from bridge.cli.watching import PlainWatcher, describe
from bridge.client.logs import Chunk
from bridge.client.outcomes import JobStatus
from bridge.errors import ManifestError, UsageError
from bridge.records import Progress
from bridge.states import State


@given(st.text())
def test_nothing_that_moves_a_cursor_survives(text: str) -> None:
    assert all(char.isprintable() or char in "\n\t" for char in escape_controls(text))


def test_escapes_are_written_out() -> None:
    assert escape_controls("a\x1b[31mb\u202ec\u2028") == "a\\x1b[31mb\\u202ec\\u2028"
    assert clean_output("10%\r20%\r\ndone\n") == "10%\n20%\ndone\n"


def test_a_table_off_a_terminal_is_plain_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("ignored", ("id", "state"), [("1", "done"), ("10", "fail\x1b[0m")])
    assert capsys.readouterr().out == "id  state\n1   done\n10  fail\\x1b[0m\n"


def test_json_is_ascii_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "Käse\n\ud800"})
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("\n") == 1


def test_a_character_cut_between_chunks_is_joined(capsys: pytest.CaptureFixture[str]) -> None:
    whole = "é".encode()
    print_chunks([Chunk(1, 1, b"a" + whole[:1]), Chunk(1, 2, whole[1:]), Chunk(1, 3, b"\xff")])
    texts = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert texts == ["a", "é", "\ufffd"]


def status(state: State, progress: Progress | None = None, attempt: int = 1) -> JobStatus:
    return JobStatus(
        "ID", "ref", state, None, attempt, "mac-m4", progress, None, (), None, (), "0" * 40
    )


def test_states_in_words() -> None:
    progress = Progress(3, 10, 12.4, "rung 512")
    told = describe(status(State.RUNNING, progress))
    assert told == "running, attempt 1 by mac-m4, step 3 of 10, 12 s left (rung 512)"
    assert describe(status(State.QUEUED)) == "queued"
    assert describe(status(State.QUEUED, attempt=2)) == "queued, attempt 2 is next"


def test_plain_lines_tell_each_state_and_progress_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now_s = [0.0]
    watcher = PlainWatcher(lambda: now_s[0])
    for step in range(12):
        now_s[0] = float(step)
        watcher.update(status(State.RUNNING, Progress(step, 12)))
    watcher.update(status(State.DONE))
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition("step ")[2] for line in lines[:-1]] == [
        "0 of 12",
        "5 of 12",
        "10 of 12",
    ]
    assert lines[-1] == "done"


def test_predictions_from_text_and_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text('[{"id": "b", "credence": "0.5", "text": "t", "rule": {}}]')
    found = read_predictions(("a:0.9:it ends: soon", f"@{path}"))
    assert [item["id"] for item in found] == ["a", "b"]
    assert found[0]["text"] == "it ends: soon"
    with pytest.raises(UsageError, match="is not ID:CREDENCE:TEXT"):
        read_predictions(("a:0.9",))
    path.write_text('{"id": "b", "id": "c"}')
    with pytest.raises(ManifestError, match="duplicate key"):
        read_predictions((f"@{path}",))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_text_file(str(tmp_path / "none.json"))
