"""Waiting on a condition with a bound: the one place where a test lets time pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], *, bound_s: float = 60.0, what: str = "condition") -> T:
    """The first true value of `condition`, asked every 10 ms.

    Raises:
        AssertionError: it stayed false for `bound_s`.
    """
    deadline = time.monotonic() + bound_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come within {bound_s:g} s"
        time.sleep(0.01)
