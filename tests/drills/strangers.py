"""What a third party with push rights does to a job in the middle: moves, replaces, deletes it."""

from __future__ import annotations

from collections.abc import Callable

from tests.drills.field import BOUND_S, Field
from tests.drills.table import ALL, Drill
from tests.waiting import until


def _move_back(field: Field) -> None:
    """A force-push takes the ref back to the request: the claim and all since are gone."""
    field.start("one")
    ref = field.submit(seconds=3)
    field.wait(ref, "running")
    field.strike()
    field.raw.point(ref, field.chain(ref).request_oid)
    field.wait_for_words("fenced off")
    field.settle()


def _put_on_top(field: Field) -> None:
    """A foreign commit on top: its holder names it and writes over it."""
    field.start("one")
    ref = field.submit(seconds=3)
    tip = field.wait(ref, "running").tip
    field.strike()
    message = "kakeya: done, attempt 1, by one"
    forged = field.raw.commit({"result.json": b"{}"}, message=message, parents=(tip,))
    field.raw.point(ref, forged)
    field.wait_for_words("writing over a foreign commit")
    field.settle()


def _replace(field: Field) -> None:
    """A force-push puts a commit there that has nothing to do with the job.

    Its history is gone from the ref, so that nothing there can be believed: the job is rejected by
    name, its process is ended, and every other job goes on.
    """
    field.start("one")
    ref = field.submit(seconds=3)
    field.wait(ref, "running")
    field.strike()
    field.raw.point(ref, field.raw.commit({"x": b"1"}, message="kakeya: done, attempt 1"))
    field.wait_for_words("fenced off")
    field.wait(field.submit(), "done")
    field.settle("done", "rejected")


def _delete(state: str) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        """A client that waits is told that the job is nowhere; every other job goes on."""
        if state == "running":
            field.start("one")
            client = field.command("client", "run", "noop", "-p", "seconds=10", "--wait")
        else:
            field.start("one", labels=["another"])
            words = ("run", "noop", "--wait", "--code", field.lab.commit)
            client = field.command("client", *words)
        ref = until(lambda: next(iter(field.lab.bus.poll().jobs), ""), bound_s=BOUND_S, what="job")
        if state == "running":
            field.wait(ref, "running")
        else:  # a client that has not yet seen the job has nothing to miss
            until(lambda: "queued" in field.words("client"), bound_s=BOUND_S, what="the wait")
        field.strike()
        field.raw.run("update-ref", "-d", ref)
        assert client.wait(timeout=BOUND_S) == 4, field.words("client")
        if state == "running":
            field.wait_for_words("given up")
            field.wait(field.submit(), "done")
        field.settle()
        field.ends["told by exit 4"] += 1

    return run


DRILLS: tuple[Drill, ...] = (
    Drill("job moved back to its request", _move_back, over=ALL),
    Drill("foreign commit on a running job", _put_on_top, over=ALL),
    Drill("running job replaced by another commit", _replace),
    Drill("job's ref deleted, queued", _delete("queued")),
    Drill("job's ref deleted, running", _delete("running"), over=ALL),
)
