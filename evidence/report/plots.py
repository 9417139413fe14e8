"""Which figures a record gets: those its spec names, and always gates, seeds and time line."""

from __future__ import annotations

from collections.abc import Iterator

from evidence.gaps import metrics_of
from evidence.measuring import reads
from evidence.metrics import Coordinates, Metric
from evidence.plot_spec import PlotSpec
from evidence.record import Assembled
from evidence.report import figures
from evidence.report.curve import draw_curve
from evidence.report.forest import draw_forest
from evidence.report.stack import draw_stack
from evidence.report.svg import Plot

MAX_DEFAULT_DOTS = 3
MAX_PLOTS = 40


def draw_plots(assembled: Assembled) -> tuple[Plot, ...]:
    """Every figure of a record, the forest plot first."""
    found = [draw_forest(assembled.record)]
    for spec in assembled.spec.plots:
        if spec.kind != "forest":
            found += _DRAWERS[spec.kind](assembled, spec)
    if not any(spec.kind == "dots" for spec in assembled.spec.plots):
        for name in _gated_metrics(assembled)[:MAX_DEFAULT_DOTS]:
            found += _dots(assembled, PlotSpec("dots", name))
    found.append(figures.draw_timeline(assembled.record["timings"]))
    unique: dict[str, Plot] = {}
    for plot in found:
        if plot is not None:  # of two arms whose names differ by signs alone, one keeps the name
            unique.setdefault(plot.name, plot)
    return tuple(unique.values())[:MAX_PLOTS]


def _gated_metrics(assembled: Assembled) -> list[str]:
    gated = {name for gate in assembled.spec.gates for name in metrics_of(gate.rule)}
    first: dict[tuple[str, ...], str] = {}
    for metric in assembled.spec.metrics:
        if metric.name in gated:  # metrics that read the same rows share one figure
            rows = (metric.measure, *(f"{key}={at}" for key, at in sorted(metric.where.items())))
            first.setdefault(rows, metric.name)
    return list(first.values())


def _title(assembled: Assembled, spec: PlotSpec, default: str) -> str:
    doc = next(metric.doc for metric in assembled.spec.metrics if metric.name == spec.metric)
    return spec.title or (f"{spec.metric}: {doc}" if doc else default)


def _rows(assembled: Assembled, name: str) -> list[dict[str, object]]:
    return [row for row in assembled.record["metrics"] if row["name"] == name]


def _places(assembled: Assembled, name: str, dimension: str) -> list[str]:
    planned = assembled.record["dims"].get(dimension)
    seen = dict.fromkeys(
        place
        for metric in assembled.metrics
        if metric.name == name and (place := metric.coordinate(dimension)) is not None
    )
    return list(planned or seen)


def _ladder(assembled: Assembled, spec: PlotSpec) -> Iterator[Plot | None]:
    assert spec.x is not None
    places = _places(assembled, spec.metric, spec.x)
    title = _title(assembled, spec, f"{spec.metric} by {spec.x}")
    yield figures.draw_ladder(title, _rows(assembled, spec.metric), places, spec.x)


def _stack(assembled: Assembled, spec: PlotSpec) -> Iterator[Plot | None]:
    assert spec.x is not None
    places = _places(assembled, spec.metric, spec.x)
    title = _title(assembled, spec, f"{spec.metric} by {spec.x}")
    yield draw_stack(title, _rows(assembled, spec.metric), places, spec.x)


def _curve(assembled: Assembled, spec: PlotSpec) -> Iterator[Plot | None]:
    assert spec.x is not None
    names = (spec.metric, spec.x)
    known = {metric.name: metric for metric in assembled.spec.metrics}
    told = [place for name in names for place in known[name].by if place not in ("arm", "seed")]
    along = told[0] if told else None  # seeds have no order that a line could follow
    found = (_places(assembled, name, along) for name in names if along is not None)
    places = next((place for place in found if place), [])
    title = _title(assembled, spec, f"{spec.metric} against {spec.x}")
    ys, xs = (_rows(assembled, name) for name in names)
    yield draw_curve(title, ys, xs, along, places)


def _heatmap(assembled: Assembled, spec: PlotSpec) -> Iterator[Plot | None]:
    assert spec.x is not None
    assert spec.y is not None
    rows = _rows(assembled, spec.metric)
    title = _title(assembled, spec, f"{spec.metric} by {spec.x} and {spec.y}")
    places = (
        _places(assembled, spec.metric, spec.x),
        _places(assembled, spec.metric, spec.y),
    )
    for arm in dict.fromkeys(str(row["arm"] or "") for row in rows):
        yield figures.draw_heatmap(title, rows, arm, (spec.x, spec.y), places)


def _dots(assembled: Assembled, spec: PlotSpec) -> Iterator[Plot | None]:
    metric = next(one for one in assembled.spec.metrics if one.name == spec.metric)
    rows = [row for row in assembled.selection.counted if reads(metric, row)]
    title = spec.title or f"{spec.metric} for each seed"
    share = metric.reducer == "proportion"
    yield figures.draw_dots(title, spec.metric, rows, share=share)


def _paired(assembled: Assembled, spec: PlotSpec) -> Iterator[Plot | None]:
    found: dict[Coordinates, dict[str, Metric]] = {}
    for metric in assembled.metrics:
        if metric.name == spec.metric and metric.arm and not metric.fault:
            found.setdefault(metric.at, {})[metric.arm] = metric
    for at, arms in found.items():
        pair = [arms[arm] for arm in spec.arms or list(arms)[:2] if arm in arms]
        if len(pair) == 2:
            title = spec.title or f"{spec.metric}: {pair[0].arm} and {pair[1].arm}"
            where = ", ".join(f"{key} {value}" for key, value in at)
            yield figures.draw_paired(f"{title} ({where})" if where else title, *pair)


_DRAWERS = {
    "ladder": _ladder,
    "heatmap": _heatmap,
    "dots": _dots,
    "paired": _paired,
    "stack": _stack,
    "curve": _curve,
}
