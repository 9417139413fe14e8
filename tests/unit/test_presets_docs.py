"""docs/presets.md is held to what it says."""

from __future__ import annotations

import re

import pytest

from bridge import schema
from bridge.cli.main import main
from bridge.errors import ManifestError
from presets import strict_yaml
from presets.definition import parse_preset
from presets.params import KINDS
from presets.tokens import RESERVED
from tests.hostile import PRESETS

TEXT = (PRESETS.parent / "docs" / "presets.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


def rows(section: str) -> list[list[str]]:
    part = TEXT.partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_the_example_is_a_preset() -> None:
    (text,) = blocks("yaml")
    preset = parse_preset(text.encode(), "word-count.yaml")
    assert list(preset.params) == ["folder", "samples"]


def test_every_key_kind_and_token_is_described() -> None:
    keys = {key for row in rows("Every key") for key in re.findall(r"`(\w+)`", row[0])}
    assert keys == set(schema.load("presets", "preset")["properties"])
    assert [row[0].strip("`") for row in rows("Params")] == list(KINDS)
    named = {row[0].strip("`{}") for row in rows("Tokens")}
    assert named >= RESERVED


@pytest.mark.parametrize(
    "text", re.findall(r"`([^`]+)`", " ".join(r[0] for r in rows("YAML, strictly")))
)
def test_what_is_said_to_be_refused_is_refused(text: str) -> None:
    with pytest.raises(ManifestError):
        strict_yaml.load(f"{text}\n".encode(), where="x")


def test_the_error_that_is_shown_is_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = [block for block in blocks("console") if block.startswith("$")]
    command, _, expected = shown.partition("\n")
    assert main(command.removeprefix("$ kakeya_remote ").split()) == 2
    faults = [line for line in expected.splitlines() if "$.params." in line]
    assert len(faults) == 2
    assert set(faults) <= set(capsys.readouterr().err.splitlines())


def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PRESETS.parent)
    (text,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(text, "docs/presets.md", "exec"), names)
    assert names["params"] == {"seconds": 2, "exit_code": 0}
    assert names["config"] == {"seconds": 2, "exit_code": 0}
