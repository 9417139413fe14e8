"""A pytest plugin that turns each test's outcome into one sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import canonical
from workloads.shared.context import Context
from workloads.shared.samples import Sample

_MAX_UNIT = 200


class Recorder:
    """Told by pytest about each test; writes samples of the measures `passed` and `skipped`.

    `unreadable` says that a file could not be imported; pytest then runs nothing.

    Args:
        context: where samples go.
        code: the folder that node ids are relative to.
    """

    def __init__(self, context: Context, code: Path) -> None:
        self.unreadable = False
        self._context, self._code = context, code
        self._total: int | None = None
        self._done = 0
        self._spent_s = 0.0
        self._worst: dict[str, bool] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """How many tests there are."""
        self._total = len(session.items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported is a test that failed: its tests are not known."""
        if report.failed:
            self.unreadable = True
            self._write("passed", report.nodeid or "collection", score=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test passed if set-up, call and tear-down all did; a skipped one has not run."""
        node = report.nodeid
        called = report.when == "call" and not report.skipped  # an expected failure is a skip
        if called or report.failed:
            self._worst[node] = self._worst.get(node, True) and report.passed
        self._spent_s += report.duration
        if report.when == "teardown":
            self._end(node)

    def _end(self, node: str) -> None:
        spent_ms, self._spent_s = self._spent_s * 1e3, 0.0
        self._write("skipped", node, score=node not in self._worst, t_ms=spent_ms)
        if node in self._worst:
            self._write("passed", node, score=self._worst.pop(node), t_ms=spent_ms)
        self._done += 1
        self._context.progress(self._done, self._total, "tests")

    def _write(self, measure: str, node: str, *, score: bool, t_ms: float = 0.0) -> None:
        self._context.sample(
            Sample(
                arm="pytest",
                seed=self._context.seed,
                unit=self._name(node),
                input=self._digest(node),
                measure=measure,
                score=score,
                t_ms=t_ms,
            )
        )

    def _name(self, node: str) -> str:
        """The node id, shortened with its digest where it is too long for a sample."""
        shown = canonical.printable(node, 4000)
        if len(shown) <= _MAX_UNIT:
            return shown
        return f"{shown[: _MAX_UNIT - 20]}...{canonical.digest(node)[7:23]}"

    def _digest(self, node: str) -> str:
        path = self._code / node.partition("::")[0]
        data = path.read_bytes() if path.is_file() else node.encode("utf-8", "replace")
        return canonical.digest_bytes(data)
