"""The pages of a bus without a browser: what is on them, and what a hostile record costs."""

from __future__ import annotations

import json
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pytest

from bridge import canonical
from bridge.cli.main import main
from bridge.client.planning import sweep_document
from bridge.client.site.build import build_site
from bridge.client.site.pages import trend_path
from bridge.client.site.rows import job_path
from bridge.client.site.trends import Trends, trends_from_json
from tests.integration.client_rig import Rig, make_evidence
from tests.lab import REPO, commit_all

pytestmark = pytest.mark.real("jinja2")


def finish_with(rig: Rig, record: dict[str, Any]) -> str:
    """A job that ended with this record; its id."""
    job_id, ref = rig.submit()
    rig.runner.claim(ref)
    data = canonical.encode(record)
    rig.runner.finish(
        ref, verdict=None, files={"evidence.json": data}, evidence=canonical.digest_bytes(data)
    )
    return job_id


def read(rig: Rig, folder: Path, job_id: str) -> str:
    build_site(rig.client, folder)
    return (folder / job_path(job_id)).read_text("utf-8")


WHOLE = {
    "timings": {},
    "gates": [],
    "metrics": [],
    "doubts": [],
    "gaps": [],
    "predictions": [],
}
EVIL = "</pre><script>alert(1)</script>"


@pytest.mark.parametrize(
    "changes",
    [
        {"gates": 7},
        {"gates": [{"verdict": "fine"}]},
        {"timings": None},
        {"metrics": [{"name": "x"}]},
        {"gates": [{"verdict": "pass", "blocking": True, "id": "a", "observed": "NaN",
                    "threshold": ">= x", "label": "l", "ci": None, "own_verdict": "pass"}]},
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_shown_costs_its_page_nothing_else(
    changes: dict[str, Any], rig: Rig, tmp_path: Path
) -> None:
    job_id = finish_with(rig, {**WHOLE, **changes})
    page = read(rig, tmp_path / "site", job_id)
    assert "the evidence cannot be shown" in page
    assert "The job" in page


def test_every_string_of_a_record_is_escaped_and_cut(rig: Rig, tmp_path: Path) -> None:
    gate = {
        "verdict": "fail",
        "blocking": True,
        "id": EVIL,
        "message": EVIL * 100,
        "observed": "0.5",
        "threshold": ">= 1",
        "label": EVIL,
        "ci": None,
        "n": EVIL,
        "own_verdict": "fail",
    }
    metric = {"name": EVIL, "arm": EVIL, "at": {EVIL: EVIL}, "value": "1", "ci": None}
    metric |= {"n": 1, "unit": EVIL}
    record = {
        **WHOLE,
        "gates": [gate],
        "metrics": [metric],
        "gaps": [{"planned": EVIL, "why": EVIL}],
        "doubts": [{"check": EVIL, "detail": EVIL}],
        "predictions": [{"outcome": EVIL, "id": EVIL, "text": EVIL}],
        "hardware": {"cpu": EVIL},
    }
    job_id = finish_with(rig, record)
    page = read(rig, tmp_path / "site", job_id)
    assert "cannot be shown" not in page
    assert "<script" not in page
    assert escape(EVIL) in page
    assert page.count("alert(1)") < 60, "a message is cut"
    for path in (tmp_path / "site").rglob("*.html"):
        assert "alert(1)</script>" not in path.read_text("utf-8"), path
    found = list((tmp_path / "site" / "trends" / "noop").iterdir())
    assert [path.name for path in found] == [Path(trend_path("noop", EVIL)).name]


def test_evidence_that_is_not_what_the_result_says_is_not_shown(rig: Rig, tmp_path: Path) -> None:
    job_id, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.finish(
        ref,
        verdict=None,
        files={"evidence.json": make_evidence("pass")},
        evidence=canonical.digest("another"),
    )
    page = read(rig, tmp_path / "site", job_id)
    assert "the evidence is not what the result says" in page
    assert "ends" not in page.split("<h2>Story")[0].split("Read this first")[1].split("<dl>")[0]


def test_who_vouches_for_a_result_is_said(rig: Rig, tmp_path: Path) -> None:
    job_id = finish_with(rig, dict(WHOLE))
    page = read(rig, tmp_path / "site", job_id)
    first = page.split("Read this first")[1].split("<h2>")[0]
    assert "nobody vouches that mac-m4 wrote it" in first


def test_a_campaign_shows_its_nodes_and_cells(rig: Rig, tmp_path: Path) -> None:
    source = REPO / "presets" / "noop-sweep.yaml"
    (rig.project / "presets" / source.name).write_bytes(source.read_bytes())
    commit_all(rig.project, "a preset with a seed")
    assert rig.client.checkout is not None
    rig.client.checkout = replace(rig.client.checkout, head=rig.head)
    rig.runner.beat(trusted=rig.head)
    plan = rig.client.campaigns.plan(sweep_document("noop-sweep", {}, {"seconds": [0, 1]}, 2))
    rig.client.campaigns.start(plan)
    course = rig.client.campaigns.drive(plan.id)
    build_site(rig.client, tmp_path / "site")
    page = (tmp_path / "site" / "campaigns.html").read_text("utf-8")
    assert plan.id in page
    for job_id in course.launched.values():
        assert job_path(job_id) in page
    assert "campaigns.html" in (tmp_path / "site" / "index.html").read_text("utf-8")


def test_the_command_tells_what_it_wrote(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAKEYA_CACHE", str(tmp_path / "cache"))
    rig.submit()
    folder = tmp_path / "site"
    assert main(["site", "build", "--out", str(folder), "--bus", rig.url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["jobs"], told["read"]) == (1, 1)
    assert told["first_view_bytes"] == sum(
        (folder / name).stat().st_size
        for name in ("index.html", "style.css", "site.js", "data/jobs-0.js")
    )
    assert main(["site", "build", "--out", str(tmp_path), "--bus", rig.url]) == 2
    assert "holds files that no earlier build wrote" in capsys.readouterr().err


def test_trends_come_back_as_they_were_kept() -> None:
    trends = Trends()
    for value, code in (("1", "a"), ("3", "a"), ("2", "b"), ("NaN", "b"), ("x", "b")):
        record = {"id": "j", "metrics": [{"name": "m", "value": value, "at": {"k": 1}}]}
        trends.add(record, preset="p", code=code, hardware="h", at_ms=1)
    ((key, series),) = trends.points.items()
    assert (key.metric, key.at) == ("m", "k 1")
    one = series["a", "h"]
    assert (one.count, one.mean, one.low, one.high) == (2, 2.0, 1.0, 3.0)
    assert series["b", "h"].count == 1
    assert trends_from_json(json.loads(json.dumps(trends.as_json()))) == trends
