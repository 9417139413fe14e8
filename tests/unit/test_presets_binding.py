from __future__ import annotations

import shlex
from typing import Any

import pytest

from bridge.errors import ManifestError, UsageError
from bridge.records import Prediction
from evidence.spec import parse_spec
from presets.binding import (
    Input,
    bind,
    example_command,
    parse_param_text,
    render_argv,
    render_config,
    render_inputs,
    render_spec,
)
from presets.catalog import load_folder
from tests.full_preset import FULL, parse
from tests.hostile import PRESETS, put

PRESET = parse(FULL)
DIGEST = "sha256:" + "5" * 64
GIVEN: dict[str, Any] = {"where": "tests/unit", "tag": "nightly", "base": DIGEST}
RESERVED = {"python": ("/venv/python", "-I", "bootstrap.py"), "job": "/job/job.json", "out": "/o"}


def problems_of(params: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        bind(PRESET, params)
    return list(caught.value.problems)


def test_defaults_are_filled_in_the_order_of_the_preset() -> None:
    bound = bind(PRESET, GIVEN)
    assert list(bound) == list(PRESET.params)
    assert bound == {**GIVEN, "samples": 4, "rate": 0.5, "mode": "b", "loud": False}


def test_every_fault_is_named_at_its_path() -> None:
    wrong = {"samples": 4.0, "rate": float("nan"), "mode": "c", "loud": 0, "tag": "a\n", "x": 1}
    assert problems_of({**wrong, "where": "tests/../x"}) == [
        "$.params.x: unknown; known: samples, rate, mode, loud, tag, where, base",
        "$.params.samples: 4.0 is no int",
        "$.params.rate: nan lies outside 0 to 1.5",
        "$.params.mode: 'c' is none of a | b",
        "$.params.loud: 0 is no bool",
        r"$.params.tag: 'a\n' holds the control or invisible character U+000A",
        "$.params.where: 'tests/../x' leaves its folder with ..",
        "$.params.base: missing; artifact, sha256:<64 hex>, or ID:PATH of an ended job",
    ]


def test_a_near_miss_is_suggested() -> None:
    assert "$.params.sample: unknown; did you mean samples?" in problems_of({"sample": 1})


@pytest.mark.parametrize("params", [None, [], "samples=4", 3])
def test_params_are_an_object(params: object) -> None:
    assert problems_of(params)[0].startswith("$.params: ")


def test_keys_that_are_no_names_are_shown_harmlessly() -> None:
    assert problems_of({**GIVEN, "\x1b[2J": 1}) == [r"$.params: '\x1b[2J' is no name of a param"]
    assert problems_of({**GIVEN, 7: 1}) == ["$.params: 7 is no name of a param"]


def test_text_of_the_command_line_is_typed() -> None:
    texts = ["samples=7", "rate=1.25", "mode=a", "loud=true", "tag=a", "where=tests"]
    assert parse_param_text(PRESET, texts) == {
        "samples": 7,
        "rate": 1.25,
        "mode": "a",
        "loud": True,
        "tag": "a",
        "where": "tests",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("samples=4.0", "$.params.samples: '4.0' is no int"),
        ("samples=0x4", "$.params.samples: '0x4' is no int"),
        ("samples=١", r"$.params.samples: '\u0661' is no int"),
        ("samples= 4", "$.params.samples: ' 4' is no int"),
        ("samples=4\n", r"$.params.samples: '4\n' is no int"),
        ("samples=1_0", "$.params.samples: '1_0' is no int"),
        ("samples=" + "9" * 5000, "$.params.samples: '999"),
        ("rate=nan", "$.params.rate: 'nan' is no number"),
        ("rate=inf", "$.params.rate: 'inf' is no number"),
        ("loud=yes", "$.params.loud: 'yes' is no bool: write true or false"),
        ("mode=c", "$.params.mode: 'c' is none of a | b"),
        ("moode=a", "$.params.moode: unknown; did you mean mode?"),
        ("--mode=a", "$.params: '--mode' is no name of a param"),
    ],
)
def test_text_that_is_of_another_kind_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_param_text(PRESET, [text])
    assert caught.value.problems[0].startswith(problem)
    assert "kakeya_remote presets full" in caught.value.remedy


