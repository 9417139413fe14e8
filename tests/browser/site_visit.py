"""A visitor of the pages of a bus: opens, searches, filters, follows a link."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.browser.chromium import Page
from tests.waiting import until

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"


class Visit:
    """One look at a site that lies in a folder.

    Args:
        page: the browser's tab.
        site: the folder.
    """

    def __init__(self, page: Page, site: Path) -> None:
        self.page, self.site = page, site

    def open(self, path: str = "index.html", *, width: int = 1280, theme: str = "light") -> None:
        """Load a page of the site, and wait for its table where it has one."""
        self.page.open((self.site / path).as_uri(), width=width, height=900, theme=theme)
        if path == "index.html":
            self.wait("document.getElementById('jobs').dataset.ready === 'true'")

    def wait(self, condition: str) -> None:
        """Until an expression is true in the page."""
        until(lambda: self.page.evaluate(condition), bound_s=120, what=condition)

    def fill(self, field: str, value: str) -> None:
        """Set a field as a person does, and wait until every job was looked at."""
        self.page.evaluate(
            f"(field => {{ field.value = {json.dumps(value)}; "
            "field.dispatchEvent(new Event('input', {bubbles: true})); })"
            f"(document.getElementById({json.dumps(field)}))"
        )
        self.wait("document.getElementById('jobs').dataset.ready === 'true'")

    def rows(self) -> list[dict[str, str]]:
        """The rows that are shown: text of each cell by its name."""
        found: list[dict[str, str]] = json.loads(
            self.page.evaluate(
                "JSON.stringify([...document.querySelectorAll('#jobs tbody tr')].map(row => "
                "Object.fromEntries([...row.cells].map(c => [c.dataset.name, c.textContent]))))"
            )
        )
        return found

    def count(self) -> str:
        """What the page says of how many jobs it shows."""
        return str(self.page.evaluate("document.getElementById('count').textContent"))

    def loaded_bytes(self) -> int:
        """The size of every file that the page has asked for."""
        return sum(self.file(address).stat().st_size for address in self.page.requests)

    def file(self, address: str) -> Path:
        """The file of the site that an address names; fails for any other."""
        parts = urlsplit(address)
        assert parts.scheme == "file", f"{address} is an external request"
        path = Path(unquote(parts.path))
        assert path.is_relative_to(self.site), f"{address} lies outside the site"
        return path

    def violations(self) -> list[dict[str, Any]]:
        """What axe-core finds serious or worse."""
        self.page.evaluate(f"{AXE.read_text('utf-8')}; 0")
        found = self.page.evaluate("axe.run().then(found => JSON.stringify(found.violations))")
        return [
            {"rule": item["id"], "at": [node["target"] for node in item["nodes"][:5]]}
            for item in json.loads(found)
            if item["impact"] in ("serious", "critical")
        ]
