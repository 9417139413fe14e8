"""The comment and the summary of many records: within their limits, inert, failures first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.errors import ExitCode
from evidence.judge import JudgeInput, judge
from evidence.promoted import Checked, folder_of, worst
from evidence.report.markdown import MARKER, MAX_CHARACTERS
from evidence.report.review import MAX_SUMMARY_BYTES, draw_comment, draw_summary, title
from tests.evidence_world import write_job
from tests.proposals import make_id

HOSTILE = "|" * 30 + "</details> @everyone [x](https://example.invalid) | a\n# <script>"


def passing(number: int, folder: Path) -> Checked:
    out = folder / "out"
    if not out.is_dir():
        paths = write_job(folder)
        judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], out))
    record = json.loads((out / "evidence.json").read_bytes())
    return Checked(folder_of(make_id(number)), "pass", ExitCode.DONE, record=record)


def broken(number: int) -> Checked:
    problems = (HOSTILE, *["x" * 4000] * 40)
    return Checked(folder_of(make_id(number)), "tampered", ExitCode.REFUSED, problems)


@pytest.mark.parametrize("count", [0, 1, 30, 250])
def test_a_comment_and_a_summary_keep_their_limits(count: int, tmp_path: Path) -> None:
    found = [passing(number, tmp_path) for number in range(count)]
    found += [broken(number) for number in range(count)]
    comment, summary = draw_comment(found), draw_summary(found)
    assert len(comment) <= MAX_CHARACTERS
    assert len(summary.encode()) <= MAX_SUMMARY_BYTES
    for text in (comment, summary):
        assert text.startswith(MARKER)
        assert text.count(MARKER) == 1
        assert title(found) in text


def test_what_fails_is_listed_before_what_passes(tmp_path: Path) -> None:
    lines = draw_comment([passing(1, tmp_path), broken(2)]).splitlines()
    rows = [line for line in lines if line.startswith("| 2026/")]
    assert ["tampered" in row for row in rows] == [True, False]


def test_text_of_a_record_stays_inert() -> None:
    text = draw_comment([broken(1)])
    assert "@everyone" not in text
    assert "https://" not in text
    assert "<script>" not in text
    assert text.count("</details>") == text.count("<details>")


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], ExitCode.DONE),
        ([ExitCode.DONE, ExitCode.INCONCLUSIVE], ExitCode.INCONCLUSIVE),
        ([ExitCode.INCONCLUSIVE, ExitCode.JOB_FAILED], ExitCode.JOB_FAILED),
        ([ExitCode.JOB_FAILED, ExitCode.GATE_FAILED], ExitCode.GATE_FAILED),
        ([ExitCode.GATE_FAILED, ExitCode.USAGE], ExitCode.USAGE),
        ([ExitCode.USAGE, ExitCode.REFUSED], ExitCode.REFUSED),
    ],
)
def test_the_worst_decides(codes: list[ExitCode], expected: ExitCode) -> None:
    assert worst(codes) is expected
    assert worst(codes[::-1]) is expected
