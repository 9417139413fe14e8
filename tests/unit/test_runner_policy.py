"""Decisions of a runner: pure, so that every branch can be asked."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.bus.chain import Chain
from bridge.bus.refs import JobRef
from bridge.errors import IntegrityError
from bridge.records import PresetRef, Request, Resources
from bridge.runner.config import RunnerConfig, parse_config
from bridge.runner.policy import (
    FAIRNESS,
    Decision,
    Pass,
    Refuse,
    Take,
    decide,
    fits,
    order_queue,
    subtract,
)
from presets.binding import bind
from presets.catalog import load_catalog
from tests import samples

ROOT = Path(__file__).parents[2]
CATALOG = load_catalog(ROOT / "presets")
BUS = samples.make_id()


def make_config(tmp_path: Path, **changes: Any) -> RunnerConfig:
    document = {"name": "r", "bus": "b.git", "trusted": {"checkout": "."}, "slots": {"cpus": 2}}
    config = parse_config(document, where="test", base=tmp_path)
    return replace(config, **changes)


def make_chain(**changes: Any) -> Chain:
    preset = CATALOG.get("noop")
    values: dict[str, Any] = {
        "preset": PresetRef(preset.name, preset.digest),
        "params": bind(preset, {}),
        "labels": preset.labels,
        "resources": preset.resources,
        **changes,
    }
    request: Request = samples.make_request(BUS, **values)
    job = JobRef(request.label, request.priority, request.id)
    return Chain("ref", job, "tip", files={}, request=request)


def ask(config: RunnerConfig, chain: Chain, *, merged: bool = True) -> Decision:
    def nobody(_: Chain) -> str:
        raise IntegrityError("the request is not signed")

    return decide(chain, config, CATALOG, ["local"], lambda _: merged, nobody)


def test_an_honest_request_is_taken(tmp_path: Path) -> None:
    decision = ask(make_config(tmp_path), make_chain())
    assert isinstance(decision, Take)
    assert decision.executor == "local"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"preset": PresetRef("no-such-preset", samples.SOME_DIGEST)}, "$.preset.name"),
        ({"params": {"seconds": 99999, "exit_code": 0}}, "$.params.seconds"),
        ({"params": {"seconds": 0}}, "$.params"),
        ({"resources": Resources(cpus=1, memory_mb=1)}, "$.resources"),
    ],
)
def test_what_every_runner_must_refuse(tmp_path: Path, changes: dict[str, Any], path: str) -> None:
    decision = ask(make_config(tmp_path), make_chain(**changes))
    assert isinstance(decision, Refuse)
    assert any(problem.startswith(path) for problem in decision.problems)


def test_a_malformed_request_is_refused_with_its_problems(tmp_path: Path) -> None:
    chain = replace(make_chain(), request=None, problems=("$.id: missing",))
    decision = ask(make_config(tmp_path), chain)
    assert isinstance(decision, Refuse)
    assert decision.problems == ("$.id: missing",)


@pytest.mark.parametrize(
    ("chain_changes", "config_changes", "reason"),
    [
        ({"preset": PresetRef("noop", samples.SOME_DIGEST)}, {}, "preset"),
        ({"labels": ("any", "h200")}, {}, "label"),
        ({"resources": Resources(cpus=64, memory_mb=128)}, {}, "resources"),
        ({"executor": "pueue"}, {}, "policy"),
    ],
)
def test_what_is_left_to_others(
    tmp_path: Path, chain_changes: dict[str, Any], config_changes: dict[str, Any], reason: str
) -> None:
    decision = ask(make_config(tmp_path, **config_changes), make_chain(**chain_changes))
    assert isinstance(decision, Pass)
    assert decision.reason == reason


def test_a_request_for_one_runner_is_left_to_it(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    for changes in ({"runner": "r"}, {"avoid": "another"}):
        assert isinstance(ask(config, make_chain(**changes)), Take)
    for changes in ({"runner": "another"}, {"avoid": "r"}):
        decision = ask(config, make_chain(**changes))
        assert isinstance(decision, Pass)
        assert (decision.reason, "alone" in decision.detail) == ("label", "runner" in changes)


def test_unmerged_code(tmp_path: Path) -> None:
    chain = make_chain()
    assert isinstance(ask(make_config(tmp_path), chain, merged=False), Pass)
    alone = make_config(tmp_path, code_policy="any", run_as="nobody")
    assert isinstance(ask(alone, chain, merged=False), Take)
    signed = make_config(tmp_path, code_policy="signed", allowed_signers=tmp_path)
    decision = ask(signed, chain, merged=False)
    assert isinstance(decision, Pass)
    assert "not signed" in decision.detail


def test_what_is_free_is_what_nobody_uses() -> None:
    free = subtract(Resources(4, 1000, 1, 80), [Resources(1, 300), Resources(2, 300, 1)])
    assert free == Resources(1, 400, 0, 80)
    assert fits(Resources(1, 400), free)
    assert not fits(Resources(2, 1), free)
    assert not fits(Resources(1, 1, 1), free)


@given(
    priorities=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 9), max_size=30),
    claims=st.integers(0, 40),
    seed=st.integers(0, 1000),
)
def test_the_order_is_whole_and_fair(priorities: dict[str, int], claims: int, seed: int) -> None:
    seen = {ref: number for number, ref in enumerate(priorities)}
    refs = list(priorities)
    order = order_queue(refs, priorities, seen, claims, random.Random(seed))
    assert sorted(order) == sorted(refs)
    if not refs:
        return
    if claims % FAIRNESS == FAIRNESS - 1:
        assert order[0] == min(refs, key=lambda ref: seen[ref])
    else:
        assert priorities[order[0]] == min(priorities.values())
