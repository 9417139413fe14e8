"""Judge a job from its files, verify what came of it, and name every byte that was changed."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge import canonical, proc, schema
from bridge.cli.evidence import evidence_group
from bridge.errors import ExitCode, IntegrityError
from evidence.__main__ import main
from evidence.evaluator import evaluator, evaluator_files
from evidence.judge import JudgeInput, judge
from evidence.verify import verify
from tests.evidence_world import digest_of, facts, sample_rows, spec, write_job


def judged(folder: Path, **more: Any) -> Path:
    paths = write_job(folder / "job", **more)
    judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], folder / "out"))
    return folder / "out"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged(tmp_path_factory.mktemp("judged"))


@pytest.fixture
def copied(out: Path, tmp_path: Path) -> Path:
    for name in ("evidence.json", "samples.jsonl"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    return tmp_path


def read(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "evidence.json").read_text())
    return record


def invoke(*argv: str) -> tuple[int, Any]:
    done = CliRunner().invoke(evidence_group, [*argv, "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_the_record_fits_its_published_schema_and_names_everything(out: Path) -> None:
    record = read(out)
    schema.check(record, schema.load("evidence", "evidence"), where="record")
    given = facts()
    assert record["request"]["digest"] == given["request"]["digest"]
    assert record["inputs"] == given["inputs"]
    assert record["evaluator"] == evaluator()
    assert record["seeds"] == {"planned": ["0", "1"], "run": ["0", "1"], "excluded": []}
    assert record["samples"]["sha256"] == canonical.digest_bytes(
        (out / "samples.jsonl").read_bytes()
    )
    assert record["conclusions"] is None
    assert record["result"]["gates"] == "pass"
    assert record["gaps"] == []
    assert [row["outcome"] for row in record["predictions"]] == ["confirmed", "unresolved"]


def test_real_numbers_that_decide_are_decimal_strings(out: Path) -> None:
    def floats(value: Any, path: str) -> list[str]:
        if isinstance(value, dict):
            return [p for key, inner in value.items() for p in floats(inner, f"{path}.{key}")]
        if isinstance(value, list):
            return [
                p for index, inner in enumerate(value) for p in floats(inner, f"{path}[{index}]")
            ]
        return [path] if isinstance(value, float) else []

    record = read(out)
    for key in ("metrics", "gates", "predictions", "result", "cases"):
        assert floats(record[key], key) == []


def test_judging_twice_gives_the_same_bytes(out: Path, tmp_path: Path) -> None:
    again = judged(tmp_path)
    assert (again / "evidence.json").read_bytes() == (out / "evidence.json").read_bytes()


def test_an_untouched_record_verifies(out: Path) -> None:
    code, answer = invoke("verify", str(out))
    assert (code, answer["sound"], answer["differences"]) == (ExitCode.DONE, True, [])


def test_every_byte_of_the_samples_is_watched(copied: Path) -> None:
    data = bytearray((copied / "samples.jsonl").read_bytes())
    for place in (0, 10, len(data) // 2, len(data) - 3):
        changed = bytearray(data)
        changed[place] ^= 1
        (copied / "samples.jsonl").write_bytes(changed)
        code, answer = invoke("verify", str(copied))
        assert code == ExitCode.REFUSED
        assert answer["differences"][0]["path"] == "$.samples.sha256"


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [
            found for index, inner in enumerate(value) for found in leaves(inner, (*path, index))
        ]
    return [path]


def change(value: Any) -> Any:
    """The same kind of value, moved a little."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        words = {"pass": "fail", "fail": "pass", "inconclusive": "pass", "two": "one"}
        if value in words:
            return words[value]
        last = value[-1:] or "0"
        return value[:-1] + ("1" if last != "1" else "2")
    return "1"


def test_every_derived_leaf_of_the_record_is_watched(copied: Path) -> None:
    record = read(copied)
    derived = ("metrics", "gates", "cases", "controls", "predictions", "gaps", "seeds", "result")
    paths = [(key, *path) for key in derived for path in leaves(record[key])]
    assert len(paths) > 400
    for path in paths[:: len(paths) // 60]:
        changed = copy.deepcopy(record)
        target = changed
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = change(target[path[-1]])
        (copied / "evidence.json").write_bytes(canonical.encode(changed))
        found = verify(copied)
        assert found.differences, path
        shown = "$" + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in path)
        named = " ".join(one.path for one in found.differences)
        assert shown in named or path[0] in named, (shown, named)


def test_a_changed_verdict_ends_4_and_names_both_values(copied: Path) -> None:
    record = read(copied)
    record["gates"][1]["verdict"] = "fail"
    (copied / "evidence.json").write_bytes(canonical.encode(record))
    code, answer = invoke("verify", str(copied))
    assert code == ExitCode.REFUSED
    assert {"path": "$.gates[1].verdict", "recorded": "fail", "recomputed": "pass"} in answer[
        "differences"
    ]


def test_a_moved_threshold_ends_4(copied: Path) -> None:
    record = read(copied)
    record["spec"]["document"]["gates"][0]["rule"]["rule"]["cmp"][2] = "0.1"
    (copied / "evidence.json").write_bytes(canonical.encode(record))
    _, answer = invoke("verify", str(copied))
    paths = {one["path"] for one in answer["differences"]}
    assert {"$.gates[0].digest", "$.spec.digest", "$.cases.full-recalls.gate"} <= paths


def test_a_conclusion_is_not_taken(copied: Path) -> None:
    record = read(copied)
    record["conclusions"] = "it works"
    (copied / "evidence.json").write_bytes(canonical.encode(record))
    code, answer = invoke("verify", str(copied))
    assert code == ExitCode.REFUSED
    assert any(one["path"] == "$.conclusions" for one in answer["differences"])


