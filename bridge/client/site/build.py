"""`site build`: from a bus to a folder of plain files, reading again only what is new since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from bridge.client.accounting import add_up, total
from bridge.client.overview import Overview
from bridge.client.progress import CampaignStatus, tell_campaign
from bridge.client.site.pages import Pages, read_style, read_template, trend_path
from bridge.client.site.rows import (
    Row,
    counts_of,
    row_as_json,
    row_from_json,
    row_of,
    script_of,
    split_rows,
)
from bridge.client.site.trends import Trends, trends_from_json
from bridge.errors import BusError, IntegrityError, MissingPartError, UsageError
from bridge.version import VERSION

STATE = ".kakeya-site.json"
STATIC_ROWS = 50
"""Newest jobs that the first page holds itself, for a browser without scripts."""
MAX_CAMPAIGNS = 100
_SAY_EVERY = 1_000
_LINKS = {"trends.html": "Trends", "usage.html": "Usage"}


@dataclass(frozen=True, slots=True)
class Built:
    """What was written.

    Attributes:
        folder: where the site lies; `index.html` is its first page.
        jobs: how many jobs it shows.
        read: how many of them were read from the bus this time.
        files: how many files were written.
        first_view_bytes: what a browser loads to show the first page.
    """

    folder: Path
    jobs: int
    read: int
    files: int
    first_view_bytes: int

    def as_json(self) -> dict[str, Any]:
        """The build as `--json` prints it."""
        return {
            "schema": "kakeya.site/1",
            "folder": str(self.folder),
            "jobs": self.jobs,
            "read": self.read,
            "files": self.files,
            "first_view_bytes": self.first_view_bytes,
        }


@dataclass(slots=True)
class _Kept:
    """What an earlier build left for this one: the rows of ended jobs, and every trend."""

    rows: dict[str, Row] = field(default_factory=dict)
    trends: Trends = field(default_factory=Trends)


def build_site(
    client: Overview, out: Path, *, fresh: bool = False, say: Callable[[str], None] = lambda _: None
) -> Built:
    """Write the site of a client's bus below `out`.

    The page of an ended job is written once; a folder that an earlier build of the same program
    wrote for the same bus is brought up to date.

    Args:
        client: whose bus.
        out: the folder; made if it is not there.
        fresh: read and write everything again.
        say: told how it goes.

    Raises:
        UsageError: the folder holds files of somebody else.
        MissingPartError: jinja2 is not installed.
        BusError: the bus does not answer.
    """
    bus_id = client.bus.identity().id
    campaigns = sorted(client.bus.campaigns(), reverse=True)[:MAX_CAMPAIGNS]
    links = {**({"campaigns.html": "Campaigns"} if campaigns else {}), **_LINKS}
    try:
        pages = Pages(client.clock.wall_s(), bus_id, links)
    except ImportError as error:
        raise MissingPartError(
            "jinja2 is not installed",
            where="site build",
            remedy="pip install -c constraints.txt '.[reports]'",
        ) from error
    _check_folder(out)
    maker = _maker(client)
    kept = _Kept() if fresh else _load(out, bus_id, maker)
    writer = _Writer(out)
    known = frozenset(kept.rows)
    rows, read = dict(kept.rows), 0
    for one in client.walk(without=known):
        if one.chain.job.id in known:  # ended, and not folded yet
            continue
        row = row_of(one)
        rows[row.usage.id] = row
        writer.write(row.path, pages.job(one, row))
        if row.ended and one.record is not None:
            _follow(kept.trends, row, one.record)
        read += 1
        if read % _SAY_EVERY == 0:
            say(f"{read} jobs read")
    shown = [rows[job_id] for job_id in sorted(rows, reverse=True)]
    first_view = _write_tables(writer, pages, client, shown, kept.trends)
    if campaigns:
        told = list(_tell_campaigns(client, campaigns, shown))
        writer.write("campaigns.html", pages.campaigns(told, shown))
    ended = {row.usage.id: row for row in shown if row.ended}
    _save(writer, bus_id, maker, ended, kept.trends)
    return Built(out, len(shown), read, writer.count, first_view)


def _tell_campaigns(
    client: Overview, names: Sequence[str], rows: Sequence[Row]
) -> Iterator[CampaignStatus]:
    """The campaigns that can be read, with the states of their jobs."""
    states = {row.usage.id: row.usage.verdict or row.usage.state for row in rows}
    for name in names:
        with suppress(BusError, IntegrityError):  # it is gone, or no program of ours wrote it
            yield tell_campaign(client.bus.load_campaign(name), states)


def _follow(trends: Trends, row: Row, record: Mapping[str, Any]) -> None:
    trends.add(
        record,
        preset=row.usage.preset,
        code=row.code,
        hardware=row.hardware,
        at_ms=row.usage.asked_ms,
    )


def _write_tables(
    writer: _Writer, pages: Pages, client: Overview, rows: list[Row], trends: Trends
) -> int:
    """Every page but those of jobs; the bytes of the first view."""
    parts = split_rows(rows)
    usages = [row.usage for row in rows]
    tables = {name: add_up(usages, name) for name in ("preset", "requester", "runner")}
    first = {
        "index.html": pages.index(rows, counts_of(rows), len(parts), STATIC_ROWS),
        "style.css": read_style(),
        "site.js": read_template("site.js"),
        "data/jobs-0.js": script_of(0, parts[0]),
    }
    rest = {f"data/jobs-{index}.js": script_of(index, part) for index, part in enumerate(parts)}
    rest |= {
        "runners.html": pages.runners(client.fleet()),
        "usage.html": pages.usage(tables, total("all", usages)),
        "trends.html": pages.trends(trends),
        ".nojekyll": "",
    }
    for preset, metrics in trends.by_metric().items():
        for name, keys in metrics.items():
            rest[trend_path(preset, name)] = pages.metric(preset, name, keys, trends)
    sizes = {path: writer.write(path, text) for path, text in first.items()}
    for path in rest.keys() - first.keys():
        writer.write(path, rest[path])
    for left in writer.folder.glob("data/jobs-*.js"):
        if f"data/{left.name}" not in rest:
            left.unlink()
    return sum(sizes.values())


class _Writer:
    """Writes files below a folder, and counts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def write(self, path: str, text: str) -> int:
        """Write one file; its size in bytes."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        target.write_bytes(data)
        self.count += 1
        return len(data)


def _check_folder(out: Path) -> None:
    if out.is_dir() and not (out / STATE).is_file() and any(out.iterdir()):
        raise UsageError(
            "holds files that no earlier build wrote",
            where=str(out),
            remedy="name an empty or a new folder: --out DIR",
        )
    if out.exists() and not out.is_dir():
        raise UsageError("is no folder", where=str(out), remedy="name another: --out DIR")


def _maker(client: Overview) -> str:
    """What decides how a page looks: another program, or other keys, write every page again."""
    keys = client.bus.keyring
    known = (sorted(keys.names.items()), sorted(keys.revoked), keys.required)
    digest = hashlib.sha256(f"{VERSION}\n{known}".encode())
    folder = resources.files("bridge").joinpath("client", "site")
    for place in (folder, folder.joinpath("templates")):
        for item in sorted(place.iterdir(), key=lambda one: one.name):
            if item.is_file():
                digest.update(item.name.encode() + b"\0" + item.read_bytes())
    return digest.hexdigest()


def _load(out: Path, bus_id: str, maker: str) -> _Kept:
    """What an earlier build left; nothing where it was of another bus or program."""
    try:
        data = json.loads((out / STATE).read_bytes())
        if (data["schema"], data["bus"], data["maker"]) != (_SCHEMA, bus_id, maker):
            return _Kept()
        rows = {row["usage"]["id"]: row_from_json(row) for row in data["rows"]}
        return _Kept(rows, trends_from_json(data["trends"]))
    except (OSError, ValueError, KeyError, TypeError):
        return _Kept()  # cut off, or not there: everything is read again


def _save(
    writer: _Writer, bus_id: str, maker: str, rows: Mapping[str, Row], trends: Trends
) -> None:
    data = {
        "schema": _SCHEMA,
        "bus": bus_id,
        "maker": maker,
        "rows": [row_as_json(row) for row in rows.values()],
        "trends": trends.as_json(),
    }
    writer.write(STATE, json.dumps(data, separators=(",", ":")))


_SCHEMA = "kakeya.site-state/1"
