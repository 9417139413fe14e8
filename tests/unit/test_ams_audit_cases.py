"""The 26 cases: each passes for a memory of rules, and fails for one with its planted defect."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest

from evidence.compare import compare as compare_records
from evidence.gates.tables import transition
from evidence.gates.view import read_view
from tests.planted_memory import DEFECTS, PlantedMemory
from workloads.ams_audit.audit import (
    CASES,
    Audit,
    compare,
    count_as_defined,
    read_table,
    run_audit,
    run_case,
)
from workloads.ams_audit.lexicon import DOMAINS, SEEN, SET_A, SET_B, list_words
from workloads.ams_audit.protocol import Limit
from workloads.ams_audit.stage import TEXTS, Stage

BY_ID = {case.id: case for case in CASES}


@cache
def sound_audit() -> Audit:
    return run_audit(PlantedMemory())


def test_there_are_26_cases_on_four_axes() -> None:
    assert [case.id for case in CASES] == [f"4.{number}" for number in range(1, 27)]
    assert len({case.name for case in CASES}) == len({case.seed for case in CASES}) == 26
    counts = {axis: sum(case.axis == axis for case in CASES) for axis in "CDM"}
    assert counts == {"C": 11, "D": 3, "M": 12}
    assert all(case.limits for case in CASES)
    assert set(DEFECTS) == set(BY_ID)


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_sound_memory_passes(case: object) -> None:
    finding = {one.case.id: one for one in sound_audit().findings}[case.id]  # type: ignore[attr-defined]
    assert finding.error is None
    assert finding.passed, finding.figures


@pytest.mark.parametrize("number", list(DEFECTS))
def test_a_planted_defect_fails_its_case(number: str) -> None:
    case = BY_ID[number]
    finding = run_case(case, Stage(PlantedMemory(DEFECTS[number])))
    assert finding.error is None
    assert {limit.figure for limit in case.limits} <= set(finding.figures)
    assert not finding.passed, finding.figures


def test_every_limit_is_needed_and_absence_never_passes() -> None:
    for finding in sound_audit().findings:
        for limit in finding.case.limits:
            lacking = {k: v for k, v in finding.figures.items() if k != limit.figure}
            assert not finding.case.judge(lacking)
            assert not finding.case.judge({**finding.figures, limit.figure: float("nan")})


def test_the_axes_follow_from_the_cases() -> None:
    sound = sound_audit()
    assert sound.passed == 26
    assert sound.axes() == {"A": (20.0, True), "B": (1.0, True), "C": (11, True), "D": (3, True)}
    failed = run_audit(PlantedMemory("loads-less"))
    assert failed.axes()["D"] == (2, False)
    contrary = run_audit(PlantedMemory("contrary"))
    assert not contrary.axes()["C"][1]
    assert not replace(sound, compression=9.0).axes()["A"][1]
    assert not replace(sound, growth=4.0).axes()["B"][1]


def test_what_a_memory_raises_is_a_finding() -> None:
    class Broken(PlantedMemory):
        def gate(self, prompt: str) -> float:
            raise ValueError("no gate")

    finding = run_case(BY_ID["4.26"], Stage(Broken()))
    assert not finding.passed
    assert finding.error == "ValueError: no gate"


def test_the_same_memory_gives_the_same_findings() -> None:
    assert run_audit(PlantedMemory()).findings == sound_audit().findings


# -- transitions ---------------------------------------------------------------------------


def test_transitions_are_those_of_the_records_own_language() -> None:
    sound, lossy = sound_audit(), run_audit(PlantedMemory("loads-less"))
    read_otherwise = run_audit(PlantedMemory(), reader="uniform")
    for before, after in ((sound, lossy), (lossy, sound), (lossy, read_otherwise)):
        tables = [
            {
                name: (case["verdict"], case["gate"])
                for name, case in one.as_record()["cases"].items()
            }
            for one in (before, after)
        ]
        found = compare(before.table(), after.table())
        assert {name: kind.replace("_", "-") for name, kind in found.items()} == {
            name: transition(name, *tables) for name in tables[0]
        }
    assert compare(sound.table(), lossy.table())["4.13"] == "lost"
    assert compare(lossy.table(), sound.table())["4.13"] == "gained"
    assert compare(lossy.table(), read_otherwise.table())["4.24"] == "redefined"
    assert read_table(json.loads(json.dumps(lossy.as_record()))) == lossy.table()


def test_a_redefinition_is_no_gain() -> None:
    blurred = run_audit(PlantedMemory("blurred"))
    mended = run_audit(PlantedMemory(), reader="uniform")
    assert (blurred.passed, mended.passed) == (25, 26)
    assert count_as_defined(blurred.table(), mended.table()) == 25
    assert count_as_defined(blurred.table(), sound_audit().table()) == 26


def test_a_table_of_cases_is_a_record_that_evidence_compares() -> None:
    views = [
        read_view(json.loads(json.dumps(one.as_record())))
        for one in (sound_audit(), run_audit(PlantedMemory("loads-less"), reader="uniform"))
    ]
    changes = {row["case"]: row["change"] for row in compare_records(*views).transitions}
    assert changes == {"4.13": "PASS→FAIL", "4.24": "redefined"}


@pytest.mark.parametrize("number", ["4.1", "4.23"])
def test_whatever_defines_a_case_is_in_its_digest(number: str) -> None:
    case = BY_ID[number]
    limit = case.limits[0]
    moved = replace(case, limits=(Limit(limit.figure, limit.comparison, limit.bound + 1),))
    asked = replace(case, prompts=(*case.prompts, "tell me"))
    digests = {case.digest("primary"), moved.digest("primary"), asked.digest("primary")}
    assert len(digests) == 3
    assert case.digest("primary") == case.digest("uniform")
    assert BY_ID["4.24"].digest("primary") != BY_ID["4.24"].digest("uniform")


# -- what is held out ----------------------------------------------------------------------


def test_prompt_sets_are_apart_and_paraphrases_share_no_rare_word() -> None:
    assert not set(SET_A) & set(SET_B)
    for name, texts in TEXTS.items():
        assert len(texts) == 4
        for one in texts:
            assert set(one.rare) <= set(one.text.split())
            assert not set(DOMAINS[name].rare_words) & set(one.retold.split())
            shared = set(one.text.split()) & set(one.retold.split()) & set(DOMAINS[name].keywords)
            assert not shared


def test_a_word_belongs_to_one_domain_and_two_domains_are_never_trained_on() -> None:
    words = [word for domain in DOMAINS.values() for word in domain.keywords]
    assert len(words) == len(set(words))
    assert set(words) <= set(list_words())
    assert len(set(DOMAINS) - set(SEEN)) == 2
