from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from bridge.cli.main import main
from bridge.cli.presets import presets_command
from presets.catalog import load_catalog
from presets.description import describe_preset, rule_text
from tests.full_preset import FULL, parse
from tests.hostile import PRESETS

ASSET = {
    "kind": "wheel",
    "package": "thing",
    "version": "1.0.0",
    "sha256": "0" * 64,
    "bytes": 3 * 2**20,
    "files": ["thing/*.txt"],
    "convert": None,
    "licence": "MIT",
    "doc": "a thing",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "full.yaml").write_text(yaml.safe_dump(FULL, sort_keys=False), "utf-8")
    (tmp_path / "assets.yaml").write_text(yaml.safe_dump({"smollm2": ASSET}), "utf-8")
    return tmp_path


def invoke(*words: str | Path) -> tuple[str, str]:
    result = CliRunner().invoke(presets_command, [str(word) for word in words])
    assert result.exception is None, result.exception
    return result.stdout, result.stderr


def test_the_list_names_every_preset_and_says_where_it_was_read() -> None:
    out, err = invoke("--folder", PRESETS)
    lines = out.splitlines()
    assert lines[0].split()[0] == "preset"
    assert {line.split()[0] for line in lines[1:]} == set(load_catalog(PRESETS).presets)
    assert err == f"read from {PRESETS}\n"


def test_the_list_as_json_is_one_object() -> None:
    out, err = invoke("--folder", PRESETS, "--json")
    listed = json.loads(out)
    assert listed["schema"] == "kakeya.presets/1"
    assert {"name", "digest", "params", "labels", "command"} <= set(listed["presets"][0])
    assert err == ""


def test_one_preset_shows_params_bounds_defaults_limits_gates_and_a_command(folder: Path) -> None:
    out, _ = invoke("full", "--folder", folder)
    for shown in (
        "kakeya_remote run full -p tag=abc -p where=tests",
        "1 to 50",
        "a | b",
        "[a-z]+ (at most 8 characters)",  # brackets are no markup
        "required",
        "1 min, then 2 s to end",
        "4 MiB printed, 64 MiB of files",
        "recall[a] >= 0.9",
        "thing==1.0.0, 3.0 MiB",
        "1 GPU of 1000 MiB",
        "HF_TOKEN",
    ):
        assert shown in out


def test_one_preset_as_json_holds_what_a_program_needs(folder: Path) -> None:
    out, _ = invoke("full", "--folder", folder, "--json")
    shown = json.loads(out)
    assert shown["schema"] == "kakeya.preset/1"
    assert shown["digest"] == parse(FULL).digest
    samples, *_, base = shown["params"]
    assert (samples["min"], samples["max"], samples["default"]) == (1, 50, 4)
    assert (base["kind"], base["required"]) == ("artifact", True)
    assert shown["gates"][0]["smallest_n"] == 1
    assert shown["inputs"][0]["asset"]["sha256"] == "0" * 64


def test_an_unknown_name_ends_with_2_and_offers_the_closest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["presets", "ful", "--folder", str(folder)]) == 2
    assert "did you mean full?" in capsys.readouterr().err
    assert main(["--json", "presets", "ful", "--folder", str(folder)]) == 2
    assert json.loads(capsys.readouterr().out)["remedy"] == "did you mean full?"


def test_a_wrong_file_ends_with_2_and_names_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.yaml").write_text("name: bad\nlabels: [no]\n", "utf-8")
    assert main(["presets", "--folder", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "bad.yaml:2:10: no may be read as a boolean" in error
    assert "quote it" in error


def test_outside_a_checkout_the_installed_presets_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, _ = invoke("--json")
    assert "the installed package" in json.loads(out)["source"]


def test_every_shipped_preset_can_be_shown() -> None:
    catalog = load_catalog(PRESETS)
    for preset in catalog.presets.values():
        shown = describe_preset(preset, catalog.assets, "here")
        assert shlex.split(shown["command"])[2] == preset.name
        assert json.loads(json.dumps(shown)) == shown
        invoke(preset.name, "--folder", PRESETS)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"cmp": [{"m": "x"}, "<", "1"]}, "x < 1"),
        (
            {"cmp": [{"m": "x", "arm": "a", "at": {"k": 3}, "stat": "max"}, "<", "1"]},
            "max of x[a, k=3] < 1",
        ),
        ({"cmp": [{"m": "x", "base": "old"}, "==", {"m": "x"}]}, "x of old == x"),
        ({"cmp": [{"sub": [{"m": "x"}, {"abs": {"m": "y"}}]}, ">", "0"]}, "(x - |y|) > 0"),
        ({"cmp": [{"ratio": [{"m": "x"}, {"m": "y"}]}, ">", "1"]}, "(x / y) > 1"),
        ({"within": [{"m": "x"}, {"m": "y"}, "0.05"]}, "|x - y| <= 0.05"),
        ({"each": "seed", "rule": {"cmp": [{"m": "x"}, "<", "1"]}}, "at each seed: x < 1"),
        (
            {"each": "k", "min_frac": "0.9", "rule": {"cmp": [{"m": "x"}, "<", "1"]}},
            "at each k in 0.9 of them: x < 1",
        ),
        (
            {"all": [{"not": {"cmp": [{"m": "x"}, "<", "1"]}}, {"trend": [{"m": "y"}, "up"]}]},
            "(not (x < 1)) and (y goes up)",
        ),
        (
            {"any": [{"cover": {"seeds": 2}}, {"disjoint": ["a", "b"]}]},
            "(cover seeds: 2) or (disjoint {a, b})",
        ),
    ],
)
def test_a_rule_is_said_in_words(rule: dict[str, object], text: str) -> None:
    assert rule_text(rule) == text
