"""docs/python-api.md and docs/cli.md name what is there, and nothing that is not."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

from bridge.client import Client
from bridge.client.draft import SEALED
from tests.lab import REPO

API = (REPO / "docs" / "python-api.md").read_text("utf-8")
CLI = (REPO / "docs" / "cli.md").read_text("utf-8")


def test_the_page_lists_every_public_method_with_its_parameters() -> None:
    rows = re.findall(r"^\| `(?:Client\.)?(\w+)\((.*?)\)`", API, re.MULTILINE)
    told = {name: [part.strip() for part in parts.split(",") if part] for name, parts in rows}
    public = {
        name
        for name, member in inspect.getmembers(Client)
        if not name.startswith("_") and callable(member)
    }
    assert public - {"catalog"} == set(told)
    for name, parts in told.items():
        known = list(inspect.signature(getattr(Client, name)).parameters)
        for part in set(parts) - {"..."}:
            wanted = {"id": "job_id", "data": "draft"}.get(part, part)
            assert wanted in known, f"{name}({part})"


def test_the_example_of_the_page_is_python() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", API, re.DOTALL)
    compile(block, "docs/python-api.md", "exec")
    for name in set(re.findall(r"client\.(\w+)\(", block)):
        assert hasattr(Client, name)


def test_every_schema_that_is_printed_is_listed() -> None:
    printed: set[str] = set()
    elsewhere = {"evidence.py", "presets.py", "runner.py"}  # told on pages of their own
    for folder in ("bridge/cli", "bridge/client"):
        for path in Path(REPO / folder).rglob("*.py"):
            if path.name not in elsewhere:
                text = path.read_text("utf-8")
                printed |= set(re.findall(r'"schema": "(kakeya\.[a-z-]+/1)"', text))
    assert len(printed) >= 9
    assert printed <= set(re.findall(r"kakeya\.[a-z-]+/1", CLI))


def test_the_draft_of_the_page_is_json_and_the_sealed_fields_are_named() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", CLI, re.DOTALL)
    assert "preset" in json.loads(block)
    for name in SEALED:
        assert f"`{name}`" in CLI
