"""What the steps of a job cost on each transport, against a bare `git push` in the same run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Action, Prepare, Table, compare
from bridge import proc
from bridge.bus.commits import compose_request
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome, Update
from bridge.states import Event
from tests import samples
from tests.actors import WHEN_S, Actor, open_bus
from tests.parts import PARTS as REAL_PARTS
from tests.servers.git_servers import PARTS, SERVERS, open_transport
from tests.servers.transport import Remote

_ROUNDS = 9
_LIVE = 200  # fewer stay live: ended jobs are folded into the ledger
_NOTE = (
    "One step each, over loopback; `fast` is HTTP through the fast path. The floor is a "
    "`git push` of a ref that is there already; ratios are against it, in the same run."
)


def measure() -> Iterator[Table]:
    """One table for each transport, and one for many live jobs."""
    for name in SERVERS:
        missing = [part for part in PARTS[name] if not REAL_PARTS[part][0]()]
        if missing:
            remedies = "; ".join(REAL_PARTS[part][1] for part in missing)
            yield Table(f"Bus over {name}", f"Not measured: {remedies}.", ())
        else:
            yield _measure_transport(name, live=0)
    yield _measure_transport("file", live=_LIVE)


def _measure_transport(name: str, live: int) -> Table:
    with open_transport(name) as transport, tempfile.TemporaryDirectory() as folder:
        os.environ.update(transport.client_env)
        remote = transport.create()
        bench = Bench(remote, Path(folder))
        bench.fill(live)
        rows = compare(bench.cases(), rounds=_ROUNDS)
        bench.close()
    title = f"Bus over {name}" + (f", {live} live jobs" if live else "")
    return Table(title, _NOTE, rows)


class Bench:
    """A client, a runner and a bare git on one remote."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        self._remote = remote
        self._plain = folder / "plain.git"
        self._client = Actor(open_bus(remote.url, folder / "client"), "client")
        self._runner = Actor(open_bus(remote.url, folder / "runner", init=False), "runner")
        self._last = self._client.submit()
        self._number = 0
        self._git("init", "--quiet", "--bare", str(self._plain), cwd=folder)
        tree = self._git("hash-object", "-t", "tree", "-w", os.devnull)
        who = ("-c", "user.name=bench", "-c", "user.email=bench@example.invalid")
        self._commit = self._git(*who, "commit-tree", "-m", "bench", tree)
        self._push("bench/0")()

    def cases(self) -> dict[str, Prepare]:
        """What is timed, in the order of one round."""
        return {
            "git push, nothing to do": lambda: self._push("bench/0"),
            "git push, a new ref": self._new_ref,
            "submit": lambda: self._submit,
            "poll, one new job": lambda: self._runner.bus.poll,
            "poll, nothing new": lambda: self._runner.bus.poll,
            "peek at one job": lambda: lambda: self._runner.bus.peek(self._last),
            "load a job": lambda: lambda: self._runner.bus.load(self._last),
            "claim (one swap)": self._claim,
            "log (one swap)": self._log,
        }

    def fill(self, live: int) -> None:
        """Have so many queued jobs on the bus, by one push."""
        bus_id, updates = self._client.bus.identity().id, []
        for _ in range(live):
            request = samples.make_request(bus_id)
            ref = self._client.bus.refs.job(JobRef("any", request.priority, request.id))
            updates.append(Update(ref, None, compose_request(request, when_s=WHEN_S)))
        assert set(self._client.bus.swap(updates)) <= {Outcome.WON}

    def close(self) -> None:
        """End the helper processes."""
        self._client.bus.close()
        self._runner.bus.close()

    def _submit(self) -> None:
        self._last = self._client.submit()

    def _claim(self) -> Action:
        return self._step(Event.CLAIM)

    def _log(self) -> Action:
        return self._step(Event.LOG)

    def _step(self, event: Event) -> Action:
        chain = self._runner.bus.load(self._last)
        commit = self._runner.compose(chain, event)

        def swap() -> None:
            assert self._runner.bus.swap([Update(chain.ref, chain.tip, commit)]) == (Outcome.WON,)

        return swap

    def _new_ref(self) -> Action:
        self._number += 1
        return self._push(f"bench/{self._number}")

    def _push(self, ref: str) -> Action:
        refspec = f"{self._commit}:refs/heads/{ref}"
        return lambda: self._git("push", "--quiet", "--porcelain", self._remote.url, refspec)

    def _git(self, *arguments: str, cwd: Path | None = None) -> str:
        env = {**proc.base_env(), **{k: v for k, v in os.environ.items() if k == "GIT_SSH_COMMAND"}}
        argv = ["git", *arguments]
        done = proc.run(argv, cwd=cwd or self._plain, env=env, timeout_s=60)
        assert done.code == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode().strip()
