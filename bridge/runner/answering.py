"""Answering a request with finished evidence: the samples of then, judged by the gates of now.

What is slow runs on the attempt's threads; the memory, which may ask the bus, is asked by the
runner's own thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from bridge.bus.chain import Chain
from bridge.canonical import digest_bytes, encode, thaw
from bridge.errors import KakeyaError
from bridge.git import Git
from bridge.records import Claim, Request
from bridge.runner.baselines import find_baselines
from bridge.runner.config import RunnerConfig
from bridge.runner.judging import Judgement, describe_request, gather, run_judge, time_text
from bridge.runner.key import load_key
from bridge.runner.reuse import Finished, Memory, check_same
from bridge.runner.trust import Trust
from bridge.runner.work import Work, confirm_work, describe_work
from evidence.verify import material_of
from presets.binding import render_spec
from presets.definition import Preset


@dataclass(frozen=True, slots=True)
class Question:
    """A claimed job that finished evidence may answer.

    `marks` are the clock readings `queued` and `claimed`.
    """

    chain: Chain
    claim: Claim
    claim_oid: str
    preset: Preset
    folder: Path
    marks: Mapping[str, str | float | None]


@dataclass(frozen=True, slots=True)
class Means:
    """What a runner lends for it; `find` opens a repository that holds a code commit."""

    config: RunnerConfig
    trust: Trust
    pool: Pool
    find: Callable[[str], Git]
    say: Callable[[str], None]


class Answering:
    """Looks for finished evidence that answers a claimed job.

    Args:
        question: the job.
        memory: what is there.
        means: what the runner lends.
    """

    def __init__(self, question: Question, memory: Memory, means: Means) -> None:
        self.answer: Judgement | None = None
        self._question, self._memory, self._means = question, memory, means
        self._work: str | None = None
        self._seeking: Future[Work | None] | None = means.pool.submit(self._seek)
        self._judging: Future[Judgement] | None = None

    def advance(self) -> bool:
        """Whether it is known what comes of it: `answer`, or None and the job runs."""
        if self._seeking is not None:
            if not self._seeking.done():
                return False
            seeking, self._seeking = self._seeking, None
            return self._take_work(seeking)
        assert self._judging is not None
        if not self._judging.done():
            return False
        error = self._judging.exception()
        if error is None:
            self.answer = self._judging.result()
        else:  # it does not hold: nobody is answered with it again
            assert self._work is not None
            self._memory.forget(self._work)
            self._means.say(f"not reused: {error}")
        return True

    def _seek(self) -> Work | None:
        means, chain = self._means, self._question.chain
        assert chain.request is not None
        return describe_work(
            chain.request, self._question.preset, means.config, means.trust, means.find, means.say
        )

    def _take_work(self, seeking: Future[Work | None]) -> bool:
        if seeking.exception() is not None or (work := seeking.result()) is None:
            return True  # what is wrong is told when the job is prepared
        found = self._memory.recall(work.digest)
        if found is None:
            return True
        self._work = work.digest
        means = self._means
        self._judging = means.pool.submit(
            judge_again, self._question, work.digest, found, means.config, means.trust
        )
        return False


def remember(
    judged: Judgement,
    request: Request,
    preset: Preset,
    config: RunnerConfig,
    memory: Memory,
    find: Callable[[str], Git],
) -> Judgement:
    """Keep the evidence of a job that ran, where it can be told what it depends on.

    Args:
        judged: what came of the job.
        request: what was asked.
        preset: from the trusted commit.
        config: the runner's settings.
        memory: where it is kept.
        find: opens a repository that holds a code commit.
    """
    data, samples = judged.files.get("evidence.json"), judged.files.get("samples.jsonl")
    if data is None or samples is None:
        return judged
    try:
        work = confirm_work(json.loads(data), request, preset, config, find)
    except KakeyaError:
        return judged
    if work is None:
        return judged
    files = {path: found for path, found in judged.files.items() if path.startswith("artifacts/")}
    memory.keep(work, Finished(request.id, data, samples, judged.artifacts, files))
    return replace(judged, work=work)


def judge_again(
    question: Question, work: str, finished: Finished, config: RunnerConfig, trust: Trust
) -> Judgement:
    """A record of its own for a job that did not run.

    Raises:
        IntegrityError: the finished record does not follow from its samples, or is of other work.
        KakeyaError: the judge could not be run.
    """
    request = question.chain.request
    assert request is not None
    record = finished.read_sound()
    check_same(record, request.params, question.preset)
    marks = {**question.marks, "finished": time.time()}
    facts = dict(material_of(record, finished.samples).facts)
    origin = {"job": finished.job, "evidence": digest_bytes(finished.evidence)}
    facts |= {
        "id": request.id,
        "request": {**describe_request(question.chain, config), "reused_from": origin},
        "preset": {**record["preset"], "digest": question.preset.digest},
        "runner": {**record["runner"], "answered_by": config.name, "claim": question.claim_oid},
        "execution": {**record["execution"], "reason": "reused", "duration_s": "0.000"},
        "timings": {name: time_text(mark) for name, mark in marks.items()},
        "trusted": {"commit": trust.commit, "tree": trust.tree, "edited": list(trust.edited)},
        "attempts": [{"n": 1, "claim": question.claim_oid, "ended": "reused"}],
    }
    place = question.folder / "judge"
    place.mkdir(parents=True, exist_ok=True)
    artifacts = question.folder / "artifacts"
    for path, data in finished.files.items():
        target = question.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    artifacts.mkdir(exist_ok=True)
    (place / "samples.jsonl").write_bytes(finished.samples)
    (place / "facts.json").write_bytes(encode(thaw(facts)))
    spec = render_spec(question.preset, request.params, request.predictions)
    (place / "spec.json").write_bytes(encode(spec))
    bases = find_baselines(request.baselines, trust.folder / "evidence" / "records")
    run_judge(trust, place, artifacts, bases)
    own = {path.removeprefix("artifacts/"): data for path, data in finished.files.items()}
    key = load_key(config.state_dir, config.name)
    judged = gather(place, finished.artifacts, own, finished.samples, key)
    told = f"{judged.message}; reused from {finished.job}"
    return replace(judged, message=told, work=work, reused_from=finished.job)
