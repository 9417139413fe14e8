"""The restoration workload whole: losses, fitting, both scales of models, every large preset."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("transformers")
import torch

from tests import tiny_language
from tests.whole_jobs import read_facts, read_rows, render, run_job
from workloads.restoration.fitting import fit, judge
from workloads.restoration.losses import LOSSES
from workloads.shared.curriculum import Stage, train_on_needles
from workloads.shared.restored.closed_form import fit_ridge
from workloads.shared.restored.drafters import truncate
from workloads.shared.restored.projection import FThetaConfig, FThetaProjection
from workloads.shared.restored.sources import Drafter
from workloads.shared.restored.targets import Teacher
from workloads.shared.tiny_models import build_tiny


@pytest.fixture(scope="module")
def teacher():
    torch.set_num_threads(1)
    model = build_tiny("gemma4", seed=1, hidden=64, layers=4, period=2, window=24)
    return Teacher(model.eval().requires_grad_(False))


def observe(teacher, count=3, length=40):
    generator = torch.Generator().manual_seed(9)
    return [
        teacher.observe(torch.randint(20, 320, (2, length), generator=generator))
        for _ in range(count)
    ]


def own_truth(batch):
    return dict(batch.raw)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_loss_is_nothing_at_the_truth_and_something_beside_it(teacher, loss):
    batch = observe(teacher, 1)[0]
    truth = own_truth(batch)
    assert float(LOSSES[loss](teacher, batch, truth)) == pytest.approx(0, abs=1e-5)
    other = {layer: (keys.roll(1, 1), values.roll(1, 1)) for layer, (keys, values) in truth.items()}
    assert float(LOSSES[loss](teacher, batch, other)) > 1e-3


def test_distilling_attention_alone_cannot_see_the_scale(teacher):
    """Gemma norms both K and V: ten times as long is the same attention."""
    batch = observe(teacher, 1)[0]
    longer = {layer: (10 * keys, 10 * values) for layer, (keys, values) in batch.raw.items()}
    assert float(LOSSES["attn_distill"](teacher, batch, longer)) == pytest.approx(0, abs=1e-3)
    for loss in ("mse", "cos_mag", "combined", "attn_distill_hybrid"):
        assert float(LOSSES[loss](teacher, batch, longer)) > 0.1


@pytest.mark.parametrize("family", ["gemma3", "qwen3", "llama", "gemma4"])
def test_attention_over_the_true_entries_is_the_models_own(family):
    shared = {"shared_layers": 2, "layers": 4, "period": 2} if family == "gemma4" else {"layers": 3}
    model = build_tiny(family, seed=2, hidden=64, kv_heads=2, window=8, **shared)
    own = Teacher(model.eval().requires_grad_(False))
    batch = observe(own, 1)[0]
    outputs = own.attend(batch, own_truth(batch))
    assert set(outputs) == set(range(len(own.layers)))
    for layer, output in outputs.items():
        torch.testing.assert_close(output, batch.outputs[layer], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_fitting_lowers_every_loss_and_trains_the_drafter_only_if_asked(teacher, loss):
    batches = observe(teacher)
    widths = {layer.index: layer.width for layer in teacher.owners}
    for aligned in (False, True):
        small = build_tiny("qwen3", seed=3, hidden=32, layers=2, period=9, window=16)
        before = [one.clone() for one in small.parameters()]
        drafter = Drafter(small)
        projection = FThetaProjection(FThetaConfig(drafter.features, 16, widths), seed=1)
        history = fit(
            teacher, drafter, projection, batches,
            loss=loss, steps=30, rate=1e-2, seed=0, aligned=aligned,
        )  # fmt: skip
        assert sum(one.loss for one in history[-5:]) < sum(one.loss for one in history[:5])
        moved = any(
            not torch.equal(left, right)
            for left, right in zip(before, small.parameters(), strict=True)
        )
        assert moved is aligned


def test_fitting_is_the_same_for_the_same_seed(teacher):
    batches = observe(teacher)
    widths = {layer.index: layer.width for layer in teacher.owners}
    losses = []
    for _ in range(2):
        drafter = Drafter(build_tiny("qwen3", seed=3, hidden=32, layers=2, period=9, window=16))
        projection = FThetaProjection(FThetaConfig(drafter.features, 8, widths), seed=1)
        history = fit(
            teacher, drafter, projection, batches,
            loss="attn_distill_hybrid", steps=5, rate=1e-2, seed=0, aligned=True,
        )  # fmt: skip
        losses.append([one.loss for one in history])
    assert losses[0] == losses[1]


def test_the_closed_form_is_exact_where_the_drafter_is_the_verifier(teacher):
    drafter = Drafter(truncate(teacher.model, len(teacher.layers)))
    batches = observe(teacher, 6)
    projection = fit_ridge(teacher, drafter, batches, rank=drafter.features)
    errors = judge(teacher, drafter, projection, batches)
    assert max(error for parts in errors.values() for error in parts.values()) < 1e-3


def test_a_truncated_drafter_gives_the_first_layers_entries(teacher):
    drafter = Drafter(truncate(teacher.model, 2))
    batch = observe(teacher, 1)[0]
    keys, values = drafter.read(batch.ids, torch.arange(40))
    torch.testing.assert_close(keys, torch.cat([batch.raw[0][0], batch.raw[1][0]], -1))
    torch.testing.assert_close(values, torch.cat([batch.raw[0][1], batch.raw[1][1]], -1))
    assert len(teacher.model.get_decoder().layers) == 4, "the verifier keeps its layers"


SHORT: dict[str, Any] = {"seeds": [0], "samples": 2, "steps": 4, "batches": 2, "rows": 2}


@pytest.mark.parametrize("name", ["restoration-h200", "restoration-mac-m4"])
def test_a_large_preset_runs_whole_on_a_small_checkpoint_of_the_same_classes(name, tmp_path):
    config = render(
        name, samples=1, steps=3, batches=2, rank=8, short=200, long=260, train_length=180,
        dtype="float32",
    ) | {"seeds": [0], "device": "cpu"}  # fmt: skip
    tiny_language.save(tiny_language.make_large_gemma4(), tmp_path / "verifier")
    inputs = {
        "weights": str(tmp_path / "verifier"),
        "drafter": str(tiny_language.write_model(tmp_path / "drafter")),
        "essays": str(tiny_language.write_essays(tmp_path / "essays")),
    }
    rows = read_rows(run_job("restoration", tmp_path, config, inputs))
    recall = [row for row in rows if row["measure"] == "recall"]
    assert {row["arm"] for row in recall} == set(config["arms"])
    assert {row["at"]["context"] for row in recall} == {200, 260}
    held = {row["arm"]: row["score"] for row in rows if row["measure"] == "longest_kv_bytes"}
    assert held["sink_window"] < held["s5_nothing"] < held["s5"]
    assert held["native"] < held["full"]
    restored = {row["arm"]: row["score"] for row in rows if row["measure"] == "restored_positions"}
    assert restored["projected"] > restored["s5"] > 0 == restored["full"]
    facts = read_facts(tmp_path / "out")
    assert facts["verifier"] == "Gemma4ForCausalLM"
    assert [layer["kind"] for layer in facts["layers"]].count("full_attention") == 1


def test_the_small_preset_runs_on_a_small_llama(tmp_path):
    config = render("restoration-small", samples=1, steps=2, rank=16) | {
        "seeds": [0], "contexts": [200], "batches": 2, "length": 180, "drafter_layers": 1,
        "exact_layers": [0], "device": "cpu",
    }  # fmt: skip
    inputs = {
        "weights": str(tiny_language.write_model(tmp_path / "model")),
        "essays": str(tiny_language.write_essays(tmp_path / "essays")),
    }
    rows = read_rows(run_job("restoration", tmp_path, config, inputs))
    scores = {(row["arm"], row["unit"]): row["score"] for row in rows if row["measure"] == "recall"}
    assert {arm for arm, _ in scores} == set(config["arms"])
    assert all(
        scores["identity", unit] == scores["full", unit] for arm, unit in scores if arm == "full"
    )


def test_a_resumed_run_writes_the_same_rows_and_trains_nothing_again(tmp_path):
    config = render(
        "restoration-tiny", samples=2, steps=4, scale="ci", short=64, middle=80, long=96
    )
    inputs: dict[str, str] = {
        "weights": str(tiny_language.write_model(tmp_path / "model")),
        "essays": str(tiny_language.write_essays(tmp_path / "essays")),
    }
    config |= SHORT | {"contexts": [160, 190], "length": 180, "device": "cpu", "alphas": [0, 1]}
    first = run_job("restoration", tmp_path, config, inputs)
    again = run_job("restoration", tmp_path, config, inputs, name="again")
    assert read_rows(again) == read_rows(first)
    assert read_facts(again)["counters"]["units_resumed"] > 5
    saved = tmp_path / "again" / "artifacts" / "f_theta-attn_distill_hybrid-s0"
    assert FThetaProjection.load(saved).config.rank == config["rank"]


def test_training_that_was_cut_short_ends_as_if_it_had_not_been(teacher, tmp_path):
    batches = observe(teacher)
    widths = {layer.index: layer.width for layer in teacher.owners}

    class DeathError(Exception):
        """The machine goes away."""

    def train(snapshot, die_at=None):
        def on_step(step):
            if step.step == die_at:
                raise DeathError

        drafter = Drafter(build_tiny("qwen3", seed=3, hidden=32, layers=1, period=9, window=16))
        projection = FThetaProjection(FThetaConfig(drafter.features, 8, widths), seed=1)
        history = fit(
            teacher, drafter, projection, batches, loss="mse", steps=110, rate=1e-2, seed=0,
            aligned=True, snapshot=snapshot, on_step=on_step,
        )  # fmt: skip
        return [(one.loss, one.gradient) for one in history], projection.state_dict()

    whole, weights = train(None)
    with pytest.raises(DeathError):
        train(tmp_path / "fit.pt", die_at=104)
    again, resumed = train(tmp_path / "fit.pt")
    assert again == whole
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def test_a_curriculum_that_was_cut_short_ends_as_if_it_had_not_been(tmp_path):
    stages = tuple(Stage(name, name, 32, 2, 3, enough=2.0) for name in ("fixed", "copy"))

    def train(snapshot, stages=stages):
        model = build_tiny("gemma4", seed=1, hidden=32, layers=2, period=2)
        history = train_on_needles(
            model, seed=3, stages=stages, half_precision=False, snapshot=snapshot
        )
        return [(one.stage, one.loss) for one in history], model.state_dict()

    whole, weights = train(None)
    train(tmp_path / "model.pt", stages[:1])
    again, resumed = train(tmp_path / "model.pt")
    assert again == whole
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
