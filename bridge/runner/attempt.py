"""One claimed job on its way to a result: prepare, launch, watch, judge.

The slow steps (export, inputs, judging) run on threads, so that the daemon's own loop, which
beats the heart, never waits for them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from dataclasses import dataclass

from bridge.bus.chain import Chain
from bridge.errors import ExecutorError
from bridge.git import Git
from bridge.records import Checkpoint, Claim, Exit, Progress, Request, Resources
from bridge.runner.answering import Answering, Means, Question, remember
from bridge.runner.checkpoints import Keeper, Resumed, resume_checkpoint, resumed_as_json
from bridge.runner.config import RunnerConfig
from bridge.runner.ending import (
    Ended,
    Timings,
    end_answered,
    end_judged,
    end_unlaunched,
    reason_to_retry,
)
from bridge.runner.energy import Meter, absent, start_meter
from bridge.runner.judging import Case, Judgement, judge_attempt
from bridge.runner.outbox import write_synced
from bridge.runner.output import Output, read_progress
from bridge.runner.reuse import Memory
from bridge.runner.trust import Trust
from bridge.runner.workspace import (
    Workspace,
    find_code,
    job_folder,
    prepare_workspace,
    read_json,
)
from executors.contract import OUT, Executor, Handle, Poll, handle_from_json
from executors.supervise.launch import LAUNCH, launch_from_json
from presets.definition import Preset


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a runner lends to its attempts.

    Attributes:
        config: the runner's own settings.
        trust: the trusted commit that the claim pinned.
        pool: threads for the slow steps.
        fetch_code: brings a code commit from the bus.
        executor: the one object that this runner has of a name, so that its system is asked once
            for all jobs.
        say: told what is being waited for.
        memory: finished evidence that may answer a request, None where there is none.
    """

    config: RunnerConfig
    trust: Trust
    pool: Pool
    fetch_code: Callable[[str], Git]
    executor: Callable[[str], Executor]
    say: Callable[[str], None]
    memory: Memory | None = None


