"""Learning rates over a training run."""

from __future__ import annotations

import math

FLOOR = 0.01


def warm_cosine(step: int, steps: int, *, warmup: int) -> float:
    """The share of the peak rate at `step` (from 0): linear warm-up, then a cosine to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
