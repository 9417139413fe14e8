"""`python -m tests.browser.site_shots SITE`: the pictures of the pages of a bus, from a built site.

Those in docs/img are of a bus with many composed jobs: `python -m benchmarks.site SITE` makes one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.browser.chromium import chromium
from tests.browser.site_visit import Visit
from tests.lab import REPO

SHOTS = {
    "site-jobs-desk-light": ("index.html", 1280, "light", 900),
    "site-jobs-phone-dark": ("index.html", 390, "dark", 1000),
    "site-trend-desk-dark": ("trends/*/speed-*.html", 1280, "dark", 760),
    "site-job-phone-light": ("jobs", 390, "light", 1500),
}
"""Name: page, width of the window, theme, and how much of the page is shown, in pixels."""


def main(site: Path, out: Path) -> None:
    """Take every picture."""
    scratch = tempfile.TemporaryDirectory(prefix="kakeya-shots-")
    with scratch as folder, chromium(Path(folder)) as page:
        visit = Visit(page, site)
        for name, (wanted, width, theme, shown) in SHOTS.items():
            path = find_job(visit) if wanted == "jobs" else next(iter(site.glob(wanted)))
            visit.open(path.relative_to(site).as_posix(), width=width, theme=theme)
            (out / f"{name}.png").write_bytes(page.screenshot(height=shown))


def find_job(visit: Visit) -> Path:
    """The page of the newest job whose gates pass."""
    visit.open()
    visit.fill("end", "pass")
    return visit.file(visit.page.evaluate("document.querySelectorAll('#jobs tbody a')[1].href"))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), REPO / "docs" / "img")
