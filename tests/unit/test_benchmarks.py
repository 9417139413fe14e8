from __future__ import annotations

from benchmarks.measure import Fact, Row, Table
from benchmarks.page import draw, update
from benchmarks.stopwatch import Call, split_time


def test_time_is_counted_once_and_in_order() -> None:
    calls = [
        Call("client", "swap", 0.0, 1.0),
        Call("runner", "poll", 0.5, 2.0),  # half a second of it under the push
        Call("runner", "poll", 2.5, 9.0),  # beyond the end
        Call("client", "glance", 0.0, 4.0),
    ]
    order = (("client", "swap"), ("runner", "poll"), ("client", "glance"))
    found = split_time([(0.0, 4.0)], calls, order)
    assert [round(value) for value in found.values()] == [1000, 2500, 500, 0]
    assert sum(found.values()) == 4000


def test_a_missed_goal_is_said_in_its_row() -> None:
    rows = (
        Row("push", (10.0, 12.0, 11.0)),
        Row("job", (66.0,), 11.0, goal_ratio=5.0),
        Row("quick job", (33.0,), 11.0, goal_ratio=5.0),
    )
    text = "\n".join(draw(rows))
    assert "| job | 1 | 66.0 | 66.0 | +55.0 | 6.00 | 5x: **missed** |" in text
    assert "5x: met" in text


def test_facts_know_which_way_is_better() -> None:
    slow = Fact("jobs", 1, 2.5, "/s", 3.0, more_is_better=True, remark="two cores")
    small = Fact("bytes", 5, 812.0, "B", 2048.0)
    assert not slow.is_met
    assert small.is_met
    text = "\n".join(draw((slow, small)))
    assert "| jobs | 1 | 2.50 /s | at least 3: **missed** | two cores |" in text
    assert "| bytes | 5 | 812 B | at most 2048: met |" in text


def test_a_section_is_replaced_in_its_place() -> None:
    facts = Table("Facts", "First.", (Fact("jobs", 1, 2.5, "/s"),))
    page = update(update("", facts), Table("Others", "Beside.", ()))
    again = update(page, Table("Facts", "Second.", (Fact("jobs", 1, 3.5, "/s"),)))
    assert [row for row in again.split("\n") if row.startswith("## ")] == ["## Facts", "## Others"]
    assert "First." not in again
    assert "| jobs | 1 | 3.50 /s |  |  |" in again
    assert "Load average" in again
