"""kill -9 of each process in each state of a job, and a runner that sleeps past its lease."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable

import psutil

from executors.supervise import processes
from tests.drills.field import BOUND_S, Field
from tests.drills.table import ALL, Drill
from tests.waiting import until

POINTS: dict[str, tuple[str, str]] = {
    "claim on its way": ("claim", "prepared"),
    "claimed": ("claim", "committed"),
    "running": ("log", "committed"),
    "result on its way": ("done", "prepared"),
    "result landed": ("done", "committed"),
}
"""State of the job when the victim is hit -> the push that is held, and where."""

REQUEST_POINTS: dict[str, tuple[str, str]] = {
    "request on its way": ("request", "prepared"),
    "request landed": ("request", "committed"),
}


def _kill_runner(event: str, place: str, *, other: bool) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        field.start("one")
        ambush = field.lie_in_wait(event, place)
        field.submit()
        ambush.wait()
        field.strike()
        field.kill("one")
        ambush.let_go()
        field.start("two" if other else "one")
        field.settle()

    return run


def _kill_pusher(event: str, place: str) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        field.start("one")
        ambush = field.lie_in_wait(event, place)
        field.submit()
        ambush.wait()
        pushers = field.pushers("one")
        assert pushers, "no git push is under way"
        field.strike()
        for pusher in pushers:
            with contextlib.suppress(psutil.NoSuchProcess):
                pusher.kill()
        ambush.let_go()
        field.settle()

    return run


def _kill_server(event: str, place: str) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        field.start("one")
        ambush = field.lie_in_wait(event, place)
        ref = field.submit()
        ambush.wait()
        field.strike()
        ambush.kill_server()
        if place == "prepared":
            _clear_lock(field, ref)
        field.settle()

    return run


def _clear_lock(field: Field, ref: str) -> None:
    """The dead server left the ref's lock: others go on, and an operator takes it away."""
    lock = field.remote.path / f"{ref}.lock"
    assert lock.exists(), "the server did not hold the ref's lock"
    field.wait(field.submit(), "done")
    lock.unlink()


def _kill_client(event: str, place: str) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        """The same command again, under its key, is the same job."""
        field.start("one")
        ambush = field.lie_in_wait(event, place)
        words = ("run", "noop", "-p", "seconds=2", "--id", "drill", "--wait", "--json")
        field.command("first", *words)
        ambush.wait()
        field.strike()
        field.kill("first")
        ambush.let_go()
        second = field.command("second", *words)
        assert second.wait(timeout=BOUND_S) == 0, field.words("second")
        lines = field.words("second").splitlines()
        said = json.loads(next(line for line in lines if line.startswith("{")))
        jobs = set(field.lab.bus.poll().jobs)
        assert len(jobs) == 1, jobs
        field.refs.extend(jobs)
        assert said["id"] in field.refs[0]
        field.settle()

    return run


def _kill_client_pusher(event: str, place: str) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        field.start("one")
        ambush = field.lie_in_wait(event, place)
        client = field.command("client", "run", "noop", "--wait", "--json")
        ambush.wait()
        field.strike()
        for pusher in field.pushers("client"):
            with contextlib.suppress(psutil.NoSuchProcess):
                pusher.kill()
        ambush.let_go()
        assert client.wait(timeout=BOUND_S) == 0, field.words("client")
        field.refs.extend(field.lab.bus.poll().jobs)
        assert len(field.refs) == 1
        field.settle()

    return run


def _kill_supervisor(state: str) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        """The job's own supervisor dies: the attempt is given back, and the next one ends it."""
        field.start("one", whole=True)
        ref = field.submit(seconds=10)
        if state == "running":
            field.wait(ref, "running")
        supervisor = until(lambda: _supervisor(field), bound_s=BOUND_S, what="a supervisor")
        field.strike()
        supervisor.kill()
        field.settle()

    return run


def _supervisor(field: Field) -> psutil.Process | None:
    state = str(field.lab.folder / "one" / "state")
    for pid in processes.table():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            words = " ".join(process.cmdline())
            if "supervise" in words and state in words:
                return process
    return None


def _sleep_past_the_lease(field: Field) -> None:
    """A Mac whose lid was shut: another one takes the job, and the late result is refused."""
    field.start("one")
    ref = field.submit(seconds=3)
    field.wait(ref, "running")
    field.strike()
    field.processes["one"].send_signal(signal.SIGSTOP)
    field.start("two")
    until(lambda: _is_held_by(field, ref, "two"), bound_s=BOUND_S, what="another holder")
    field.processes["one"].send_signal(signal.SIGCONT)
    field.wait_for_words("fenced off")
    field.settle()


def _is_held_by(field: Field, ref: str, name: str) -> bool:
    chain = field.chain(ref)
    return chain.claim is not None and chain.claim.runner == name


_SERVED = ("daemon", "http", "ssh")

DRILLS: tuple[Drill, ...] = (
    *(
        Drill(f"kill runner, {state}; it starts again", _kill_runner(*point, other=False))
        for state, point in POINTS.items()
    ),
    *(
        Drill(f"kill runner, {state}; another is there", _kill_runner(*point, other=True))
        for state, point in POINTS.items()
    ),
    *(
        Drill(f"kill pusher, {state}", _kill_pusher(*point), over=ALL)
        for state, point in POINTS.items()
    ),
    *(
        Drill(f"kill server, {state}", _kill_server(*point), over=ALL)
        for state, point in POINTS.items()
    ),
    *(
        Drill(f"kill client, {state}", _kill_client(*point))
        for state, point in {**REQUEST_POINTS, **POINTS}.items()
        if state != "claim on its way"
    ),
    *(
        Drill(f"kill client's pusher, {state}", _kill_client_pusher(*point), over=ALL)
        for state, point in REQUEST_POINTS.items()
    ),
    *(
        Drill(f"kill supervisor, {state}", _kill_supervisor(state))
        for state in ("claimed", "running")
    ),
    Drill("stop runner past its lease", _sleep_past_the_lease, over=ALL, brief=("http",)),
)
