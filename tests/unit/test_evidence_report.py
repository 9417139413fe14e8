"""Reports: what stands first, what they never carry, and that they fit."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.cli.evidence import evidence_group
from evidence.judge import JudgeInput, judge
from evidence.record import Assembled
from evidence.report.markdown import MARKER, MAX_CHARACTERS, draw_markdown, escape
from evidence.report.page import draw_page
from evidence.report.plots import draw_plots
from evidence.report.text import short
from tests.evidence_world import facts, sample_rows, spec, write_job

HOSTILE = "<script>alert(1)</script>|`x`](http://evil.example)@everyone\n# x\x1b[31m"


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    folder = tmp_path_factory.mktemp("report")
    rows = [row for row in sample_rows() if row["at"] != {"context": 512, "depth": 0}]
    document = spec()
    document["gates"].append(
        {
            "id": "too-proud",
            "rule": {"cmp": [{"m": "speed", "arm": "full"}, ">=", "60"]},
            "blocking": False,
            "note": HOSTILE,
        }
    )
    document["predictions"][0]["text"] = HOSTILE
    paths = write_job(
        folder, rows=rows, spec_data=document, facts_data=facts() | {"runner": {"name": HOSTILE}}
    )
    given = JudgeInput(paths["facts"], paths["samples"], paths["spec"], folder / "out")
    return judge(given).assembled


def test_the_first_line_is_the_verdict_with_counts(assembled: Assembled) -> None:
    lines = draw_markdown(assembled.record).splitlines()
    assert lines[0] == MARKER
    assert re.fullmatch(r"\*\*[A-Z]+ — .*(\d+ (pass|fail|inconclusive|missing)).*\*\*", lines[1])


def test_failures_come_before_passes_and_predictions_after_gates(assembled: Assembled) -> None:
    text = draw_markdown(assembled.record)
    order = [
        text.index(f"### {title}")
        for title in ("Gates", "Predictions", "Controls", "Gaps", "Provenance")
    ]
    assert order == sorted(order)
    assert text.index("too-proud") < text.index("full-recalls")
    assert "kakeya_remote evidence verify" in text
    assert "Conclusions are the reader's." in text
    assert "bears load" in text


def test_markdown_of_a_hostile_record_is_inert(assembled: Assembled) -> None:
    text = draw_markdown(assembled.record)
    assert "<script>" not in text
    assert "http://" not in text
    assert "@everyone" not in text
    assert "\n# x" not in text
    assert "|" not in escape("a|b").replace("\\|", "")


def test_a_huge_record_still_fits_a_comment(assembled: Assembled) -> None:
    record = copy.deepcopy(assembled.record)
    for index in range(3000):
        record["gates"].append({**record["gates"][0], "id": f"gate-{index}"})
        record["metrics"].append({**record["metrics"][0], "name": f"metric-{index}"})
    text = draw_markdown(record)
    assert len(text) <= MAX_CHARACTERS
    assert re.search(r"and \d+ more", text)
    assert text.splitlines()[1].startswith("**")


class Links(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_page_asks_no_network_and_runs_no_script(assembled: Assembled) -> None:
    page = draw_page(assembled, draw_plots(assembled))
    parser = Links()
    parser.feed(page)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(parser.tags)
    assert not {"src", "href", "srcset", "action", "onclick", "onload"} & {
        k for k, _ in parser.attributes
    }
    assert "@import" not in page
    assert "url(" not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "default-src 'none'" in page


def test_the_page_says_what_bears_load_first(assembled: Assembled) -> None:
    page = draw_page(assembled, draw_plots(assembled))
    order = [
        page.index(words) for words in ("Read this first", ">Gates<", ">Figures<", ">Predictions<")
    ]
    assert order == sorted(order)
    assert 'lang="en"' in page
    assert "width=device-width" in page
    assert "prefers-color-scheme:dark" in page


def test_every_figure_is_well_formed_and_described(assembled: Assembled) -> None:
    plots = draw_plots(assembled)
    names = {plot.name for plot in plots}
    assert {
        "forest",
        "ladder-recall",
        "heatmap-recall_cell-full",
        "stack-recall",
        "curve-recall-speed",
        "dots-speed",
        "paired-speed",
        "paired-recall-256",
        "paired-recall-512",
        "timeline",
    } <= names
    for plot in plots:
        root = ElementTree.fromstring(plot.svg)
        assert root.attrib["role"] == "img"
        title, description = root[0], root[1]
        assert title.text
        assert description.text
        assert plot.caption


def test_a_stack_adds_its_parts_up(assembled: Assembled) -> None:
    plot = next(one for one in draw_plots(assembled) if one.name == "stack-recall")
    widths = {}
    svg = ElementTree.fromstring(plot.svg)
    for box in (piece for piece in svg if piece.tag.endswith("rect")):
        widths[box.attrib["y"]] = widths.get(box.attrib["y"], 0.0) + float(box.attrib["width"])
    totals = [float(words.split()[-1]) for words in plot.description.split("; ")[1::2]]
    assert len(totals) == len(widths) > 1
    longest = max(totals)
    for width, total in zip(widths.values(), totals, strict=True):
        assert abs(width - 308 * total / longest) < 1


def test_a_pair_joins_the_arms_that_were_asked_for(assembled: Assembled) -> None:
    plot = next(one for one in draw_plots(assembled) if one.name == "paired-recall-512")
    assert plot.title.endswith("(context 512)")
    words = [piece.text for piece in ElementTree.fromstring(plot.svg) if piece.tag.endswith("text")]
    assert words[-2:] == ["sink_window", "full"]


@pytest.mark.parametrize(
    ("number", "digits", "told"),
    [
        ("0.123456", 4, "0.1235"),
        ("10151.26", 4, "10151"),
        ("-123456", 4, "-123456"),
        ("123456789", 4, "1.235e+08"),
        ("5742.3", 3, "5742"),
        ("-inf", 4, "-∞"),
        (None, 4, "–"),
    ],
)
def test_numbers_are_shortened_for_the_eye(number: str | None, digits: int, told: str) -> None:
    assert short(number, digits) == told


def test_the_heat_map_says_every_cell(assembled: Assembled) -> None:
    plots = {plot.name: plot for plot in draw_plots(assembled)}
    svg = ElementTree.fromstring(plots["heatmap-recall_cell-sink_window"].svg)
    words = [element.text for element in svg.iter() if element.tag.endswith("}text")]
    for row in assembled.record["metrics"]:
        if row["name"] == "recall_cell" and row["arm"] == "sink_window":
            assert f"{row['k']}/{row['n']}" in words
    assert "–" in words  # the cell that was not measured


def test_a_record_without_gates_or_samples_still_draws(tmp_path: Path) -> None:
    paths = write_job(tmp_path, rows=[], spec_data={"gates": []})
    given = JudgeInput(paths["facts"], paths["samples"], paths["spec"], tmp_path / "out")
    written = judge(given)
    assert "MISSING" in draw_markdown(written.assembled.record)
    assert "not a pass" in (tmp_path / "out" / "report.html").read_text()


def test_without_the_extra_the_rest_is_still_written(tmp_path: Path) -> None:
    paths = write_job(tmp_path)
    program = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from evidence.__main__ import main\n"
        "raise SystemExit(main(sys.argv[1:]))"
    )
    argv = [f"--{name}={path}" for name, path in paths.items()]
    done = subprocess.run(
        [sys.executable, "-c", program, "judge", *argv, f"--out={tmp_path / 'out'}"],
        capture_output=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    answer = json.loads(done.stdout)
    assert "extra: reports" in answer["notes"][0]
    assert {"evidence.json", "report.md"} <= set(answer["files"])
    assert "report.html" not in answer["files"]


def test_the_report_command_draws_again_with_transitions(
    tmp_path: Path, assembled: Assembled
) -> None:
    for name in ("one", "two"):
        paths = write_job(tmp_path / name)
        judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], tmp_path / name / "out"))
    argv = [
        "report",
        f"{tmp_path}/two/out",
        "--base",
        f"{tmp_path}/one/out",
        "--out",
        f"{tmp_path}/drawn",
    ]
    done = CliRunner().invoke(evidence_group, argv)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "drawn" / "report.md").read_text()
    assert "### Transitions" in text
    assert "comparable" in text
    shown = CliRunner().invoke(evidence_group, ["report", f"{tmp_path}/two/out"])
    assert MARKER in shown.stdout


def test_show_prints_tables_and_keeps_control_characters_out(tmp_path: Path) -> None:
    document: dict[str, Any] = spec()
    document["predictions"][0]["text"] = HOSTILE
    paths = write_job(tmp_path, spec_data=document)
    judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], tmp_path / "out"))
    done = CliRunner().invoke(evidence_group, ["show", f"{tmp_path}/out"])
    assert "\x1b" not in done.stdout
    for words in ("full-beats-window", "newcombe", "confirmed", "niah-smoke", "speed"):
        assert words in done.stdout


def test_arms_of_a_job_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    rows = [{**row, "arm": "../../../outside\x1b"} for row in sample_rows() if row["arm"] == "full"]
    document = spec() | {"gates": [], "predictions": []}
    document["plan"] = {"dims": document["plan"]["dims"]}
    paths = write_job(tmp_path / "a" / "b", rows=rows, spec_data=document)
    out = tmp_path / "a" / "b" / "out"
    written = judge(JudgeInput(paths["facts"], paths["samples"], paths["spec"], out))
    assert all(path.parent == out for path in written.files)
    assert any("heatmap" in path.name and "outside" in path.name for path in written.files)
    assert not list(tmp_path.glob("*outside*"))
    for path in out.glob("*.svg"):
        ElementTree.fromstring(path.read_text())
