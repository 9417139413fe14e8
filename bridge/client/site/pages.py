"""The pages as HTML: every string from the bus is escaped, and cut where it is long."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from bridge.canonical import thaw
from bridge.client.accounting import Total
from bridge.client.census import Counted
from bridge.client.fleet import RunnerView, tell_age
from bridge.client.outcomes import status_of
from bridge.client.progress import CampaignStatus
from bridge.client.site.plots import draw_trend, newest_commits, title_of
from bridge.client.site.rows import Row, tone_of
from bridge.client.site.trends import Key, Trends
from evidence.report import svg
from evidence.report.figures import draw_timeline
from evidence.report.forest import draw_forest
from evidence.report.page import read_style as read_report_style
from evidence.report.text import flatten, interval_text, place, short, sort_gates

MAX_FIGURES = 40
"""Figures on one page of trends; its table holds every quantity."""
MAX_TEXT = 300
MAX_ROWS = 200
ASSETS = ("site.css", "site.js")


class Pages:
    """Draws pages.

    Args:
        built_at_s: Unix time of the build, told at the foot of every page.
        bus_id: the bus's own id.
        links: further pages of the menu: path to title.

    Raises:
        ImportError: jinja2 is not installed (extra: reports).
    """

    def __init__(self, built_at_s: float, bus_id: str, links: Mapping[str, str]) -> None:
        import jinja2
        from markupsafe import Markup

        self._markup = Markup
        self._faults: tuple[type[Exception], ...] = (
            *(KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError),
            jinja2.UndefinedError,
        )
        self._environment = jinja2.Environment(
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            loader=jinja2.FunctionLoader(read_template),
        )
        self._environment.filters |= {
            "age": tell_age,
            "clip": clip,
            "interval": interval_text,
            "moment": tell_moment,
            "place": place,
            "short": short,
            "span": lambda value: "–" if value is None else tell_age(value),
        }
        self._environment.globals |= {
            "built": tell_moment(built_at_s * 1000),
            "bus": bus_id,
            "links": {"index.html": "Jobs", "runners.html": "Runners", **links},
        }

    def draw(self, template: str, *, here: str, **values: Any) -> str:
        """One page.

        Args:
            template: its name without suffix.
            here: its path from the top of the site.
            values: what the template names.
        """
        root = "../" * here.count("/")
        return self._environment.get_template(f"{template}.html.j2").render(
            here=here, root=root, **values
        )

    def job(self, one: Counted, row: Row) -> str:
        """The page of a job; a record that cannot be shown costs the page nothing else."""
        try:
            return self._job(one, row, one.record, one.fault)
        except self._faults as error:  # whoever runs jobs may write a record of any shape
            fault = f"the evidence cannot be shown: {type(error).__name__}: {error}"
            return self._job(one, row, None, fault)

    def _job(self, one: Counted, row: Row, record: Mapping[str, Any] | None, fault: str) -> str:
        status = status_of(one.chain)
        request = status.request
        plots: list[svg.Plot | None] = []
        gates: list[dict[str, Any]] = []
        if record is not None:
            plots = [draw_forest(record), draw_timeline(record["timings"])]
            gates = [
                {"note": "", **gate, "leaves": [x for x in flatten(gate) if x["observed"]]}
                for gate in sort_gates(record["gates"])
            ]
        return self.draw(
            "job",
            here=row.path,
            row=row,
            tone=tone_of(row.usage.state, row.usage.verdict),
            status=status,
            params=thaw(request.params) if request else {},
            record=record,
            fault=fault,
            gates=gates[:MAX_ROWS],
            plots=self._figures([plot for plot in plots if plot is not None]),
            artifacts=status.result.artifacts[:MAX_ROWS] if status.result else (),
            max_rows=MAX_ROWS,
        )

    def index(self, rows: Sequence[Row], counts: Mapping[str, int], files: int, shown: int) -> str:
        """The first page: counts, search, and the newest jobs."""
        return self.draw(
            "index",
            here="index.html",
            rows=rows[:shown],
            counts=counts,
            files=files,
            presets=sorted({row.usage.preset for row in rows if row.usage.preset}),
            runners=sorted({row.usage.runner for row in rows if row.usage.runner}),
        )

    def runners(self, fleet: Sequence[RunnerView]) -> str:
        """The runners, as their last heartbeats tell of them."""
        return self.draw("runners", here="runners.html", fleet=fleet)

    def usage(self, tables: Mapping[str, Sequence[Total]], whole: Total) -> str:
        """What the jobs took."""
        return self.draw("usage", here="usage.html", tables=tables, whole=whole)

    def campaigns(self, campaigns: Sequence[CampaignStatus], rows: Sequence[Row]) -> str:
        """The campaigns, each node with its cells."""
        told = [
            {
                "status": one,
                "word": one.verdict or (one.state.value if one.state else "unreadable"),
                "tone": one.verdict or ("going" if one.state else "fail"),
            }
            for one in campaigns
        ]
        named = {job for one in campaigns for node in one.nodes for job, _ in node.cells.values()}
        found = {row.usage.id: row.path for row in rows if row.usage.id in named}
        return self.draw("campaigns", here="campaigns.html", campaigns=told, pages=found)

    def trends(self, trends: Trends) -> str:
        """Every preset with its metrics."""
        found = {
            preset: [(name, trend_path(preset, name), len(keys)) for name, keys in metrics.items()]
            for preset, metrics in trends.by_metric().items()
        }
        return self.draw("trends", here="trends.html", presets=found)

    def metric(self, preset: str, name: str, keys: Sequence[Key], trends: Trends) -> str:
        """One metric of one preset over commits."""
        plots = [
            draw_trend(key, trends.points[key], f"t{index}")
            for index, key in enumerate(keys[:MAX_FIGURES])
        ]
        return self.draw(
            "metric",
            here=trend_path(preset, name),
            preset=preset,
            name=name,
            plots=self._figures(plots),
            left=max(0, len(keys) - MAX_FIGURES),
            rows=[row for key in keys[:MAX_ROWS] for row in _latest(key, trends)],
        )

    def _figures(self, plots: Sequence[svg.Plot]) -> list[dict[str, Any]]:
        return [{"plot": plot, "svg": self._markup(plot.svg)} for plot in plots]


def _latest(key: Key, trends: Trends) -> list[dict[str, Any]]:
    """The newest commit of a quantity, one row for each kind of hardware."""
    series = trends.points[key]
    code = newest_commits(series)[-1]
    return [
        {"title": title_of(key), "code": code, "hardware": hardware, "point": point, "key": key}
        for (commit, hardware), point in sorted(series.items())
        if commit == code
    ]


def trend_path(preset: str, metric: str) -> str:
    """The page of a metric: names of two metrics may differ by characters that no file has."""
    mark = hashlib.sha256(f"{preset}\n{metric}".encode()).hexdigest()[:8]
    return f"trends/{svg.plot_name(preset)}/{svg.plot_name(metric)}-{mark}.html"


def read_template(name: str) -> str:
    """A template, or another file that lies beside them."""
    folder = resources.files("bridge").joinpath("client", "site", "templates")
    return folder.joinpath(name).read_text("utf-8")


def read_style() -> str:
    """The style sheet: that of the reports, and what the site adds."""
    return read_report_style() + read_template("site.css")


def clip(value: object, limit: int = MAX_TEXT) -> str:
    """A value as text of at most `limit` characters, without control or bidi characters."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in str(value)[: limit + 1])
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def tell_moment(ms: float) -> str:
    """A Unix time in milliseconds as a person reads it, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
