"""Every cheat of docs/evidence.md is committed here, and the tool's answer is the page's."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge import canonical
from bridge.cli.evidence import evidence_group
from bridge.errors import ManifestError
from evidence.judge import JudgeInput, judge
from tests.evidence_world import digest_of, facts, sample_rows, spec, write_job

PAGE = (Path(__file__).parents[2] / "docs" / "evidence.md").read_text()
Rows = list[dict[str, Any]]
Cheat = Callable[[Path], str]
CHEATS: dict[str, Cheat] = {}


def cheat(function: Cheat) -> Cheat:
    CHEATS[function.__name__.replace("_", "-")] = function
    return function


def run(folder: Path, **more: Any) -> Path:
    paths = write_job(folder / "job", **more)
    judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], folder / "out"))
    return folder / "out"


def record_of(out: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / "evidence.json").read_text())
    return record


def command(*argv: str) -> str:
    done = CliRunner().invoke(evidence_group, [*argv, "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return f"ends {done.exit_code}: {done.stdout}"


def verify_edited(folder: Path, edit: Callable[[dict[str, Any]], None]) -> str:
    out = run(folder)
    record = record_of(out)
    edit(record)
    (out / "evidence.json").write_bytes(canonical.encode(record))
    return command("verify", str(out))


def judged(folder: Path, gate: dict[str, Any], **more: Any) -> str:
    """What the record says of one added gate."""
    document = spec()
    document["gates"] = [*more.pop("others", []), {"id": "g", **gate}]
    document["metrics"].append({"name": "refreshes", "reducer": "sum"})
    record = record_of(run(folder, spec_data=document, **more))
    row = next(row for row in record["gates"] if row["id"] == "g")
    return json.dumps([row["verdict"], row["message"]])


def shown(folder: Path, **more: Any) -> str:
    """What the report says."""
    return (run(folder, **more) / "report.md").read_text().replace("\\", "")


@cheat
def edit_a_sample(folder: Path) -> str:
    out = run(folder)
    path = out / "samples.jsonl"
    path.write_text(path.read_text().replace('"score": false', '"score": true', 1))
    return command("verify", str(out))


@cheat
def edit_a_metric(folder: Path) -> str:
    return verify_edited(folder, lambda record: record["metrics"][0].update(value="0.99"))


@cheat
def edit_a_verdict(folder: Path) -> str:
    return verify_edited(folder, lambda record: record["gates"][0].update(verdict="inconclusive"))


@cheat
def move_a_threshold(folder: Path) -> str:
    def edit(record: dict[str, Any]) -> None:
        record["spec"]["document"]["gates"][0]["rule"]["rule"]["cmp"][2] = "0.1"

    return verify_edited(folder, edit)


@cheat
def soften_a_gate_between_runs(folder: Path) -> str:
    document = spec()
    document["gates"][0]["rule"]["rule"]["cmp"][2] = "0.1"
    before, after = run(folder / "before"), run(folder / "after", spec_data=document)
    return command("compare", str(before), str(after))


@cheat
def add_a_gate_after_the_run(folder: Path) -> str:
    rule = {"cmp": [{"m": "speed", "arm": "full"}, ">", "1"]}

    def edit(record: dict[str, Any]) -> None:
        record["spec"]["document"]["gates"].append({"id": "after", "rule": rule})

    return verify_edited(folder, edit)


@cheat
def measure_something_else_too(folder: Path) -> str:
    rows = list(sample_rows())
    return shown(folder, rows=[*rows, {**rows[0], "measure": "better_luck"}])


@cheat
def drop_a_bad_seed(folder: Path) -> str:
    rows = [row for row in sample_rows() if row["seed"] == 0]
    return json.dumps(record_of(run(folder, rows=rows))["seeds"])


@cheat
def run_more_seeds_until_it_passes(folder: Path) -> str:
    rows = list(sample_rows())
    return shown(folder, rows=[*rows, {**rows[0], "seed": 77}])


@cheat
def stop_early_or_late(folder: Path) -> str:
    return json.dumps(record_of(run(folder, rows=list(sample_rows())[:-10]))["gaps"])


@cheat
def leave_a_rung_out(folder: Path) -> str:
    rule = {"each": "context", "rule": {"cmp": [{"m": "recall", "arm": "full"}, ">", "0"]}}
    rows = [row for row in sample_rows() if row["at"]["context"] == 256]
    return judged(folder, {"rule": rule}, rows=rows)


@cheat
def pad_with_repeated_rows(folder: Path) -> str:
    rows = list(sample_rows())
    return shown(folder, rows=[*rows, *rows[:40]])


@cheat
def measure_on_the_warm_up_prompt(folder: Path) -> str:
    rows = list(sample_rows())
    return shown(folder, rows=[{**rows[0], "warmup": True}, *rows])


def with_scores(scores: dict[str, list[float]], measure: str = "tok_s") -> Rows:
    base = next(iter(sample_rows()))
    return [
        {**base, "arm": arm, "measure": measure, "score": score, "unit": f"u{index}"}
        for arm, found in scores.items()
        for index, score in enumerate(found)
    ]


@cheat
def let_one_outlier_carry_it(folder: Path) -> str:
    rows = with_scores({"full": [51.5, 21.5, 22.8, 23.0, 14.9]})
    rule = {"cmp": [{"m": "speed", "arm": "full", "stat": "mean"}, ">=", "21.1"]}
    return judged(folder, {"rule": rule}, rows=rows)


@cheat
def leave_the_control_out(folder: Path) -> str:
    rows = [row for row in sample_rows() if row["arm"] == "full"]
    window = {"cmp": [{"m": "speed", "arm": "sink_window"}, ">", "0"]}
    rule = {"cmp": [{"m": "speed", "arm": "full"}, ">", "0"]}
    control = {"id": "control", "kind": "control", "rule": window}
    return judged(folder, {"rule": rule, "needs": ["control"]}, others=[control], rows=rows)


@cheat
def use_a_control_that_cannot_fail(folder: Path) -> str:
    rows = with_scores({"full": [True] * 20, "sink_window": [True] * 20}, "recall")
    arms = [{"m": "recall", "arm": arm, "at": {"context": 256}} for arm in ("full", "sink_window")]
    differs = {"cmp": [{"sub": arms}, ">", "0"]}
    return judged(folder, {"rule": differs, "decide": {"by": "ci"}}, rows=rows)


@cheat
def set_a_flag_without_effect(folder: Path) -> str:
    rows = with_scores({"full": [0]}, "refreshes")
    rule = {"cmp": [{"m": "refreshes", "arm": "full"}, ">=", "12"]}
    return judged(folder, {"rule": rule}, rows=rows)


@cheat
def write_results_by_hand(folder: Path) -> str:
    scores = [20.0 + index / 7 for index in range(12)]
    rows = with_scores({"full": scores})
    return shown(folder, rows=[*rows, *({**row, "seed": 1} for row in rows)])


@cheat
def write_timings_by_hand(folder: Path) -> str:
    return shown(folder, rows=[{**row, "t_ms": 250.0} for row in sample_rows()])


def disjoint_facts(**sets: list[str]) -> dict[str, Any]:
    return facts() | {"sets": sets}


@cheat
def train_on_the_test(folder: Path) -> str:
    given = disjoint_facts(train=["1", "2"], eval=["2"])
    return judged(folder, {"rule": {"disjoint": ["train", "eval"]}}, facts_data=given)


@cheat
def hide_the_overlap(folder: Path) -> str:
    given = disjoint_facts(train=["1", "2"])
    return judged(folder, {"rule": {"disjoint": ["train", "eval"]}}, facts_data=given)


@cheat
def compare_with_another_machine(folder: Path) -> str:
    other = facts() | {"hardware": {"fingerprint": digest_of("another")}}
    before, after = run(folder / "a"), run(folder / "b", facts_data=other)
    return command("compare", str(before), str(after))


def with_code(**more: Any) -> dict[str, Any]:
    given = copy.deepcopy(facts())
    given["code"] |= more
    return given


@cheat
def run_a_dirty_tree(folder: Path) -> str:
    return shown(folder, facts_data=with_code(dirty=True, differing=["workloads/niah/arms.py"]))


@cheat
def hide_edits_from_git(folder: Path) -> str:
    return shown(folder, facts_data=with_code(hidden_index=2))


@cheat
def leave_lfs_pointers(folder: Path) -> str:
    return shown(folder, facts_data=with_code(lfs_pointers=["weights.bin"]))


@cheat
def import_from_elsewhere(folder: Path) -> str:
    return shown(folder, facts_data=with_code(foreign=["workloads"]))


@cheat
def edit_the_judge(folder: Path) -> str:
    given = facts() | {"trusted": {"commit": "d" * 40, "edited": ["evidence/reducers.py"]}}
    return shown(folder, facts_data=given)


@cheat
def judge_with_another_evaluator(folder: Path) -> str:
    def edit(record: dict[str, Any]) -> None:
        record["evaluator"]["digest"] = digest_of("another")
        record["digests"]["evaluator"] = digest_of("another")

    return verify_edited(folder, edit)


@cheat
def write_the_conclusion(folder: Path) -> str:
    return verify_edited(folder, lambda record: record.update(conclusions="it works"))


@cheat
def write_a_nan(folder: Path) -> str:
    paths = write_job(folder / "job")
    text = paths["samples"].read_text()
    paths["samples"].write_text(re.sub(r'"score": [\d.]+', '"score": NaN', text, count=1))
    with pytest.raises(ManifestError) as caught:
        judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], folder / "out"))
    return f"ends {caught.value.exit_code}: {caught.value}"


def read_rows() -> dict[str, str]:
    table = PAGE.split("<!-- table: cheats -->")[1].split("\n\n")[0]
    return dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", table, flags=re.MULTILINE))


def test_every_row_of_the_page_has_its_cheat_and_the_other_way_round() -> None:
    assert list(read_rows()) == list(CHEATS)


@pytest.mark.parametrize("name", CHEATS)
def test_the_tool_answers_as_the_page_says(name: str, tmp_path: Path) -> None:
    promised = read_rows()[name]
    answer = CHEATS[name](tmp_path)
    for words in re.findall(r"`([^`]+)`", promised):
        assert words in answer
    for code in re.findall(r"ends (\d+)", promised):
        assert f"ends {code}" in answer


def test_a_doubted_run_says_so_in_its_first_lines(tmp_path: Path) -> None:
    text = shown(tmp_path, facts_data=with_code(hidden_index=1))
    assert "integrity doubted" in "\n".join(text.splitlines()[:4])