def test_a_param_given_twice_and_a_text_without_equals_are_refused() -> None:
    with pytest.raises(ManifestError, match="given twice"):
        parse_param_text(PRESET, ["samples=1", "samples=2"])
    with pytest.raises(UsageError, match="'samples' is not NAME=VALUE"):
        parse_param_text(PRESET, ["samples"])


def test_argv_is_rendered_token_by_token() -> None:
    argv = render_argv(PRESET, bind(PRESET, GIVEN), RESERVED, {"MODEL": "a b; c"})
    assert argv == (
        *("/venv/python", "-I", "bootstrap.py", "-m", "workloads", "x", "--job", "/job/job.json"),
        *("tests/unit", "a b; c"),
    )


def test_config_keeps_the_types_of_params() -> None:
    config = render_config(PRESET, bind(PRESET, {**GIVEN, "loud": True}), {"MODEL": "/m"})
    assert config == {
        "samples": 4,
        "rate": 0.5,
        "nested": [{"mode": "b", "fixed": 3}, "plain", "/m"],
        "loud": True,
        "tag": "nightly",
    }


def test_inputs_say_where_they_come_from() -> None:
    assert render_inputs(PRESET, bind(PRESET, GIVEN), {"MODEL": "/m"}) == {
        "weights": Input("weights", "asset", "smollm2"),
        "local": Input("local", "path", "/m"),
        "base": Input("base", "artifact", DIGEST),
    }


@pytest.mark.parametrize("env", [{}, {"MODEL": ""}])
def test_a_missing_variable_is_an_error_that_names_it(env: dict[str, str]) -> None:
    params = bind(PRESET, GIVEN)
    for render, path in (
        (lambda: render_argv(PRESET, params, RESERVED, env), "$.argv[7]"),
        (lambda: render_config(PRESET, params, env), "$.config.nested[2]"),
        (lambda: render_inputs(PRESET, params, env), "$.inputs.local"),
    ):
        with pytest.raises(ManifestError, match="the runner has no variable MODEL") as caught:
            render()
        assert path in caught.value.where


def test_values_become_arguments_in_one_way() -> None:
    argv = ["{python}", "{samples}", "{rate}", "{loud}", "{mode}", "{tag}", "{where}"]
    preset = parse(put(put(FULL, ("argv",), argv), ("config",), {}))
    params = bind(preset, {**GIVEN, "rate": 1e-05, "loud": True})
    assert render_argv(preset, params, RESERVED, {})[3:] == (
        *("4", "0.00001", "true", "b", "nightly", "tests/unit"),
    )


def test_the_judge_is_given_params_and_predictions() -> None:
    rule = {"cmp": [{"m": "recall", "arm": "a"}, ">", "0.5"]}
    predictions = (Prediction("high", "it is high", "0.8", rule), Prediction("b", "person", "0.5"))
    spec = parse_spec(render_spec(PRESET, bind(PRESET, {**GIVEN, "samples": 9}), predictions))
    assert spec.plan.n == 9
    assert [one.gate is None for one in spec.predictions] == [False, True]


def test_the_example_command_of_every_preset_binds() -> None:
    for preset in [PRESET, *load_folder(PRESETS).values()]:
        words = shlex.split(example_command(preset))
        assert words[:3] == ["kakeya_remote", "run", preset.name]
        texts = [words[at + 1] for at, word in enumerate(words) if word == "-p"]
        bind(preset, parse_param_text(preset, texts))


def test_the_example_command_shows_what_is_required() -> None:
    assert example_command(PRESET) == (
        f"kakeya_remote run full -p tag=abc -p where=tests -p base=sha256:{'0' * 64} --wait"
    )
