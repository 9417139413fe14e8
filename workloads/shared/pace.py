"""One count of steps over all parts of a run, so that the time left is one honest figure."""

from __future__ import annotations

from workloads.shared.context import Context


class Pace:
    """Steps done of all steps there are; parts that turn out shorter make the whole shorter."""

    def __init__(self, context: Context, total: int = 0) -> None:
        self._context = context
        self._total = total
        self._done = 0

    def expect(self, steps: int) -> None:
        """So many more steps are to come; fewer where negative."""
        self._total += steps

    def advance(self, note: str, steps: int = 1) -> None:
        """So many steps are done."""
        self._done += steps
        self._context.progress(self._done, self._total, note)
