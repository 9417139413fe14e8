"""The needle workload on a tiny random model: its rows, its plan, its resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import UsageError
from tests import tiny_language
from tests.whole_jobs import read_facts, read_rows, run_job, write_job
from workloads import niah
from workloads.__main__ import main
from workloads.niah.arms import ARMS
from workloads.niah.plan import plan_batches
from workloads.shared import job
from workloads.shared.context import Context
from workloads.shared.progress import Progress

CONFIG = {
    "contexts": [300, 360],
    "depths": [0.1, 0.5, 1.0],
    "seeds": [0, 1],
    "window": 150,
    "chunk": 64,
    "batch_tokens": 700,
    "max_new_tokens": 4,
    "device": "cpu",
    "dtype": "float32",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "weights": str(tiny_language.write_model(folder / "model")),
        "essays": str(tiny_language.write_essays(folder / "essays")),
    }


def run(folder: Path, inputs: dict[str, str], name: str = "out", **config: Any) -> Path:
    return run_job("niah", folder, CONFIG | config, inputs, name=name)


@pytest.fixture(scope="module")
def rows(inputs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("run")
    return read_rows(run(folder, inputs))


def test_every_arm_has_every_cell(rows: list[dict[str, Any]]) -> None:
    cells = {(row["arm"], row["seed"], row["at"]["context"], row["at"]["depth"]) for row in rows}
    assert len(cells) == len(ARMS) * 2 * 2 * 3
    assert len(rows) == len(cells) * 3
    assert {row["score"] for row in rows if row["measure"] == "recall"} <= {0, 1}


def test_arms_get_the_same_prompts(rows: list[dict[str, Any]]) -> None:
    inputs: dict[str, dict[str, str]] = {}
    for row in rows:
        inputs.setdefault(row["arm"], {})[row["unit"]] = row["input"]
    assert inputs["full"] == inputs["sink_window"]
    assert inputs["absent"].keys() == inputs["full"].keys()
    assert not set(inputs["absent"].values()) & set(inputs["full"].values())
    assert len(set(inputs["full"].values())) == len(inputs["full"])


def test_eviction_and_memory_are_counted(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        kept = 154 if row["arm"] == "sink_window" else row["at"]["context"]
        if row["measure"] == "evicted":
            assert row["score"] == row["at"]["context"] - kept
        if row["measure"] == "kv_bytes":
            # K and V, layers, K/V heads, positions, head width, bytes of a float32
            assert row["score"] == 2 * 2 * 2 * kept * 8 * 4


def test_rows_say_where_the_needle_lies(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        at = row["at"]
        assert ("outside" in at) == (row["arm"] != "absent")
        if at["depth"] == 0.1 and row["arm"] != "absent":
            assert at["outside"] == 1
        if at["depth"] == 1.0 and row["arm"] != "absent":
            assert at["outside"] == 0


def test_a_second_run_gives_the_same_rows(
    inputs: dict[str, str], rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert read_rows(run(tmp_path, inputs)) == rows


class Death:
    """A display that dies at a step, as a machine does."""

    def __init__(self, step: int) -> None:
        self._step = step

    def show(self, step: int, total: int | None, eta_s: float | None, note: str) -> None:
        if step == self._step:
            raise KeyboardInterrupt

    def close(self) -> None:
        pass


def test_a_requeued_attempt_resumes_and_ends_with_the_same_rows(
    inputs: dict[str, str], rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    first = job.load(write_job(tmp_path, CONFIG, inputs, name="first"))
    config = job.build_config(niah.Config, first.config)

    def die() -> None:
        with Context.open(first, progress=Progress(Death(step=5))) as context:
            context.start("niah", config)
            niah.run(config, context)

    with pytest.raises(KeyboardInterrupt):
        die()
    assert 0 < len(read_rows(tmp_path / "first")) < len(rows)

    second = run(tmp_path, inputs, "second")
    assert read_rows(second) == rows
    counters = read_facts(second)["counters"]
    assert counters["units_resumed"] == 5
    assert counters["full.prompts"] == counters["sink_window.prompts"] == 2 * 2 * 3


def test_facts_and_answers_are_written(inputs: dict[str, str], tmp_path: Path) -> None:
    config = {"contexts": [300], "depths": [0.1], "seeds": [0]}
    facts = read_facts(run(tmp_path, inputs, **config))
    assert facts["model"] == "LlamaForCausalLM"
    assert (facts["device"], facts["dtype"]) == ("cpu", "float32")
    assert facts["counters"]["sink_window.evicted_positions"] == 300 - 154
    assert facts["counters"]["full.evicted_positions"] == 0
    text = (tmp_path / "out" / "artifacts" / "answers.jsonl").read_text("utf-8")
    answers = [json.loads(line) for line in text.splitlines()]
    assert [answer["arm"] for answer in answers] == list(ARMS)
    assert all(answer["tokens"] == 300 for answer in answers)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"context": [256]}, "$.config.context: unknown key"),
        ({"contexts": [256.0]}, "$.config.contexts[0]"),
        ({"contexts": []}, "$.config.contexts"),
        ({"depths": [1.5]}, "$.config.depths[0]"),
        ({"seeds": [0, 0]}, "$.config.seeds"),
        ({"arms": ["restored"]}, "$.config.arms[0]"),
        ({"arms": []}, "$.config.arms"),
        ({"window": 0}, "$.config.window"),
        ({"dtype": "int8"}, "$.config.dtype"),
    ],
)
def test_a_wrong_config_is_refused_at_its_path(config: dict[str, Any], path: str) -> None:
    with pytest.raises(UsageError) as caught:
        job.build_config(niah.Config, CONFIG | config)
    assert any(problem.startswith(path) for problem in caught.value.problems)


def test_a_context_beyond_the_model_is_refused(
    inputs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_job(tmp_path, CONFIG | {"contexts": [512]}, inputs)
    assert main(["niah", "--job", str(path)]) == 2
    assert "the model was made for 512" in capsys.readouterr().err


def test_a_folder_without_a_model_is_refused(
    inputs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = inputs | {"weights": inputs["essays"]}
    assert main(["niah", "--job", str(write_job(tmp_path, CONFIG, wrong))]) == 2
    assert "no causal language model" in capsys.readouterr().err


def test_batches_depend_on_the_config_alone() -> None:
    config = job.build_config(niah.Config, CONFIG)
    batches = plan_batches(config)
    assert batches == plan_batches(config)
    assert len({batch.key for batch in batches}) == len(batches)
    assert all(len(batch.units) * batch.context <= 700 for batch in batches)
    units = [unit for batch in batches if batch.arm == "full" for unit in batch.units]
    assert len(units) == len({unit.id for unit in units}) == 2 * 2 * 3


def test_a_prompt_longer_than_a_batch_is_a_batch_of_its_own() -> None:
    config = job.build_config(niah.Config, CONFIG | {"batch_tokens": 1})
    assert all(len(batch.units) == 1 for batch in plan_batches(config))
