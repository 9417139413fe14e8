"""docs/lessons.md names tests that exist, for every lesson and every hole."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lessons.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", PAGE)))


def rows(section: str) -> list[list[str]]:
    part = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


@pytest.mark.parametrize("section", ["What its operators learned", "What could be done to it"])
def test_every_one_has_its_row_and_its_test(section: str) -> None:
    found = rows(section)
    assert [row[0] for row in found] == [str(number) for number in range(1, 12)]
    for row in found:
        assert len(row) == 4, row
        assert re.search(r"::test_\w+`", row[3]), row[0]


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / "tests" / path).read_text("utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_dependency_is_pinned_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line.partition("#")[0].strip() for line in lines]
    pins = [pin for pin in pins if pin]
    assert len(pins) > 50
    loose = [pin for pin in pins if not re.match(r"[A-Za-z0-9._\-\[\]]+==[^=*]+( ;.*)?\Z", pin)]
    assert loose == []


def test_no_preset_names_a_host_or_a_home() -> None:
    odd = re.compile(r"(/home/|/Users/|~/|\b\d{1,3}(\.\d{1,3}){3}\b|ssh://|\w@\w+\.)")
    for path in sorted((ROOT / "presets").glob("*.yaml")):
        assert not odd.search(path.read_text("utf-8")), path.name
