"""The curve: which cells it pairs, where points and labels stand, its knee, its log scale."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import pytest

from evidence.judge import load_json
from evidence.promoted import ROOT
from evidence.report.axes import make_axis
from evidence.report.curve import Point, draw_curve, find_knee
from evidence.report.labels import LETTER, Label, place_labels
from tests.lab import REPO

KVQUANT = REPO / ROOT / "2026" / "01M7WAKVKVEGVJBJAK5S0WT2BJ" / "evidence.json"
ALPHAS = ("0", "0.25", "0.5", "0.75", "1")
ERRORS = (0.46, 0.26, 0.115, 0.029, 0.0)
FOUND = (0, 2, 15, 55, 60)


def row(name: str, value: float, ci: tuple[float, float] | None = None, **more: Any) -> Any:
    bounds = ci and {"lo": str(ci[0]), "hi": str(ci[1])}
    row = {"name": name, "arm": "mix", "at": {}, "unit": "1", "k": None, "n": 60}
    return {**row, "value": str(value), "ci": bounds, **more}


def sweep(found: Sequence[int] = FOUND) -> tuple[list[Any], list[Any]]:
    """Recall and error along alpha, recall with intervals of a tenth."""
    ys, xs = [], []
    for alpha, error, hits in zip(ALPHAS, ERRORS, found, strict=True):
        share = hits / 60
        ci = (max(0.0, share - 0.1), min(1.0, share + 0.1))
        ys.append(row("recall", share, ci, at={"alpha": alpha}, k=hits))
        xs.append(row("error", error, at={"alpha": alpha}))
    return ys, xs


def draw(ys: list[Any], xs: list[Any], along: str | None = "alpha") -> Any:
    plot = draw_curve("Fidelity and recall", ys, xs, along, ALPHAS)
    assert plot is not None
    return plot


def pieces(plot: Any, kind: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(plot.svg) if one.tag.endswith(f"}}{kind}")]


def dots(plot: Any) -> list[tuple[float, float]]:
    found = [one.attrib for one in pieces(plot, "circle") if one.attrib["r"] == "4.5"]
    return [(float(one["cx"]), float(one["cy"])) for one in found]


def words(plot: Any) -> list[str]:
    return [one.text or "" for one in pieces(plot, "text")]


def record_rows(name: str) -> list[Any]:
    return [one for one in load_json(KVQUANT)["metrics"] if one["name"] == name]


def test_arms_are_points_at_both_metrics_numbers() -> None:
    plot = draw(record_rows("error"), record_rows("bits"), None)
    assert plot.name == "curve-error-bits"
    bits = [float(one["value"]) for one in record_rows("bits")]
    spots = dots(plot)
    assert len(spots) == 6
    scale = (spots[0][0] - spots[1][0]) / (bits[0] - bits[1])
    for (x, _), number in zip(spots, bits, strict=True):
        assert x - spots[0][0] == pytest.approx(scale * (number - bits[0]), abs=0.2)
    heights = {one["arm"]: y for one, (_, y) in zip(record_rows("error"), spots, strict=True)}
    order = ["affine4", "d4", "e8", "affine6", "affine8", "identity"]  # from most error to none
    assert sorted(heights, key=lambda arm: heights[arm]) == order
    assert set(order) <= set(words(plot))
    assert "error (log scale)" in words(plot)
    assert "bits (bit)" in words(plot)
    assert "knee" not in plot.description
    assert "affine8: error 3.125e-05 at bits 8.5" in plot.description


def test_what_is_exactly_nothing_stands_on_the_strip_of_a_log_scale() -> None:
    plot = draw(record_rows("error"), record_rows("bits"), None)
    strip = pieces(plot, "rect")[0].attrib
    top, height = float(strip["y"]), float(strip["height"])
    inside = [top < y < top + height for _, y in dots(plot)]
    assert inside == [True, False, False, False, False, False]  # identity alone
    assert "0" in words(plot)
    assert "strip stands for 0" in plot.caption


@pytest.mark.parametrize("names", [("error", "bits"), ("recall_arm", "bits"), ("bits", "error")])
def test_no_label_covers_another_or_a_dot(names: tuple[str, str]) -> None:
    plot = draw(record_rows(names[0]), record_rows(names[1]), None)
    arms = {one["arm"] for one in record_rows("error")}
    boxes = []
    for text in pieces(plot, "text"):
        if text.text in arms:
            x, y = float(text.attrib["x"]), float(text.attrib["y"])
            boxes.append((x, y - 8, x + LETTER * len(text.text or ""), y + 3))
    assert len(boxes) == len(arms)
    boxes += [(x - 4, y - 4, x + 4, y + 4) for x, y in dots(plot)]
    for one, two in combinations(boxes, 2):
        if boxes.index(one) < len(arms):
            apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
            assert apart, (one, two)
    assert all(box[0] >= 0 and box[2] <= 460 for box in boxes)


def test_a_sweep_is_a_line_in_the_order_of_its_dimension() -> None:
    ys, xs = sweep()
    plot = draw(ys[::-1], xs)
    spots = dots(plot)
    assert [x for x, _ in spots] == sorted((x for x, _ in spots), reverse=True)  # error falls
    assert [y for _, y in spots] == sorted((y for _, y in spots), reverse=True)  # recall rises
    assert {"mix", *ALPHAS} <= set(words(plot))
    joins = [
        tuple(float(one.attrib[key]) for key in ("x1", "y1", "x2", "y2"))
        for one in pieces(plot, "line")
        if one.attrib["stroke-width"] == "1.2"
    ]
    assert joins == [(*one, *two) for one, two in pairwise(spots)]
    assert "alpha 0.25: recall 0.03333 (2 of 60) at error 0.26" in plot.description


def test_every_point_has_its_intervals() -> None:
    ys, xs = sweep()
    xs[1]["ci"] = {"lo": "0.2", "hi": "0.3"}
    bars = [one.attrib for one in pieces(draw(ys, xs), "line") if one.attrib["stroke-width"] == "2"]
    upright = [bar for bar in bars if bar["x1"] == bar["x2"]]
    level = [bar for bar in bars if bar["y1"] == bar["y2"]]
    assert (len(upright), len(level)) == (5, 1)
    assert {float(bar["x1"]) for bar in upright} == {x for x, _ in dots(draw(ys, xs))}
    y = dots(draw(ys, xs))[1]
    assert float(level[0]["x1"]) < y[0] < float(level[0]["x2"])


def test_the_knee_is_the_step_with_the_largest_change() -> None:
    plot = draw(*sweep())
    assert "knee: 0.029 to 0.12" in words(plot)
    assert plot.description.endswith("knee: 0.029 to 0.12 (mix)")
    band = next(one.attrib for one in pieces(plot, "rect") if "--a0" in one.attrib["style"])
    spots = dots(plot)
    assert float(band["x"]) == pytest.approx(spots[3][0], abs=0.1)
    assert float(band["width"]) == pytest.approx(spots[2][0] - spots[3][0], abs=0.1)


def points(*numbers: float, noise: float | None = None) -> list[Point]:
    found = []
    for index, number in enumerate(numbers):
        ci = None if noise is None else (number - noise, number + noise)
        found.append(Point(str(index), (row("x", index), row("y", number, ci))))
    return found


def test_a_line_that_does_not_tell_has_no_knee() -> None:
    assert find_knee(points(0, 1, 9, 10)) is not None
    assert find_knee(points(0, 9, 10)) is None  # too short
    assert find_knee(points(5, 5, 5, 5)) is None  # level
    assert find_knee(points(0, 1, 9, 10, noise=6)) is None  # within the noise
    falling = find_knee(points(10, 9, 1, 0, noise=4))
    assert falling is not None
    assert [point.label for point in falling] == ["1", "2"]


def test_cells_are_paired_by_arm_and_by_the_dimensions_that_both_have() -> None:
    ys = [row("y", n, at={"context": c}, arm=arm)
          for n, (arm, c) in enumerate([("a", "1"), ("a", "2"), ("b", "1")])]  # fmt: skip
    xs = [row("x", 10, arm="a"), row("x", 20, arm="b"), row("x", 30, arm="c")]
    plot = draw_curve("t", ys, xs, "context", ("1", "2"))
    assert plot is not None
    told = "a: context 1: y 0 at x 10, context 2: y 1 at x 10; b: context 1: y 2 at x 20"
    assert plot.description == told
    assert draw_curve("t", ys, xs[2:], "context", ("1", "2")) is None  # nothing in common
    assert draw_curve("t", ys, [{**xs[0], "value": None}], "context", ("1", "2")) is None


def test_seeds_are_points_of_their_own() -> None:
    ys = [row("y", seed, at={"seed": str(seed)}) for seed in range(3)]
    plot = draw(ys, [row("x", 1)], None)
    assert not [one for one in pieces(plot, "line") if one.attrib["stroke-width"] == "1.2"]
    assert {"mix, seed 0", "mix, seed 1", "mix, seed 2"} <= set(words(plot))


@pytest.mark.parametrize(
    ("values", "log", "strip"),
    [
        ((1, 30), False, False),
        ((1, 31), True, False),
        ((0, 1, 31), True, True),
        ((-1, 1, 31), False, False),
        ((0, 0), False, False),
        ((5,), False, False),
    ],
)
def test_an_axis_is_logarithmic_where_numbers_ask_for_it(
    values: tuple[float, ...], log: bool, strip: bool
) -> None:
    axis = make_axis(values, (), (0.0, 100.0))
    assert (axis.log, axis.strip is not None) == (log, strip)
    assert axis.marks
    places = [axis.place(value) for value in values]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)


def test_an_interval_down_to_nothing_neither_fails_nor_stretches_a_log_scale() -> None:
    narrow = make_axis((1, 100), (1, 100), (0.0, 100.0))
    wide = make_axis((1, 100), (1e-9, 100), (0.0, 100.0))
    assert wide.place(1) == narrow.place(1)
    assert wide.place(1e-9) == 0
    assert make_axis((1, 100), (0, 100), (0.0, 100.0)).strip is not None


def test_marks_of_a_log_scale_are_powers_of_ten_or_few() -> None:
    assert make_axis((1e-5, 1), (), (0.0, 1.0)).marks == (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
    assert make_axis((0.03, 1), (), (0.0, 1.0)).marks == (0.05, 0.1, 0.2, 0.5, 1.0)
    assert len(make_axis((1e-20, 1), (), (0.0, 1.0)).marks) <= 8


def test_a_label_that_finds_no_room_beside_its_point_is_led_to_it() -> None:
    crowd = [Label((50.0 + index, 50.0), f"label {index}", "a0") for index in range(5)]
    drawn = place_labels(crowd, [], (0.0, 0.0, 200.0, 120.0))
    assert len([one for one in drawn if one.startswith("<text")]) == 5
    assert any(re.match(r'<line x1="5\d\.0" y1="50\.0"', one) for one in drawn)


def test_where_points_are_many_lines_label_their_ends_and_knee_alone() -> None:
    places = [str(index) for index in range(40)]
    ys = [row("y", 1 if index else 0, at={"step": place}) for index, place in enumerate(places)]
    xs = [row("x", index, at={"step": place}) for index, place in enumerate(places)]
    plot = draw_curve("t", ys, xs, "step", places)
    assert plot is not None
    labels = [one.text for one in pieces(plot, "text") if one.attrib["class"] == "small"]
    assert labels == ["0", "1", "39"]  # both ends, and the knee's
