"""report.html in a real browser: both widths, both themes, nothing fetched, nothing in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evidence.judge import JudgeInput, judge
from evidence.promoted import ROOT
from evidence.redraw import redraw
from tests.browser.chromium import Page, chromium
from tests.evidence_world import write_job
from tests.lab import REPO

pytestmark = [
    pytest.mark.real("chromium", "axe-core", "jinja2", "matplotlib"),
    pytest.mark.xdist_group("browser"),
]

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
PROMOTED = sorted(path.parent for path in (REPO / ROOT).glob("*/*/evidence.json*"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by name: a small judged job, and every promoted record, drawn again."""
    folder = tmp_path_factory.mktemp("reports")
    paths = write_job(folder / "job")
    judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], folder / "small"))
    for record in PROMOTED:
        redraw(record, out=folder / record.name, base=None)
    return {path.parent.name: path for path in folder.glob("*/report.html")}


NAMES = ["small", *(path.name for path in PROMOTED)]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_readable(
    name: str, size: str, theme: str, page: Page, reports: dict[str, Path]
) -> None:
    width, height = SIZES[size]
    address = reports[name].as_uri()
    page.open(address, width=width, height=height, theme=theme)
    assert page.requests == [address]
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (theme == "dark")
    page.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
    assert violations(page) == []
    assert page.requests == [address]


def violations(page: Page) -> list[dict[str, Any]]:
    """What axe-core finds serious or worse."""
    page.evaluate(f"{AXE.read_text('utf-8')}; 0")
    found = page.evaluate("axe.run().then(found => JSON.stringify(found.violations))")
    return [
        {"rule": item["id"], "help": item["help"], "at": [n["target"] for n in item["nodes"][:5]]}
        for item in json.loads(found)
        if item["impact"] in ("serious", "critical")
    ]


def test_axe_does_find_what_is_wrong(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<html><body><img src='data:,'><p style='color:#ccc'>faint</p></body></html>")
    page.open(bad.as_uri(), width=800, height=600, theme="light")
    assert {"image-alt", "color-contrast"} <= {item["rule"] for item in violations(page)}


def test_the_page_is_walked_by_keyboard(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["small"].as_uri(), width=390, height=844, theme="light")
    reached = set()
    for _ in range(12):
        for kind in ("keyDown", "keyUp"):
            key = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
            page.call("Input.dispatchKeyEvent", type=kind, **key)
        reached.add(page.evaluate("document.activeElement.tagName"))
    assert "SUMMARY" in reached
