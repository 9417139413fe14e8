"""A journal entry: what the record says, nothing else, and room for the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge import canonical
from bridge.errors import UsageError
from presets.binding import bind, render_config
from presets.catalog import load_catalog
from tests.whole_jobs import read_rows, run_job
from workloads.journal import CODE, Config, read_record
from workloads.journal.entry import compose_entry, write_markdown
from workloads.shared import job

RECORDS = sorted((CODE / "evidence" / "records").rglob("evidence.json*"))
RECORD = RECORDS[0].parent.relative_to(CODE).as_posix()
GIVEN = {
    "path": RECORD,
    "hypothesis": "full attention finds needles | a window does not",
    "failures": "codes leak into the prompt=0.1; the window sees the needle=0.25",
}


def run(folder: Path, **config: Any) -> Path:
    return run_job("journal", folder, GIVEN | config)


def test_an_entry_says_what_the_record_says_and_infers_nothing(tmp_path: Path) -> None:
    out = run(tmp_path)
    entry = json.loads((out / "artifacts/entry.json").read_text("utf-8"))
    record = read_record(CODE / RECORD)
    assert entry["context"]["job"] == record["id"]
    assert entry["context"]["code"] == record["code"]["commit"]
    seen = {gate["id"]: gate["verdict"] for gate in entry["observations"]["gates"]}
    assert seen == {gate["id"]: gate["verdict"] for gate in record["gates"]}
    assert (entry["inferences"], entry["next_action"]) == ([], None)
    assert entry["failures"][1] == {"mode": "the window sees the needle", "prior": "0.25"}
    page = (out / "artifacts/entry.md").read_text("utf-8")
    assert "full attention finds needles" in page
    assert page.index("## Observations") < page.index("## Inferences") < page.index("## Next")
    assert all(row["score"] is True for row in read_rows(out))


def test_a_prediction_is_told_with_its_credence_and_outcome() -> None:
    record = dict(read_record(CODE / RECORD))
    gate = record["gates"][0]
    record["predictions"] = [
        {"id": "p1", "text": "it works", "credence": "0.7", "outcome": "refuted", "gate": gate},
        {"id": "p2", "text": "never judged", "credence": None, "outcome": "unresolved",
         "gate": None},
    ]  # fmt: skip
    entry = compose_entry(record, hypothesis="h", modes={"none": 0.0}, previous=None)
    first, second = entry["observations"]["predictions"]
    assert (first["credence"], first["outcome"]) == ("0.7", "refuted")
    assert (second["id"], second["verdict"]) == ("p2", "missing")
    assert "| p2 | unresolved |" in write_markdown(entry)


def test_entries_form_a_chain_by_digest(tmp_path: Path) -> None:
    out = run(tmp_path / "one")
    first = canonical.digest_bytes((out / "artifacts/entry.json").read_bytes())
    out = run(tmp_path / "two", previous=first)
    assert json.loads((out / "artifacts/entry.json").read_text("utf-8"))["previous"] == first


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"hypothesis": "  "}, "$.config.hypothesis"),
        ({"previous": "sha256:12"}, "$.config.previous"),
        ({"failures": "no prior"}, "NAME=PRIOR"),
        ({"failures": "a=1.5"}, "NAME=PRIOR"),
        ({"failures": "a=0.5; a=0.2"}, "twice"),
        ({"failures": "a=0.7; b=0.7"}, "more than 1"),
    ],
)
def test_what_is_no_entry_is_refused(fields: dict[str, str], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config(**(GIVEN | fields))
    assert any(problem in one for one in caught.value.problems)


def test_a_folder_without_a_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no evidence record"):
        read_record(tmp_path)
    (tmp_path / "evidence.json").write_text('{"schema": "other/1"}')
    with pytest.raises(UsageError, match="no evidence record"):
        read_record(tmp_path)
    (tmp_path / "evidence.json").write_text("{")
    with pytest.raises(UsageError, match="no JSON"):
        read_record(tmp_path)


def test_the_preset_gives_a_config_that_the_workload_takes() -> None:
    preset = load_catalog(CODE / "presets").get("journal")
    config = render_config(preset, bind(preset, GIVEN), env={})
    assert job.build_config(Config, config).path == RECORD
