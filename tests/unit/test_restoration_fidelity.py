"""The sweep of fidelity whole, from the preset to the drawn curve, on a small checkpoint."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from evidence.judge import JudgeInput, judge
from evidence.report.plots import draw_plots
from presets.binding import bind, render_config, render_spec
from presets.definition import parse_preset
from tests import evidence_world, tiny_language
from tests.whole_jobs import PRESETS, read_rows, run_job

PRESET = PRESETS / "restoration-fidelity-tiny.yaml"


def test_the_sweep_needs_no_training_and_draws_its_curve(tmp_path):
    preset = parse_preset(PRESET.read_bytes(), PRESET.name)
    bound = bind(preset, {"samples": 1, "rank": 8, "short": 180, "drafter_layers": 1})
    config = render_config(preset, bound, {}) | {
        "batches": 2, "rows": 2, "length": 180, "new_tokens": 2,
        "device": "cpu",
    }  # fmt: skip
    inputs = {
        "weights": tiny_language.write_model(tmp_path / "model"),
        "essays": tiny_language.write_essays(tmp_path / "essays"),
    }
    rows = read_rows(run_job("restoration", tmp_path, config, inputs), timed=True)
    assert not [row for row in rows if row["measure"] == "fit_loss"]
    errors: dict[int, list[float]] = {}
    for row in rows:
        if row["measure"] == "mix_error_full":
            errors.setdefault(row["seed"], []).append(row["score"])
    assert set(errors) == {0, 1, 2}
    for found in errors.values():  # in the order of alpha
        assert len(found) == len(config["alphas"])
        assert found == sorted(found, reverse=True)
        assert found[0] > 0.1
        assert found[-1] == 0

    spec = render_spec(preset, bound)
    paths = evidence_world.write_job(tmp_path / "judged", spec_data=spec, rows=rows)
    given = JudgeInput(paths["facts"], paths["samples"], paths["spec"], tmp_path / "report")
    assembled = judge(given).assembled
    verdicts = {gate["id"]: gate["verdict"] for gate in assembled.record["gates"]}
    assert verdicts["own-entries-are-the-oracle"] == "pass"
    assert verdicts["restored-entries-are-wrong"] == "pass"
    assert verdicts["oracle-finds"] == "fail", "random weights find nothing"
    assert verdicts["fidelity-buys-recall"] == "inconclusive"
    curves = [plot for plot in draw_plots(assembled) if plot.name.startswith("curve-")]
    assert [plot.name for plot in curves] == [
        "curve-mix_recall-mix_error_full", "curve-mix_recall_seed-mix_error_full_seed",
    ]  # fmt: skip
    assert curves[0].description.startswith("mix: alpha 0: mix_recall 0 (0 of 3) at mix_error_full")
    assert "mix, seed 2: alpha 0: mix_recall_seed 0 (0 of 1)" in curves[1].description
