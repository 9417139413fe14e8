"""A live runner folds what it has done, and its requesters do not notice."""

from __future__ import annotations

from tests.lab import Lab
from tests.waiting import until


def test_a_runner_folds_what_ended_long_enough_ago(lab: Lab) -> None:
    with lab.runner("lab-1", fold={"keep": 2, "after_s": 1}):
        refs = [lab.submit("noop", {"seconds": 0}) for _ in range(4)]
        for ref in refs:
            assert lab.wait(ref).state == "done"
        until(lambda: not lab.bus.poll().jobs, bound_s=90, what="the fold of every job")
        assert all(lab.wait(ref).archive for ref in refs)
        late = lab.submit("noop", {"seconds": 0})
        assert lab.wait(late).state == "done"
    assert "into the ledger" in lab.words()
