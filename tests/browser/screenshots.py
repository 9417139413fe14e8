"""`python -m tests.browser.screenshots RECORD`: the pictures of the docs, from a real record."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from evidence.redraw import redraw
from tests.browser.chromium import chromium
from tests.lab import REPO

SHOTS = {
    "report-desk-light": (1280, 900, "light", 1800),
    "report-desk-dark": (1280, 900, "dark", 1800),
    "report-phone-light": (390, 844, "light", 1700),
    "report-phone-dark": (390, 844, "dark", 1700),
}
"""Name: width, height of the window, theme, and how much of the page is shown, in pixels."""


def main(record: Path, out: Path) -> None:
    """Draw the record's page again and take every picture of it."""
    with tempfile.TemporaryDirectory(prefix="kakeya-shots-") as scratch:
        folder = Path(scratch)
        redraw(record, out=folder / "report", base=None)
        address = (folder / "report" / "report.html").as_uri()
        with chromium(folder) as page:
            for name, (width, height, theme, shown) in SHOTS.items():
                page.open(address, width=width, height=height, theme=theme)
                (out / f"{name}.png").write_bytes(page.screenshot(height=shown))


if __name__ == "__main__":
    main(Path(sys.argv[1]), REPO / "docs" / "img")
