"""The presets `pytest-path` and `evidence-check`, served by a real runner."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.bus.chain import Chain
from bridge.cli.main import main
from evidence.packed import pack, unpack
from tests.lab import Lab, commit_all, make_bare, make_checkout, open_lab

MIXED = """
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2
@pytest.mark.skip(reason="not now")
def test_is_skipped(): pass
@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail(): assert False
@pytest.fixture
def leaky():
    yield
    raise RuntimeError("tear-down")
def test_passes_but_its_tear_down_fails(leaky): pass
@pytest.mark.parametrize("text", ["x" * 300, "\\x1b[31m"])
def test_has_an_odd_name(text): pass
"""


PATHS = {
    "mixed": "tests/test_mixed.py",
    "good": "tests/test_good.py",
    "broken": "tests/test_broken.py",
    "empty": "tests/empty",
    "nowhere": "tests/nowhere.py",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose trusted checkout has tests of its own, and a second record, not quite true."""
    folder = tmp_path_factory.mktemp("house")
    checkout = make_checkout(folder / "project")
    tests = checkout / "tests"
    (tests / "empty").mkdir(parents=True)
    (tests / "empty" / "README").write_text("no test here\n")
    (tests / "test_mixed.py").write_text(MIXED)
    (tests / "test_good.py").write_text("def test_passes(): pass\n")
    (tests / "test_broken.py").write_text("import no_such_module\n")
    record = next((checkout / "evidence" / "records").glob("*/*"))
    copy = checkout / "evidence" / "records" / "2025" / record.name
    shutil.copytree(record, copy)
    lines = unpack((copy / "samples.jsonl.gz").read_bytes(), where="samples").splitlines(True)
    (copy / "samples.jsonl.gz").write_bytes(pack(b"".join(lines[1:])))
    commit_all(checkout, "tests and a changed record")
    make_bare(folder / "bus.git")
    lab = open_lab(checkout, str(folder / "bus.git"), folder / "lab")
    yield lab
    lab.bus.close()


def rows_of(lab: Lab, chain: Chain, measure: str) -> dict[str, Any]:
    """Score of each unit that a job wrote for one measure."""
    lines = lab.bus.read(chain.files["samples.jsonl"]).splitlines()
    rows = [json.loads(line) for line in lines]
    assert all(len(row["unit"]) <= 200 and row["unit"].isprintable() for row in rows)
    return {row["unit"]: row["score"] for row in rows if row["measure"] == measure}


def test_each_test_is_a_sample_and_nothing_that_did_not_run_has_passed(house: Lab) -> None:
    asked = {name: house.submit("pytest-path", {"path": path}) for name, path in PATHS.items()}
    with house.runner(slots={"cpus": 8, "memory_mb": 32000}):
        ended = {name: house.wait(ref, bound_s=240) for name, ref in asked.items()}
    results = {name: chain.result for name, chain in ended.items()}
    assert {name: one.verdict for name, one in results.items() if one is not None} == {
        "mixed": "fail",
        "good": "pass",
        "broken": "fail",
        "empty": "missing",
        "nowhere": None,
    }
    assert {name: str(chain.state) for name, chain in ended.items()} == {
        **dict.fromkeys(PATHS, "done"),
        "nowhere": "failed",
    }
    passed = rows_of(house, ended["mixed"], "passed")
    odd = {name: score for name, score in passed.items() if "test_has_an_odd_name" in name}
    assert list(odd.values()) == [True, True]
    assert {name.partition("::")[2]: passed[name] for name in passed.keys() - odd.keys()} == {
        "test_passes": True,
        "test_fails": False,
        "test_passes_but_its_tear_down_fails": False,
    }
    skipped = rows_of(house, ended["mixed"], "skipped")
    assert {name.partition("::")[2] for name, score in skipped.items() if score} == {
        "test_is_skipped",
        "test_is_expected_to_fail",
    }


def test_records_are_verified_again_and_a_changed_one_is_found(house: Lab) -> None:
    every = house.submit("evidence-check")
    sound = house.submit("evidence-check", {"path": "evidence/records/2026"})
    with house.runner():
        ended = [house.wait(ref, bound_s=240) for ref in (every, sound)]
    assert [chain.result.verdict for chain in ended if chain.result] == ["fail", "pass"]
    holds = rows_of(house, ended[0], "holds")
    assert {folder.partition("/")[0]: score for folder, score in holds.items()} == {
        "2025": False,
        "2026": True,
    }


@pytest.mark.parametrize(
    ("preset", "path"), [("pytest-path", "workloads/noop"), ("evidence-check", "evidence/gates")]
)
def test_a_path_outside_is_refused_before_anything_is_asked(
    preset: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", preset, "-p", f"path={path}", "--dry-run"]) == 2
    assert "does not lie under" in capsys.readouterr().err