def test_without_its_samples_a_record_is_not_recomputed(copied: Path) -> None:
    (copied / "samples.jsonl").unlink()
    code, answer = invoke("verify", str(copied))
    assert (code, answer["recomputed"]) == (ExitCode.INCONCLUSIVE, False)
    assert "nothing was recomputed" in answer["notes"][0]


def test_a_samples_path_that_leads_out_is_not_followed(copied: Path, tmp_path: Path) -> None:
    record = read(copied)
    record["samples"]["path"] = "../../../etc/hostname"
    (copied / "evidence.json").write_bytes(canonical.encode(record))
    assert invoke("verify", str(copied))[0] == ExitCode.INCONCLUSIVE


def test_artifacts_are_checked_by_digest(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    item = {"path": "a.txt", "sha256": canonical.digest_bytes(b"a"), "bytes": 1}
    paths = write_job(tmp_path / "job", facts_data=facts() | {"artifacts": [item]})
    given = JudgeInput(paths["facts"], paths["samples"], paths["spec"], tmp_path / "out", folder)
    judge(given)
    assert not verify(tmp_path / "out", artifacts=folder).differences
    (folder / "a.txt").write_text("b")
    assert [one.path for one in verify(tmp_path / "out", artifacts=folder).differences] == [
        "$.artifacts[0]"
    ]
    with pytest.raises(IntegrityError) as caught:
        judge(given)
    assert "a.txt" in caught.value.problems[0]


def test_a_job_without_samples_is_missing_never_a_pass(tmp_path: Path) -> None:
    record = read(judged(tmp_path, rows=[]))
    assert record["result"]["gates"] == "missing"
    assert all(gap["load_bearing"] for gap in record["gaps"] if "recall" in gap["planned"])
    assert [item["seed"] for item in record["seeds"]["excluded"]] == ["0", "1"]
    assert not verify(tmp_path / "out").differences


def test_a_preset_without_gates_is_missing(tmp_path: Path) -> None:
    record = read(judged(tmp_path, spec_data=spec() | {"gates": []}))
    assert record["result"]["gates"] == "missing"


def test_a_rung_that_was_not_run_is_missing_and_a_gap(tmp_path: Path) -> None:
    rows = [row for row in sample_rows() if row["at"]["context"] != 512]
    record = read(judged(tmp_path, rows=rows))
    assert record["cases"]["full-recalls"]["verdict"] == "missing"
    assert record["cases"]["full-beats-window"]["verdict"] == "inconclusive"
    assert any("context=512" in gap["planned"] and gap["load_bearing"] for gap in record["gaps"])


def test_too_many_and_too_few_samples_are_gaps(tmp_path: Path) -> None:
    rows = list(sample_rows())
    again = {**rows[0], "unit": "one-more", "input": digest_of("more")}
    record = read(judged(tmp_path, rows=[*rows[:-2], again]))
    found = " ".join(gap["why"] for gap in record["gaps"])
    assert "5 found" in found
    assert "3 found" in found


def test_python_m_evidence_judge_writes_and_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_job(tmp_path / "job")
    argv = [f"--{name}={path}" for name, path in paths.items()]
    assert main(["judge", *argv, f"--out={tmp_path / 'out'}"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["notes"]) == ("pass", [])
    assert {"evidence.json", "report.md", "report.html"} <= set(answer["files"])


def test_python_m_evidence_judge_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_job(tmp_path / "job")
    paths["samples"].write_text("not json\n")
    argv = [f"--{name}={path}" for name, path in paths.items()]
    assert main(["judge", *argv, f"--out={tmp_path / 'out'}"]) == ExitCode.USAGE
    assert "line 1" in json.loads(capsys.readouterr().err)["problems"][0]


def test_unknown_facts_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_job(tmp_path / "job", facts_data=facts() | {"verdict": "pass"})
    argv = [f"--{name}={path}" for name, path in paths.items()]
    assert main(["judge", *argv, f"--out={tmp_path / 'out'}"]) == ExitCode.USAGE
    assert "verdict" in capsys.readouterr().err


def test_the_evaluator_covers_what_decides() -> None:
    files = evaluator_files()
    for name in ("evidence/gates/evaluate.py", "evidence/reducers.py", "bridge/canonical.py"):
        assert name in files
    assert not any("records/" in name for name in files)


def test_judging_needs_no_torch() -> None:
    program = "import sys, evidence.judge; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    env = {**proc.base_env(), "PYTHONPATH": str(root)}
    done = proc.run([sys.executable, "-c", program], cwd=root, env=env, timeout_s=60)
    assert done.code == 0, done.stderr.decode()


def test_a_baseline_is_kept_so_that_a_record_verifies_alone(out: Path, tmp_path: Path) -> None:
    document = spec()
    window = {"m": "recall", "arm": "full"}
    document["gates"].append(
        {
            "id": "not-worse",
            "rule": {"each": "context", "rule": {"cmp": [window, ">=", {**window, "base": "old"}]}},
        }
    )
    paths = write_job(tmp_path / "job", spec_data=document)
    judge(
        JudgeInput(
            paths["facts"],
            paths["samples"],
            paths["spec"],
            tmp_path / "out",
            bases={"old": out / "evidence.json"},
        )
    )
    record = read(tmp_path / "out")
    assert record["cases"]["not-worse"]["verdict"] == "pass"
    assert record["baselines"]["old"]["digest"].startswith("sha256:")
    assert not verify(tmp_path / "out").differences
