"""Our statistics against scipy and statsmodels, and against what they must obey."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from evidence import statistics
from evidence.gates.power import power_n
from evidence.reducers import REDUCERS
from evidence.statistics.special import beta_cdf, beta_quantile, normal_quantile

COUNTS = [(0, 1), (1, 1), (0, 10), (10, 10), (3, 7), (10, 16), (24, 64), (19, 64), (499, 1000)]
LEVELS = [0.8, 0.9, 0.95, 0.99]


@pytest.mark.parametrize(("k", "n"), COUNTS)
@pytest.mark.parametrize("level", LEVELS)
def test_wilson_agrees_with_statsmodels(k: int, n: int, level: float) -> None:
    found = statistics.wilson(k, n, level)
    expected = proportion_confint(k, n, alpha=1 - level, method="wilson")
    assert (found.lo, found.hi) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("k", "n"), COUNTS)
@pytest.mark.parametrize("level", LEVELS)
def test_clopper_pearson_agrees_with_scipy(k: int, n: int, level: float) -> None:
    found = statistics.clopper_pearson(k, n, level)
    expected = stats.binomtest(k, n).proportion_ci(confidence_level=level, method="exact")
    assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high), abs=1e-10)


@pytest.mark.parametrize("n", [1, 5, 10, 59, 1000])
@pytest.mark.parametrize("level", LEVELS)
def test_the_edge_is_the_one_sided_exact_bound(n: int, level: float) -> None:
    test = stats.binomtest(n, n, alternative="greater")
    expected = test.proportion_ci(confidence_level=level, method="exact").low
    assert statistics.exact_edge(n, n, level).lo == pytest.approx(expected, abs=1e-12)
    assert statistics.exact_edge(0, n, level).hi == pytest.approx(1 - expected, abs=1e-12)


def test_the_edge_is_nearly_three_over_n() -> None:
    for n in (100, 1000, 10000):
        assert statistics.exact_edge(0, n, 0.95).hi * n == pytest.approx(3, rel=0.02)


def test_the_edge_refuses_what_lies_inside() -> None:
    with pytest.raises(ValueError, match="edge"):
        statistics.exact_edge(1, 3, 0.95)


@pytest.mark.parametrize("one", COUNTS)
@pytest.mark.parametrize("two", COUNTS)
def test_newcombe_agrees_with_statsmodels(one: tuple[int, int], two: tuple[int, int]) -> None:
    found = statistics.newcombe(*one, *two, 0.95)
    expected = confint_proportions_2indep(*one, *two, method="newcomb", compare="diff", alpha=0.05)
    assert (found.lo, found.hi) == pytest.approx(expected, abs=1e-9)


def test_newcombe_gives_the_interval_of_the_study() -> None:
    found = statistics.newcombe(19, 64, 24, 64, 0.95)
    assert round(100 * found.lo, 1) == -23.5
    assert round(100 * found.hi, 1) == 8.4


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (1, 0), (5, 0), (6, 0), (8, 2), (30, 31)])
def test_mcnemar_agrees_with_statsmodels(gains: int, losses: int) -> None:
    expected = reference_mcnemar([[10, gains], [losses, 10]], exact=True).pvalue
    assert statistics.mcnemar(gains, losses) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("gains", range(12))
@pytest.mark.parametrize("losses", range(1, 12))
def test_the_mcnemar_interval_excludes_zero_exactly_when_the_test_does(
    gains: int, losses: int
) -> None:
    found = statistics.mcnemar_interval(gains, losses, 100, 0.95)
    assert (found.lo > 0 or found.hi < 0) == (statistics.mcnemar(gains, losses) < 0.05)


@pytest.mark.parametrize(("bound", "level"), [(0.05, 0.95), (0.1, 0.95), (0.05, 0.99), (0.5, 0.9)])
def test_the_smallest_n_is_the_first_that_bounds_the_loss(bound: float, level: float) -> None:
    n = statistics.smallest_edge_n(bound, level)
    assert (
        statistics.exact_edge(0, n, level).hi <= bound < statistics.exact_edge(0, n - 1, level).hi
    )


def test_n_of_the_study() -> None:
    assert statistics.smallest_edge_n(0.05, 0.95) == 59
    assert round(100 * statistics.exact_edge(0, 10, 0.95).hi) == 26
    assert power_n(24 / 64, 19 / 64, 0.95) == 570


@pytest.mark.parametrize("a", [0.5, 1, 3, 40])
@pytest.mark.parametrize("b", [0.5, 1, 7, 900])
def test_beta_agrees_with_scipy(a: float, b: float) -> None:
    for x in (0.0, 0.001, 0.2, 0.5, 0.9, 1.0):
        assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), abs=1e-11)
    for p in (0.025, 0.5, 0.975):
        assert beta_quantile(p, a, b) == pytest.approx(stats.beta.ppf(p, a, b), abs=1e-10)
    assert normal_quantile(0.975) == pytest.approx(stats.norm.ppf(0.975), abs=1e-12)


def mean_of(scores: list[float], units: list[list[int]]) -> Callable[[Sequence[Any]], float]:
    value = statistics.average(scores, units)
    return lambda drawn: value(drawn[0])


def test_the_bootstrap_agrees_with_scipy_and_repeats_itself() -> None:
    scores = [51.5, 21.5, 22.8, 23.0, 14.9, 30.1, 28.8, 25.0, 19.7, 33.3]
    reference = stats.bootstrap(
        (scores,), lambda x: sum(x) / len(x), method="percentile", vectorized=False, rng=1
    ).confidence_interval

    units = statistics.single_units(len(scores))
    mean = mean_of(scores, units)
    found = statistics.bootstrap([units], mean, 0.95, "digest")
    assert found == pytest.approx((reference.low, reference.high), rel=0.05)
    assert found == statistics.bootstrap([units], mean, 0.95, "digest")
    assert found != statistics.bootstrap([units], mean, 0.95, "another")


def test_rows_of_a_cluster_are_drawn_together() -> None:
    clusters = [name for name in "abcdefgh" for _ in range(10)]
    scores = [float(ord(name)) for name in clusters]
    rows, units = statistics.single_units(80), statistics.cluster_units(clusters)
    single = statistics.bootstrap([rows], mean_of(scores, rows), 0.95, "d")
    clustered = statistics.bootstrap([units], mean_of(scores, units), 0.95, "d")
    assert clustered[1] - clustered[0] > 2 * (single[1] - single[0])


def test_an_undefined_replicate_makes_both_bounds_unknown() -> None:
    found = statistics.bootstrap([[[0], [1]]], lambda _: math.nan, 0.95, "d")
    assert found == (-math.inf, math.inf)


@pytest.mark.parametrize("values", [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [1, 3, 2, 5, 4], [2, 2, 2]])
def test_kendall_agrees_with_scipy(values: list[int]) -> None:
    n = len(values)
    s = statistics.kendall_s([Fraction(value) for value in values])
    tau = stats.kendalltau(range(n), values, variant="b")
    if len(set(values)) == n:
        assert s == round(tau.statistic * n * (n - 1) / 2)
        one_sided = stats.kendalltau(range(n), values, alternative="greater", method="exact")
        assert statistics.mann_kendall(s, n) == pytest.approx(one_sided.pvalue, abs=1e-12)
    else:
        assert s == 0


def test_reducers_agree_with_scipy_and_numpy() -> None:
    import numpy as np

    scores = [51.5, 21.5, 22.8, 23.0, 14.9]
    exact = [Fraction(str(score)) for score in scores]
    expected = {
        "mean": np.mean(scores),
        "harmonic_mean": stats.hmean(scores),
        "median": np.median(scores),
        "p10": np.quantile(scores, 0.1),
        "p95": np.quantile(scores, 0.95),
        "variance": np.var(scores, ddof=1),
        "std": np.std(scores, ddof=1),
    }
    for name, value in expected.items():
        assert float(REDUCERS[name](exact)) == pytest.approx(value)


def test_reducers_say_what_they_cannot_take() -> None:
    with pytest.raises(ValueError, match="positive"):
        REDUCERS["harmonic_mean"]([Fraction(0), Fraction(1)])
    with pytest.raises(ValueError, match="two values"):
        REDUCERS["variance"]([Fraction(1)])
