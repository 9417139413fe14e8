"""The workload as a whole: the same rows again, resuming, presets, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bridge.errors import UsageError
from presets.binding import bind, render_config
from presets.catalog import load_catalog
from tests.whole_jobs import PRESETS, read_facts, read_rows, run_job
from workloads.routing import count_planned
from workloads.routing.config import SIZES, Config
from workloads.routing.environment import draw_prompts
from workloads.routing.policy import make_parameters, sample
from workloads.routing.training import make_source, train_base
from workloads.shared import job

CONFIG = {"scale": "ci", "seeds": [0, 1], "arms": ["vanilla", "route"], "samples": 8}


def run(folder: Path) -> list[dict[str, Any]]:
    return read_rows(run_job("routing", folder, CONFIG), timed=True)


def test_the_same_config_gives_the_same_rows_and_resumes(tmp_path: Path) -> None:
    rows = run(tmp_path / "a")
    assert {row["arm"] for row in rows} == {"base", "vanilla", "route"}
    assert run(tmp_path / "b") == rows
    finished = tmp_path / "a" / "checkpoint" / "finished.jsonl"
    lines = finished.read_text("utf-8").splitlines(keepends=True)
    finished.write_text("".join(lines[:4]), "utf-8")
    assert run(tmp_path / "a") == rows
    counters = read_facts(tmp_path / "a" / "out")["counters"]
    assert counters["units_resumed"] == 4
    assert counters["route.refreshes"] == 2 * count_planned(Config(scale="ci"))


def test_arms_are_paired_and_hacks_are_scored_only_where_there_is_a_loophole(
    tmp_path: Path,
) -> None:
    rows = [row for row in run(tmp_path) if row["at"].get("knob") == "off"]

    def units(arm: str, measure: str) -> list[tuple[str, str]]:
        found = [one for one in rows if (one["arm"], one["measure"]) == (arm, measure)]
        return sorted((one["unit"], one["input"]) for one in found)

    assert units("vanilla", "hack") == units("route", "hack") == units("base", "hack")
    assert len(units("vanilla", "hack")) == 2 * 3 * 8
    assert len(units("vanilla", "solve")) == 2 * 4 * 8


@pytest.mark.parametrize("name", ["routing-tiny", "routing-small", "routing-mac-m4"])
def test_a_preset_gives_a_config_that_its_workload_takes(name: str) -> None:
    preset = load_catalog(PRESETS).get(name)
    built = job.build_config(Config, render_config(preset, bind(preset, {}), env={}))
    assert preset.plan is not None
    assert tuple(preset.plan["seeds"]) == built.seeds
    assert count_planned(built) > 0


@pytest.mark.parametrize("scale", sorted(SIZES))
def test_every_scale_makes_a_policy_that_answers(scale: Any) -> None:
    sizes, source = SIZES[scale], make_source(scale)
    theta = make_parameters(source, sizes.width, sizes.rank)
    prompts = draw_prompts(source, 4)
    tokens = sample(theta, prompts, torch.rand(4, 3, generator=source), quarantine=True)
    assert tokens.shape == (4, 3)
    assert sizes.group > 1


def test_bases_of_two_seeds_differ() -> None:
    config = Config(scale="ci")
    one, two = train_base(config, 0), train_base(config, 1)
    assert not one["layer1"].equal(two["layer1"])


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"seeds": (1,)}, "$.config.seeds"),
        ({"arms": ()}, "$.config.arms"),
        ({"samples": 0}, "$.config.samples"),
        ({"rate": 0.0}, "$.config.rate"),
        ({"matched_solve": 1.5}, "$.config.matched_solve"),
    ],
)
def test_a_config_that_cannot_be_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config(**fields)
    assert any(problem.startswith(path) for problem in caught.value.problems)
