"""What a preset asks to be drawn: a kind, the metric, and what it is drawn along."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from evidence.gates.rules import NAME
from evidence.gates.shape import Reader

PLOT_KINDS = ("forest", "ladder", "heatmap", "dots", "paired", "stack", "curve")
_AXES = {"ladder": ("x",), "stack": ("x",), "curve": ("x",), "heatmap": ("x", "y")}
_KEYS = {"kind", "metric", "x", "y", "arms", "title"}


@dataclass(frozen=True, slots=True)
class PlotSpec:
    """One plot of the report: a kind, the metric it draws, and its axes' dimensions.

    Where the kind is "curve", `x` names another metric. `arms` are the two that a "paired" plot
    joins; without them it takes the first two.
    """

    kind: str
    metric: str
    x: str | None = None
    y: str | None = None
    title: str = ""
    arms: tuple[str, ...] = ()


def parse_plots(
    items: Sequence[Any], metrics: Collection[str], reader: Reader
) -> tuple[PlotSpec, ...]:
    """The plots of a preset; `reader` collects what is wrong with them.

    Args:
        items: the entries under `plots`.
        metrics: names of the preset's metrics.
        reader: collects faults.
    """
    found = []
    for index, item in enumerate(items):
        path = f"$.plots[{index}]"
        data = reader.mapping(item, path, _KEYS, required=("kind", "metric"))
        if data is None:
            continue
        kind = reader.choice(data.get("kind"), f"{path}.kind", PLOT_KINDS) or ""
        metric = reader.text(data.get("metric"), f"{path}.metric", NAME) or ""
        _check_metric(metric, f"{path}.metric", metrics, reader)
        axes = {
            key: reader.text(data[key], f"{path}.{key}", NAME) for key in ("x", "y") if key in data
        }
        for key in _AXES.get(kind, ()):
            if key not in axes:
                reader.complain(f"{path}.{key}", f"is wanted for a {kind}")
        if kind == "curve" and (other := axes.get("x")):
            _check_metric(other, f"{path}.x", metrics, reader)
            if other == metric:
                reader.complain(f"{path}.x", f"{metric!r} against itself; another is wanted")
        title = reader.text(data.get("title", ""), f"{path}.title") or ""
        arms = _parse_arms(data, kind, f"{path}.arms", reader)
        found.append(PlotSpec(kind, metric, axes.get("x"), axes.get("y"), title, arms))
    return tuple(found)


def _parse_arms(data: Any, kind: str, path: str, reader: Reader) -> tuple[str, ...]:
    if "arms" not in data:
        return ()
    arms = reader.texts(data["arms"], path, NAME)
    if kind != "paired" or len(set(arms)) != 2:
        reader.complain(path, "two arms are wanted, of a paired plot alone")
    return arms


def _check_metric(name: str, path: str, metrics: Collection[str], reader: Reader) -> None:
    if name not in metrics:
        known = ", ".join(sorted(metrics)) or "none"
        reader.complain(path, f"no metric {name!r}; known are {known}")
