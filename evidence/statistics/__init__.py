"""Statistics in plain Python: the standard library alone, checked against scipy in the tests."""

from evidence.statistics.proportions import (
    Interval,
    clopper_pearson,
    edge_difference,
    exact_edge,
    mcnemar,
    mcnemar_interval,
    newcombe,
    smallest_edge_n,
    wilson,
)
from evidence.statistics.resampling import (
    MIN_UNITS,
    REPLICATES,
    bootstrap,
    cluster_units,
    single_units,
)
from evidence.statistics.trends import kendall_s, mann_kendall
from evidence.statistics.units import average, gather, rank

__all__ = [
    "MIN_UNITS",
    "REPLICATES",
    "Interval",
    "average",
    "bootstrap",
    "clopper_pearson",
    "cluster_units",
    "edge_difference",
    "exact_edge",
    "gather",
    "kendall_s",
    "mann_kendall",
    "mcnemar",
    "mcnemar_interval",
    "newcombe",
    "rank",
    "single_units",
    "smallest_edge_n",
    "wilson",
]