class Attempt:
    """A claim that this session holds; `advance` moves it on and never blocks for long.

    Args:
        chain: the job's chain as of the claim.
        preset: from the trusted commit.
        around: what the runner lends it.
    """

    def __init__(self, chain: Chain, preset: Preset, around: Surroundings) -> None:
        assert chain.request is not None
        assert chain.claim is not None
        assert chain.claim_oid is not None
        self.chain = chain
        self.claim: Claim = chain.claim
        self.claim_oid: str = chain.claim_oid
        self.request: Request = chain.request
        self.preset = preset
        self.ended: Ended | None = None
        self.folder = job_folder(around.config.state_dir, self.request.id, self.claim.attempt)
        self.cancelled = False
        self._around = around
        self._executor: Executor = around.executor(self.claim.executor)
        self._keeper = Keeper(
            self.request,
            self.claim.attempt,
            preset.checkpoint,
            around.config,
            around.pool,
            around.say,
        )
        self._output = Output(self._executor, _secret_values(preset, around.config))
        self._looking: Future[Poll] | None = None
        self._said = ""
        self._timings = Timings()
        self._answering: Answering | None = None
        self._preparing: Future[Handle] | None = None
        self._judging: Future[Judgement] | None = None
        self._handle: Handle | None = None
        self._exit: Exit | None = None
        self._meter: Meter | None = None

    @property
    def resources(self) -> Resources:
        """What the job occupies."""
        return self.request.resources

    def start(self) -> None:
        """Begin with the folder, or by looking whether finished evidence answers the request."""
        self._answering = self._look_for_answer()
        if self._answering is None:
            self._preparing = self._around.pool.submit(self._prepare)

    def adopt(self, log_offset: int) -> None:
        """Go on after a restart of the runner: with the job if it was staged, else anew.

        Args:
            log_offset: bytes of output that the bus has already.
        """
        self._output.offset = log_offset
        handle, launch = (read_json(self.folder / name) for name in ("handle.json", LAUNCH))
        if handle:
            self._handle = handle_from_json(handle)
        elif launch:  # perhaps started, perhaps not: a second submit finds the first one's job
            staged = launch_from_json(launch)
            self._preparing = self._around.pool.submit(self._executor.submit, staged)
        else:
            self.start()
        self._timings.read(self.folder)

    def cancel(self) -> None:
        """End the job; its result will say cancelled."""
        self.cancelled = True
        if self._handle is not None and self._exit is None:
            self._around.pool.submit(self._executor.cancel, self._handle)

    def advance(self) -> None:
        """Look at whatever is under way and take the next step when it is done."""
        if self._answering is not None:
            if self._answering.advance():
                self._take_answer(self._answering.answer)
        elif self._preparing is not None and self._preparing.done():
            self._take_handle(self._preparing)
        elif self._judging is not None and self._judging.done():
            self._take_judgement(self._judging)
        elif self._handle is not None and self._exit is None:
            self._look(self._handle)
            self._keeper.look()

    def _look(self, handle: Handle) -> None:
        """Ask how the job is: another machine is asked on a thread, since it may not answer."""
        try:
            if self.claim.executor == "local":
                poll = self._executor.poll(handle)
                self._output.read(handle)
            elif self._looking is None:
                self._looking = self._around.pool.submit(self._look_away, handle)
                return
            elif not self._looking.done():
                return
            else:
                looking, self._looking = self._looking, None
                poll = looking.result()
        except ExecutorError as error:
            self._say_once(f"cannot be asked now: {error}")
            return
        if poll.exit is not None:
            self._take_exit(poll)

    def _look_away(self, handle: Handle) -> Poll:
        poll = self._executor.poll(handle)
        self._output.read(handle)
        return poll

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._around.say(text)

    def take_log(self) -> bytes:
        """The next piece of output that the bus does not have, secrets masked."""
        if self._handle is None:
            return b""
        if self.ended is not None:
            self._output.read(self._handle)
        return self._output.take(whole=self.ended is not None)

    def settle_log(self, *, won: bool) -> None:
        """Whether the bus took the pieces since the last time; if not, they come again."""
        self._output.settle(won=won)
        self._keeper.name(self.chain.checkpoint)

    def take_checkpoint(self) -> Checkpoint | None:
        """The job's latest checkpoint that is on the bus, None if there is none."""
        return self._keeper.take()

    def release(self, chain: Chain) -> None:
        """The job is no longer held; what was kept of it goes where it has ended."""
        if chain.ended:
            self._keeper.end()

    def take_progress(self) -> Progress | None:
        """The job's latest report of progress, None if there is none."""
        return read_progress(self.folder / OUT)

    def _prepare(self) -> Handle:
        resumed = resume_checkpoint(
            self.request,
            self.claim.attempt,
            self.chain.checkpoint,
            self.preset.checkpoint,
            self._around.config,
            self._around.say,
        )
        workspace = prepare_workspace(
            self.request,
            self.claim.attempt,
            self.preset,
            self._around.config,
            self._around.trust,
            find_code=self._find_code,
            say=self._around.say,
        )
        self._note_workspace(workspace, resumed)
        self._meter = start_meter(self.claim.executor)
        handle = self._executor.submit(self._executor.render(workspace.job))
        self._timings.launched = time.time()
        self._timings.write(self.folder)
        write_synced(self.folder / "handle.json", json.dumps(handle.as_json()).encode())
        return handle

    def _find_code(self, commit: str) -> Git:
        return find_code(self._around.config.trusted, commit, self._around.fetch_code)

    def _look_for_answer(self) -> Answering | None:
        memory, around = self._around.memory, self._around
        if not self.request.reuse or memory is None:
            return None
        return Answering(
            Question(
                self.chain,
                self.claim,
                self.claim_oid,
                self.preset,
                self.folder,
                {"queued": self.request.requested_at, "claimed": self._timings.claimed},
            ),
            memory,
            Means(around.config, around.trust, around.pool, self._find_code, around.say),
        )

    def _take_answer(self, answer: Judgement | None) -> None:
        self._answering = None
        if self.cancelled:
            self.ended = Ended("cancelled", None, "cancelled before it ran")
        elif answer is None:
            self._preparing = self._around.pool.submit(self._prepare)
        else:
            self.ended = end_answered(answer)

    def _judge(self, case: Case) -> Judgement:
        """Judge what ran, and keep it for those who ask for the same."""
        assert self._exit is not None
        if reason_to_retry(self._exit, self.preset):
            self._keeper.keep()  # the next attempt may be another runner's
        around = self._around
        judged = judge_attempt(case, around.config, around.trust, around.say)
        clean = case.ending.reason == "exit" and case.ending.code == 0
        if around.memory is None or not clean:
            return judged
        return remember(
            judged, self.request, self.preset, around.config, around.memory, self._find_code
        )

    def _note_workspace(self, workspace: Workspace, resumed: Resumed | None) -> None:
        facts = {
            "resumed": resumed_as_json(resumed),
            "code_tree": workspace.code_tree,
            "lfs_pointers": list(workspace.lfs_pointers),
            "argv": list(workspace.job.argv),
            "inputs": [
                {"role": role, "uri": item.uri, "digest": item.digest}
                for role, item in sorted(workspace.inputs.items())
            ],
        }
        write_synced(self.folder / "workspace.json", json.dumps(facts).encode())

    def _take_handle(self, future: Future[Handle]) -> None:
        self._preparing = None
        error = future.exception()
        if error is None:
            self._handle = future.result()
            if self.cancelled:
                self._executor.cancel(self._handle)
            return
        self.ended = end_unlaunched(error)

    def _take_exit(self, poll: Poll) -> None:
        self._exit = poll.exit
        self._timings.ended = time.time()
        self._timings.write(self.folder)
        assert poll.ending is not None
        case = Case(
            self.chain,
            self.claim,
            self.claim_oid,
            self.preset,
            self.folder,
            poll.ending,
            self._timings.marks(self.request.requested_at),
            self._meter.stop if self._meter else lambda: absent("the runner was restarted"),
        )
        self._judging = self._around.pool.submit(self._judge, case)

    def _take_judgement(self, future: Future[Judgement]) -> None:
        self._judging = None
        assert self._exit is not None
        error = future.exception()
        judged = Judgement() if error is not None else future.result()
        self.ended = end_judged(
            self._exit, judged, error, cancelled=self.cancelled, preset=self.preset
        )


def _secret_values(preset: Preset, config: RunnerConfig) -> tuple[bytes, ...]:
    """The values of the preset's secret variables, that no log may show."""
    env = {**os.environ, **config.env}
    return tuple(env[name].encode() for name in preset.secrets if env.get(name))
