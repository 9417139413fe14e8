"""A job's output on its way to the bus."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import wire
from bridge.records import LogChunk, Progress
from bridge.runner.output import (
    MASK,
    MAX_CHUNK_BYTES,
    MAX_LOG_BYTES,
    Output,
    read_progress,
)
from executors.contract import Handle
from executors.local import LocalExecutor
from executors.supervise.launch import Ending

HANDLE = Handle("local", Path("/nowhere"), {})


class Printed(LocalExecutor):
    """An executor whose job has printed `data`."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data

    def logs(self, handle: Handle, offset: int, limit: int) -> bytes:
        return self.data[offset : offset + limit]


def drain(output: Output) -> bytes:
    """All pieces to the end, each taken by the bus."""
    pieces = []
    while True:
        output.read(HANDLE)
        piece = output.take(whole=True)
        output.settle(won=True)
        if not piece:
            return b"".join(pieces)
        assert len(piece) <= MAX_CHUNK_BYTES
        pieces.append(piece)


@given(data=st.binary(max_size=2000), refusals=st.lists(st.booleans(), max_size=20))
def test_every_byte_arrives_once_whatever_is_refused(data: bytes, refusals: list[bool]) -> None:
    output = Output(Printed(data))
    arrived = b""
    for won in refusals:
        output.read(HANDLE)
        piece = output.take(whole=False)
        arrived += piece if won else b""
        output.settle(won=won)
    assert arrived + drain(output) == data


def test_a_piece_ends_with_a_line_unless_the_job_has_ended() -> None:
    output = Output(Printed(b"one\ntwo\nthr"))
    output.read(HANDLE)
    assert output.take(whole=False) == b"one\ntwo\n"
    assert output.take(whole=False) == b""
    assert output.take(whole=True) == b"thr"


def test_a_flood_is_cut_and_a_line_without_end_goes_on() -> None:
    flood = b"x" * (MAX_LOG_BYTES + 12345)
    assert drain(Output(Printed(flood))) == flood[:MAX_LOG_BYTES]
    output = Output(Printed(flood))
    output.read(HANDLE)
    assert len(output.take(whole=False)) == MAX_CHUNK_BYTES


def test_secrets_are_masked_even_where_reads_cut_them() -> None:
    printed = Printed(b"key=hunter2x")
    output = Output(printed, [b"hunter2x", b"ab"])
    printed.data = b"key=hunt"
    output.read(HANDLE)
    assert output.take(whole=False) == b""  # no end of line yet: the rest may complete a secret
    printed.data = b"key=hunter2x ab\n"
    output.read(HANDLE)
    assert output.take(whole=False) == b"key=" + MASK + b" ab\n"


def test_the_kinds_of_ends_that_are_tried_again() -> None:
    from bridge.runner.ending import RETRIED

    known = {"exit", "signal", "timeout", "memory", "output", "disk", "cancelled"}
    assert not RETRIED & known
    assert Ending(None, None, "vanished").reason in RETRIED


@pytest.mark.parametrize(
    "row",
    [
        "[" * 3000,
        '{"step": ' + "[" * 3000,
        '{"step": -1}',
        '{"step": 1e30}',
        '{"step": 123456789012345678901234567890}',
        '{"step": ' + "9" * 5000 + "}",
        '{"step": 1, "eta_s": NaN}',
        '{"step": 1, "eta_s": -1e300}',
        '{"step": 1, "eta_s": 1e300}',
        '{"step": 1, "total": -1}',
        '{"step": 1, "note": "\\u001b[2J\\ud800"}',
        '{"step": true, "total": [], "note": {}}',
        "null",
        "5",
        "",
    ],
)
def test_no_report_of_a_job_is_more_than_a_record_may_hold(row: str, tmp_path: Path) -> None:
    """One of these ended the whole runner once: it composed a record that could not be written."""
    (tmp_path / "progress.jsonl").write_text(f'{{"step": 0}}\n{row}\n')
    progress = read_progress(tmp_path)
    if progress is not None:
        chunk = LogChunk("sha256:" + "0" * 64, "1" * 40, 1, 1, 0, "0" * 16, progress)
        assert wire.parse("log", wire.to_bytes(chunk)) == chunk


def test_a_report_of_progress_is_read(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_text(
        '{"step": 1}\n{"step": 2, "total": 3, "eta_s": 1.26}\n'
    )
    assert read_progress(tmp_path) == Progress(2, 3, 1.3, "")
