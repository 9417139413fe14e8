"""A job's chain judged commit by commit, in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.bus.chain import Chain, Commit, subject_event
from bridge.bus.commits import compose_step, runner_identity
from bridge.errors import CacheError, IntegrityError
from bridge.objects import Prepared
from bridge.records import Progress
from bridge.states import Event, State
from tests import samples
from tests.actors import WHEN_S
from tests.memory_chain import MemoryChain


def _step(chain: Chain, event: Event, record: object = None, **options: object) -> Prepared:
    makers = {
        Event.CLAIM: samples.make_claim,
        Event.LOG: samples.make_log,
        Event.REQUEUE: samples.make_requeue,
    }
    made = record or (
        makers[event](chain) if event in makers else samples.make_result(chain, event)
    )
    return compose_step(
        chain,
        event,
        made,  # type: ignore[arg-type]
        author=runner_identity("mac-m4"),
        when_s=WHEN_S,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture
def job() -> MemoryChain:
    return MemoryChain(samples.make_request(samples.make_id()))


def _advance(job: MemoryChain, *events: Event) -> Chain:
    for event in events:
        job.append(_step(job.read(), event))
    return job.read()


def test_a_new_job_is_queued(job: MemoryChain) -> None:
    chain = job.read()
    assert (chain.state, chain.attempt, chain.held, chain.ended) == (State.QUEUED, 1, False, False)
    assert (chain.head, chain.request_oid) == (chain.tip, chain.tip)
    assert chain.request is not None
    assert chain.request_digest is not None
    assert set(chain.files) == {"request.json"}


def test_every_step_is_seen(job: MemoryChain) -> None:
    claimed = _advance(job, Event.CLAIM)
    assert (claimed.held, claimed.claim_oid) == (True, claimed.tip)
    progress = Progress(2, 8, 30.0, "warming up")
    job.append(_step(claimed, Event.LOG, samples.make_log(claimed, progress=progress)))
    running = job.read()
    assert (running.state, running.log_sequence, running.progress) == (State.RUNNING, 1, progress)
    job.append(_step(running, Event.LOG, samples.make_log(running, progress=None)))
    assert job.read().progress == progress
    queued = _advance(job, Event.REQUEUE)
    assert (queued.state, queued.attempt, queued.claim, queued.claim_oid) == (
        State.QUEUED,
        2,
        None,
        None,
    )
    assert queued.progress is None
    again = _advance(job, Event.CLAIM)
    assert (again.attempt, again.log_sequence) == (2, 0)
    done = _advance(job, Event.LOG, Event.DONE)
    assert (done.state, done.ended, done.fault) == (State.DONE, True, None)
    assert done.result is not None
    assert done.result.claim == again.tip
    assert len(done.links) == 8


@pytest.mark.parametrize("event", [Event.REJECTED, Event.CANCELLED, Event.EXPIRED])
def test_a_queued_job_can_end_without_a_claim(job: MemoryChain, event: Event) -> None:
    chain = _advance(job, event)
    assert (chain.state, chain.ended, chain.claim_oid) == (State(event.value), True, None)


def test_reading_needs_only_what_came_with_the_chain(job: MemoryChain) -> None:
    chain = _advance(job, Event.CLAIM)
    job.append(_step(chain, Event.LOG, files={"logs/1-000001.txt": b"x" * 10}))
    oid = job.commits[-1].files["logs/1-000001.txt"]
    del job._blobs[oid]
    assert job.read().state is State.RUNNING


def test_a_fault_of_the_cache_is_no_fault_of_the_chain(job: MemoryChain) -> None:
    _advance(job, Event.CLAIM)

    class Broken(MemoryChain):
        def blob(self, oid: str) -> bytes:
            raise CacheError("damaged", where="here")

    broken = Broken(samples.make_request(samples.make_id()))
    broken.commits = job.commits
    with pytest.raises(CacheError):
        broken.read()


def test_foreign_commits_are_passed_over_and_written_over(job: MemoryChain) -> None:
    claimed = _advance(job, Event.CLAIM)
    for number in range(3):
        tip = job.read().tip
        job.commits.append(Commit(f"{number}" * 40, (tip,), "wip", {}))
    disturbed = job.read()
    assert disturbed.fault == "222222222222: foreign commit, its subject is 'wip'"
    assert (disturbed.head, disturbed.tip, disturbed.state) == (
        claimed.head,
        "2" * 40,
        State.CLAIMED,
    )
    done = _advance(job, Event.DONE)
    assert (done.state, done.fault) == (State.DONE, None)
    assert set(done.files) == {"request.json", "claim.json", "result.json"}


def test_a_tree_that_no_job_may_have_is_a_fault(job: MemoryChain) -> None:
    claimed = _advance(job, Event.CLAIM)
    good = _step(claimed, Event.LOG)
    commit = Commit(good.oid, (claimed.tip,), "kakeya: log", {}, "'x' has mode 120000")
    job.commits.append(commit)
    assert job.read().fault == f"{good.oid[:12]}: 'x' has mode 120000"
    job.commits = [replace(job.commits[0], files={}, fault="'x' has mode 120000")]
    chain = job.read()
    assert (chain.state, chain.problems) == (State.QUEUED, ("'x' has mode 120000",))


def test_no_claim_binds_a_malformed_request(job: MemoryChain) -> None:
    job.commits = [replace(job.commits[0], files={})]
    chain = job.read()
    assert chain.problems == ("the commit holds no request.json",)
    job.append(_step(chain, Event.CLAIM))
    assert "bound to another request" in (job.read().fault or "")
    rejected = _advance(job, Event.REJECTED)
    assert rejected.state is State.REJECTED
    assert rejected.result is not None
    assert (rejected.result.request, rejected.result.request_commit) == (None, chain.tip)


@pytest.mark.parametrize(
    ("subject", "event"),
    [
        ("kakeya: request noop, by alice", Event.REQUEST),
        ("kakeya: claim, attempt 2, by mac-m4", Event.CLAIM),
        ("kakeya: done", Event.DONE),
        ("kakeya: finished", None),
        ("kakeya:done", None),
        ("Kakeya: done", None),
        (" kakeya: done", None),
        ("kakeya: ", None),
        ("", None),
    ],
)
def test_a_subject_names_its_event(subject: str, event: Event | None) -> None:
    assert subject_event(subject) is event


def test_a_step_cannot_be_composed_onto_a_path_of_git(job: MemoryChain) -> None:
    chain = _advance(job, Event.CLAIM)
    with pytest.raises(IntegrityError):
        _step(chain, Event.DONE, files={"artifacts/.git/config": b""})
