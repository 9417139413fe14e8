"""Time and randomness as a value, so that a test can turn the one and fix the other."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Clock:
    """What a client or a runner takes from the world around it.

    Attributes:
        wall_s: Unix time in seconds; for people and ids, nothing is decided by it.
        monotonic_s: seconds of a clock that never runs backwards; decides every timeout.
        pause: waits for seconds.
        randomness: that many fresh random bytes, for ids and nonces.
        chance: for choices that spread load; nothing secret comes from it.
    """

    wall_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    randomness: Callable[[int], bytes] = secrets.token_bytes
    chance: random.Random = field(default_factory=random.Random)

    def nonce(self) -> str:
        """A fresh nonce for a record: 32 hex digits."""
        return self.randomness(16).hex()


class Backoff:
    """Pauses that double from `min_s` up to `max_s`, until `reset`.

    Args:
        min_s, max_s: the shortest and the longest pause.
        steady: how many of the shortest come before the first doubling.
    """

    def __init__(self, min_s: float, max_s: float, *, steady: int = 0) -> None:
        self.min_s = min_s
        self.max_s = max(min_s, max_s)
        self._steady = steady
        self.reset()

    def reset(self) -> None:
        """Begin again at the shortest pause."""
        self._next_s = self.min_s
        self._left = self._steady

    def next_s(self, limit_s: float | None = None) -> float:
        """The next pause in seconds, at most `limit_s`."""
        pause_s = self._next_s
        if self._left:
            self._left -= 1
        else:
            self._next_s = min(self.max_s, 2 * pause_s)
        return pause_s if limit_s is None else max(0.0, min(pause_s, limit_s))
