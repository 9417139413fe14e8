"""The workload as a whole: config, presets, the same rows again, resuming, planted faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.errors import UsageError
from presets.binding import bind, render_config
from presets.catalog import load_catalog
from tests.whole_jobs import PRESETS, read_facts, read_rows, run_job
from workloads.equilibrium.block import Block, Shape
from workloads.equilibrium.config import SIZES, Config
from workloads.equilibrium.relaxation import relax
from workloads.equilibrium.text import Text
from workloads.shared import job

NAMES = ("equilibrium-tiny", "equilibrium-small", "equilibrium-h200", "equilibrium-mac-m4")


@pytest.fixture
def essays(tmp_path: Path) -> Path:
    folder = tmp_path / "essays"
    folder.mkdir()
    prose = (Path(__file__).resolve().parents[2] / "docs" / "presets.md").read_text("utf-8")
    (folder / "one.txt").write_text(prose, "utf-8")
    return folder


def run(folder: Path, essays: Path, **config: Any) -> Path:
    config = {"scale": "ci", "seeds": [0, 1]} | config
    return run_job("equilibrium", folder, config, {"essays": essays})


def test_the_same_config_gives_the_same_rows_and_resumes(tmp_path: Path, essays: Path) -> None:
    rounds = ["train", "hijack"]
    first = run(tmp_path / "a", essays, rounds=rounds)
    rows = read_rows(first)
    assert {row["seed"] for row in rows} == {0, 1}
    assert {"held_loss", "terms_cosine", "penalty_share"} <= {row["measure"] for row in rows}
    assert read_rows(run(tmp_path / "b", essays, rounds=rounds)) == rows

    finished = tmp_path / "a" / "checkpoint" / "finished.jsonl"
    lines = finished.read_text("utf-8").splitlines(keepends=True)
    finished.write_text("".join(lines[:3]) + lines[3][:20], "utf-8")
    again = run(tmp_path / "a", essays, rounds=rounds)
    assert read_rows(again) == rows
    assert read_facts(again)["counters"]["units_resumed"] == 3


def test_planted_noise_averages_out_and_planted_bias_does_not(tmp_path: Path, essays: Path) -> None:
    rows = read_rows(run(tmp_path / "a", essays, rounds=["averaging"]))

    def mean(arm: str, navg: int) -> float:
        found = [
            row["score"]
            for row in rows
            if row["arm"] == arm and row["measure"] == "navg_cosine" and row["at"]["navg"] == navg
        ]
        return sum(found) / len(found)

    assert mean("planted_noise", 16) > 0.99 > mean("planted_noise", 1)
    assert mean("planted_bias", 16) < mean("planted_bias", 1)
    assert mean("tracking", 1) > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_gives_a_config_that_its_workload_takes(name: str) -> None:
    preset = load_catalog(PRESETS).get(name)
    config = render_config(preset, bind(preset, {}), env={})
    built = job.build_config(Config, config)
    assert preset.plan is not None
    assert tuple(preset.plan["seeds"]) == built.seeds
    assert tuple(preset.plan["dims"]["navg"]) == built.navg
    assert len(built.seeds) >= 2


@pytest.mark.parametrize("scale", sorted(SIZES))
def test_every_scale_makes_a_block_that_moves(scale: Any) -> None:
    sizes = SIZES[scale]
    block = Block(Shape(sizes.width, sizes.heads, sizes.length))
    theta = block.make_parameters(0)
    batch = Text.encode("settle down, please. " * 400).draw(["s"], rows=1, length=sizes.length)
    rest = relax(block, theta, block.embed(theta, batch.inputs), max_steps=3)
    assert rest.steps == 3
    assert sizes.horizons == tuple(sorted(sizes.horizons))
    assert sizes.snapshots == tuple(sorted(sizes.snapshots))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"seeds": (1, 1)}, "$.config.seeds"),
        ({"radii": ()}, "$.config.radii"),
        ({"navg": (1, 900)}, "$.config.navg"),
        ({"ceilings": (-1.0,)}, "$.config.ceilings"),
        ({"rate": 0.0}, "$.config"),
    ],
)
def test_a_config_that_cannot_be_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config(**fields)
    assert any(problem.startswith(path) for problem in caught.value.problems)


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short", "utf-8")
    with pytest.raises(UsageError, match="5000 are needed"):
        Text.read(tmp_path)
