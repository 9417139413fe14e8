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

__all__ = [
    "MIN_UNITS",
    "REPLICATES",
    "Interval",
    "bootstrap",
    "clopper_pearson",
    "cluster_units",
    "edge_difference",
    "exact_edge",
    "kendall_s",
    "mann_kendall",
    "mcnemar",
    "mcnemar_interval",
    "newcombe",
    "single_units",
    "smallest_edge_n",
    "wilson",
]
