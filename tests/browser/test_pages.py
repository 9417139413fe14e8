"""The pages of a bus in a real browser, opened from a disk: search, filters, a record, a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.client.api import Client
from bridge.client.census import walk_jobs
from bridge.client.site.build import STATE, Built, build_site
from bridge.client.site.rows import CHUNK, FIRST
from bridge.errors import UsageError
from tests.actors import open_bus
from tests.browser.chromium import Page, chromium
from tests.browser.site_visit import Visit
from tests.crowd import HOSTILE, fill_ledger
from tests.integration.client_rig import Listener, ScriptedRunner, TurnedClock, open_client
from tests.lab import make_bare

pytestmark = [
    pytest.mark.real("chromium", "axe-core", "jinja2"),
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(1800),
]

JOBS = FIRST + CHUNK + 60
"""So that the rows lie in three files; benchmarks/site.py looks at 10,000."""
FIRST_VIEW_BYTES = 300_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a bus with many ended jobs, two live ones and a runner."""
    folder = tmp_path_factory.mktemp("bus")
    make_bare(folder / "bus.git")
    runner = ScriptedRunner(open_bus(str(folder / "bus.git"), folder / "runner"), "mac-m4")
    fill_ledger(runner.bus, folder / "bus.git", JOBS)
    runner.submit()
    runner.claim(runner.submit())
    found = open_client(runner.bus.url, None, folder / "client", TurnedClock().clock, Listener())
    yield found
    found.close()
    runner.bus.close()


@pytest.fixture(scope="module")
def built(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_site(client, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture
def visit(page: Page, built: Built) -> Visit:
    return Visit(page, built.folder)


def test_the_first_view_is_small_and_asks_nobody_else(visit: Visit, built: Built) -> None:
    visit.open()
    assert visit.loaded_bytes() <= FIRST_VIEW_BYTES
    assert built.first_view_bytes == visit.loaded_bytes()
    assert built.jobs == JOBS + 2
    assert visit.count() == f"100 of {JOBS + 2} jobs"
    assert len([one for one in visit.page.requests if "/data/" in one]) == 1


def test_a_search_finds_the_oldest_job_of_all(visit: Visit, client: Client) -> None:
    oldest = [one.chain.job.id for one in walk_jobs(client.bus)][-1]
    visit.open()
    visit.fill("search", oldest.lower())
    assert [row["job"] for row in visit.rows()] == [oldest]
    assert visit.count() == "1 of 1 jobs"
    visit.fill("search", "no such thing")
    assert visit.rows() == []
    visit.fill("search", "")
    assert visit.count() == f"100 of {JOBS + 2} jobs"


def test_filters_agree_with_the_bus(visit: Visit, client: Client) -> None:
    jobs = [one.chain for one in walk_jobs(client.bus)]
    wanted = [
        one.job.id
        for one in jobs
        if one.request
        and one.request.preset.name == "niah-smoke"
        and one.result
        and one.result.verdict == "fail"
    ]
    assert wanted
    visit.open()
    visit.fill("preset", "niah-smoke")
    visit.fill("end", "fail")
    assert [row["job"] for row in visit.rows()] == wanted[:100]
    assert visit.count().endswith(f" of {len(wanted)} jobs")
    visit.fill("runner", "h200-1")
    assert {row["runner"] for row in visit.rows()} == {"h200-1"}
    visit.page.evaluate("window.before = true; location.reload()")
    visit.wait("!window.before && document.getElementById('jobs')?.dataset.ready === 'true'")
    assert {row["runner"] for row in visit.rows()} == {"h200-1"}, "the address keeps the filter"


def test_more_are_shown_when_asked_for(visit: Visit) -> None:
    visit.open()
    visit.page.evaluate("location.hash = ''")
    for _ in range(5):
        visit.page.evaluate("document.getElementById('more').click()")
    visit.wait("document.querySelectorAll('#jobs tbody tr').length >= 600")
    assert len(visit.rows()) == 600


def test_a_record_is_opened_from_the_list(visit: Visit) -> None:
    visit.open()
    visit.fill("end", "pass")
    first = visit.rows()[0]["job"]
    address = visit.page.evaluate("document.querySelector('#jobs tbody a').href")
    path = visit.file(address).relative_to(visit.site).as_posix()
    visit.open(path)
    text = visit.page.evaluate("document.querySelector('main').innerText")
    assert first in text
    assert "full-beats-window" in text
    assert "Gates against their thresholds" in text
    visit.page.evaluate("document.querySelector('nav a').click()")
    visit.wait("document.getElementById('jobs')?.dataset.ready === 'true'")


def test_live_jobs_and_runners_are_there(visit: Visit) -> None:
    visit.open()
    visit.fill("end", "queued")
    assert len(visit.rows()) == 1
    visit.fill("end", "claimed")
    assert [row["runner"] for row in visit.rows()] == ["mac-m4"]
    visit.open("runners.html")
    assert "mac-m4" in visit.page.evaluate("document.querySelector('main').innerText")


def test_what_the_bus_says_is_text_and_never_markup(visit: Visit) -> None:
    visit.open()
    visit.fill("search", HOSTILE)
    (row,) = visit.rows()
    assert row["by"] == HOSTILE
    visit.open(
        visit.file(visit.page.evaluate("document.querySelector('#jobs a').href"))
        .relative_to(visit.site)
        .as_posix()
    )
    assert HOSTILE in visit.page.evaluate("document.querySelector('main').innerText")
    assert visit.page.evaluate("document.querySelectorAll('main img, main script').length") == 0


PAGES = ("index.html", "runners.html", "trends.html", "usage.html", "job", "trend")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_readable(name: str, width: int, theme: str, visit: Visit) -> None:
    path = {
        "job": min(visit.site.glob("jobs/*/*.html"), key=lambda one: -one.stat().st_size),
        "trend": min(visit.site.glob("trends/*/recall_cell*.html")),
    }.get(name, visit.site / name)
    visit.open(path.relative_to(visit.site).as_posix(), width=width, theme=theme)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (
        theme == "dark"
    )
    assert visit.violations() == []
    assert visit.loaded_bytes() > 0, "and every request was for a file of the site"


def test_the_search_is_reached_by_keyboard(visit: Visit) -> None:
    visit.open()
    for kind in ("keyDown", "keyUp"):
        visit.page.call("Input.dispatchKeyEvent", type=kind, key="/", code="Slash", text="/")
    assert visit.page.evaluate("document.activeElement.id") == "search"


def test_only_what_is_new_is_read_again(client: Client, built: Built) -> None:
    again = build_site(client, built.folder)
    assert (again.jobs, again.read) == (built.jobs, 2), "the two that had not ended"
    state = built.folder / STATE
    state.write_bytes(state.read_bytes()[:1000])  # as after a crash
    whole = (built.folder / "data" / "jobs-0.js").read_bytes()
    assert build_site(client, built.folder).read == built.jobs
    assert (built.folder / "data" / "jobs-0.js").read_bytes() == whole


def test_a_folder_of_somebody_else_is_left_alone(client: Client, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds files that no earlier build wrote"):
        build_site(client, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
