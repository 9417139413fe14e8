from __future__ import annotations

from typing import Any

import pytest

from bridge import wire
from presets.admission import check_request
from presets.binding import bind
from tests.full_preset import FULL, parse
from tests.hostile import make_valid, put

PRESET = parse(FULL)
PARAMS = bind(PRESET, {"where": "tests", "tag": "a", "base": "sha256:" + "1" * 64})
VALID = make_valid(
    PRESET,
    params=PARAMS,
    resources={"cpus": 2, "memory_mb": 1024, "gpus": 1, "gpu_memory_mb": 1000},
)


def problems_of(manifest: dict[str, Any]) -> tuple[str, ...]:
    return check_request(wire.from_json("request", manifest), PRESET)


def test_a_request_that_fits_has_no_problems() -> None:
    assert problems_of(VALID) == ()


def test_a_request_may_ask_for_more_than_its_preset_does() -> None:
    assert problems_of(put(VALID, ("resources", "cpus"), 64)) == ()
    assert problems_of(put(VALID, ("labels",), ["h200", "gpu", "lab-3"])) == ()


def test_another_version_of_the_preset_is_no_fault_of_the_request() -> None:
    assert problems_of(put(VALID, ("preset", "digest"), "sha256:" + "0" * 64)) == ()


@pytest.mark.parametrize(
    ("where", "value", "problem"),
    [
        (("preset", "name"), "other", "$.preset.name: 'other' is not 'full'"),
        (("executor",), "ssh", "$.executor: full allows no 'ssh', only slurm, local"),
        (("retry_of",), VALID["id"], "$.retry_of: a request cannot retry itself"),
        (("requested_at",), "2026-02-29T00:00:00Z", "$.requested_at: "),
        (("requested_at",), "0000-01-01T00:00:00Z", "$.requested_at: "),
        (("label",), "other", "$.label: 'other' is not among labels"),
        (("labels",), ["gpu"], "$.labels: 'h200' is missing, which full requires"),
        (("resources", "gpus"), 0, "$.resources.gpus: 0 is less than the 1 of full"),
        (("params", "samples"), 51, "$.params.samples: 51 lies outside 1 to 50"),
        (("params", "extra"), 1, "$.params.extra: unknown"),
        (("predictions", 0, "rule"), {"cmp": []}, "$.predictions[0].rule.cmp: a list of 3"),
    ],
)
def test_what_does_not_fit_is_named_at_its_path(
    where: tuple[str | int, ...], value: Any, problem: str
) -> None:
    found = problems_of(put(VALID, where, value))
    assert [line for line in found if line.startswith(problem)], found


def test_a_default_that_the_request_leaves_out_is_missing() -> None:
    params = {name: value for name, value in PARAMS.items() if name != "samples"}
    assert problems_of(put(VALID, ("params",), params)) == (
        "$.params.samples: missing; a request names every param, defaults too",
    )


def test_problems_are_few_and_short_whatever_a_rule_holds() -> None:
    rule = {f"k{index}" + "x" * 500: 1 for index in range(100)}
    found = problems_of(put(VALID, ("predictions", 0, "rule"), rule))
    assert 0 < len(found) <= 20
    assert max(map(len, found)) <= 310
