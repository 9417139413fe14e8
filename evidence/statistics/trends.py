"""Monotone association: Kendall's S and the exact Mann-Kendall test. Pure.

Sources: Kendall 1938; Mann 1945. The null distribution is that of the number of inversions.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def kendall_s(values: Sequence[Fraction]) -> int:
    """Rising pairs minus falling pairs of a series."""
    return sum(
        (later > earlier) - (later < earlier)
        for index, earlier in enumerate(values)
        for later in values[index + 1 :]
    )


def mann_kendall(s: int, n: int) -> float:
    """P(S >= s) for a series of `n` values in random order, without ties (conservative with)."""
    counts = [1]
    for size in range(2, n + 1):
        longer = [0] * (len(counts) + size - 1)
        for inversions, count in enumerate(counts):
            for shift in range(size):
                longer[inversions + shift] += count
        counts = longer
    pairs = n * (n - 1) // 2
    at_most = (pairs - s) // 2  # S = pairs - 2 * inversions
    return sum(counts[: max(0, at_most + 1)]) / sum(counts)
