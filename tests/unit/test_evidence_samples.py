"""Raw samples: what is read, what is refused, which rows count."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from bridge.errors import ManifestError
from evidence.gates.view import number_of
from evidence.measuring import build_metrics, select
from evidence.samples import read_samples
from evidence.spec import Plan, parse_spec
from tests.evidence_world import digest_of, sample_rows, spec


def row(**more: Any) -> dict[str, Any]:
    base = {
        "arm": "full",
        "seed": 0,
        "unit": "u",
        "input": digest_of("i"),
        "measure": "recall",
        "score": True,
        "at": {},
        "error": None,
        "warmup": False,
        "t_ms": 1.5,
    }
    return {**base, **more}


def lines(*rows: Any) -> bytes:
    return b"".join((json.dumps(one) + "\n").encode() for one in rows)


BAD: list[tuple[bytes, str]] = [
    (lines(row(score="1")), "line 1"),
    (lines(row(), row(score=None)), "line 2"),
    (lines(row(score=1, error="it failed")), "line 1"),
    (lines(row(seed=1.0)), "line 1"),
    (lines(row(seed=True)), "line 1"),
    (lines(row(input="sha256:short")), "line 1"),
    (lines(row(arm="")), "line 1"),
    (lines(row(extra=1)), "line 1"),
    (lines({"arm": "full"}), "line 1"),
    (lines([1]), "line 1"),
    (lines(row(at={"context": [1]})), "line 1"),
    (b'{"arm":"a","arm":"b"}\n', "line 1"),
    (b'{"score": NaN}\n', "line 1"),
    (b"\xff\n", "line 1"),
    (lines(row(t_ms=-1)), "line 1"),
]


@pytest.mark.parametrize(("data", "place"), BAD, ids=[str(data)[:60] for data, _ in BAD])
def test_a_bad_row_is_refused_at_its_line(data: bytes, place: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_samples(data)
    assert any(place in problem for problem in caught.value.problems)


def test_at_most_twenty_faults_are_listed() -> None:
    with pytest.raises(ManifestError) as caught:
        read_samples(lines(*[row(score="1")] * 50))
    assert len(caught.value.problems) == 20


def test_scores_are_exact() -> None:
    (one,) = read_samples(lines(row(score=0.1)))
    assert one.score == Fraction(1, 10)
    assert read_samples(b"\n\n") == ()


def test_an_optional_field_may_be_left_out() -> None:
    short = {key: row()[key] for key in ("arm", "seed", "unit", "input", "measure", "score")}
    (one,) = read_samples(lines(short))
    assert (one.at, one.error, one.warmup, one.t_ms) == ((), "", False, None)


def test_warm_up_overlap_and_unplanned_rows_do_not_count() -> None:
    warm = digest_of("warm")
    samples = read_samples(
        lines(
            row(warmup=True, input=warm),
            row(unit="again", input=warm),
            row(unit="fresh"),
            row(unit="late", seed=9),
            row(unit="far", at={"context": 4096}),
            row(unit="other-arm", arm="other"),
        )
    )
    plan = Plan(seeds=("0",), arms=("full",), dims={"context": ("256",)})
    found = select(samples, plan)
    assert [one.unit for one in found.counted] == ["fresh"]
    assert [one.unit for one in found.overlap] == ["again"]
    assert [one.unit for one in found.unplanned] == ["late", "far", "other-arm"]
    assert len(found.warmup) == 1


def test_a_share_counts_errors_as_failures_and_others_leave_them_out() -> None:
    samples = read_samples(
        lines(
            row(unit="a"),
            row(unit="b", score=None, error="out of memory"),
            row(unit="c", measure="tok_s", score=4),
            row(unit="d", measure="tok_s", score=None, error="out of memory"),
        )
    )
    found = {metric.name: metric for metric in build_metrics(parse_spec(spec()), samples)}
    assert (found["recall"].k, found["recall"].n, found["recall"].errors) == (1, 2, 1)
    assert found["speed"].values == (Fraction(4),)
    assert found["speed"].errors == 1


def test_a_share_of_other_scores_is_a_fault() -> None:
    samples = read_samples(lines(row(score=0.5)))
    metric = build_metrics(parse_spec(spec()), samples)[0]
    assert "0 and 1" in metric.fault


def test_metrics_are_the_counts_of_the_rows() -> None:
    samples = read_samples(lines(*sample_rows()))
    for metric in build_metrics(parse_spec(spec()), samples):
        if not metric.is_proportion:
            continue
        scores = [
            one.score
            for one in samples
            if one.measure == "recall"
            and one.arm == metric.arm
            and all(dict(one.at)[name] == place for name, place in metric.at)
        ]
        assert number_of(metric) == Fraction(sum(map(int, scores)), len(scores))  # type: ignore[arg-type]


def test_scores_that_a_reducer_cannot_take_are_a_fault_and_no_crash() -> None:
    samples = read_samples(lines(row(measure="tok_s", score=0)))
    found = {metric.name: metric for metric in build_metrics(parse_spec(spec()), samples)}
    assert "positive" in found["speed"].fault


def test_a_gap_names_whole_places_first_and_then_cells() -> None:
    from evidence.gaps import find_gaps

    parsed = parse_spec(spec())
    rows = [one for one in sample_rows() if one["at"]["context"] != 512][:-2]
    gaps = find_gaps(parsed, select(read_samples(lines(*rows)), parsed.plan))
    told = [(gap["planned"], gap["why"]) for gap in gaps]
    assert told[0] == ("recall, tok_s: context=512", "none found in 12 cells")
    assert [why for _, why in told[1:]] == ["3 found"]
    assert "4 samples at arm=sink_window, context=256, depth=100, seed=1" in told[1][0]
