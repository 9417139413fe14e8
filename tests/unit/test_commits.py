"""What a reader of `git log` sees."""

from __future__ import annotations

import pytest

from bridge.bus.chain import Chain
from bridge.bus.commits import (
    SKIP_CI,
    compose_note,
    compose_request,
    compose_step,
    requester_identity,
    runner_identity,
)
from bridge.objects import Prepared, parse_commit
from bridge.records import Exit, Prediction, Progress
from bridge.states import Event
from tests import samples
from tests.actors import WHEN_S
from tests.memory_chain import MemoryChain


@pytest.fixture
def claimed() -> Chain:
    job = MemoryChain(samples.make_request(samples.make_id()))
    chain = job.read()
    job.append(_step(chain, Event.CLAIM, samples.make_claim(chain)))
    return job.read()


def _step(chain: Chain, event: Event, record: object, *story: str) -> Prepared:
    author = runner_identity("mac-m4")
    return compose_step(chain, event, record, author=author, when_s=WHEN_S, story=story)  # type: ignore[arg-type]


def _message(prepared: Prepared) -> str:
    return parse_commit(prepared.objects[-1].data)[2]


def test_a_request_tells_what_is_asked() -> None:
    request = samples.make_request(
        samples.make_id(),
        params={"b": 2, "a": "x"},
        predictions=(Prediction("p1", "recall\nstays above 0.9", "0.7"),),
    )
    assert _message(compose_request(request, when_s=WHEN_S)).splitlines() == [
        "kakeya: request noop, by alice",
        "",
        f"preset noop ({request.preset.digest[:19]})",
        "params a=x, b=2",
        f"code {request.code}",
        "labels any; priority 5",
        "predicts p1 (0.7): recall stays above 0.9",
        "steps: signed",
    ]


def test_no_text_of_a_requester_writes_a_line_of_its_own() -> None:
    request = samples.make_request(
        samples.make_id(),
        params={"a": "x\n\n\x1b[31mkakeya: done", "b": "y" * 4000},
        requested_by="bob\nkakeya: done, attempt 1",
    )
    message = _message(compose_request(request, when_s=WHEN_S))
    assert not [line for line in message.splitlines()[1:] if line.startswith("kakeya:")]
    assert all(line.isprintable() and len(line) <= 310 for line in message.splitlines())


def test_a_signature_lies_beside_the_request() -> None:
    request = samples.make_request(samples.make_id())
    signed = compose_request(request, when_s=WHEN_S, signature=b"-----BEGIN SSH SIGNATURE-----")
    assert set(signed.files) == {"request.json", "request.sig"}
    assert compose_request(request, when_s=WHEN_S, signature=signed.objects[1].data) == signed


def test_steps_tell_the_story_and_start_no_ci(claimed: Chain) -> None:
    claim = samples.make_claim(claimed)
    log = samples.make_log(claimed, sequence=7, progress=Progress(3, 10))
    unknown = samples.make_log(claimed, progress=Progress(3))
    result = samples.make_result(
        claimed, exit=Exit(None, 9, "memory"), message="out of memory", verdict="error"
    )
    told = [
        _message(_step(claimed, event, record))
        for event, record in [
            (Event.CLAIM, claim),
            (Event.LOG, log),
            (Event.LOG, unknown),
            (Event.REQUEUE, samples.make_requeue(claimed)),
            (Event.FAILED, result),
        ]
    ]
    assert [text.splitlines()[0] for text in told] == [
        "kakeya: claim, attempt 1, by mac-m4",
        "kakeya: log, attempt 1, part 7, step 3 of 10",
        "kakeya: log, attempt 1, part 1, step 3",
        "kakeya: requeue, attempt 1, by h200",
        "kakeya: failed, attempt 1, by mac-m4",
    ]
    assert all(text.rstrip().endswith(SKIP_CI) for text in told)
    assert "lease 8 s, heartbeat 1 s" in told[0]
    assert f"the claim {claimed.tip[:12]} is fenced off: silent" in told[3]
    assert "out of memory\njob ended by memory, signal 9\n" in told[4]


def test_two_equal_steps_are_two_commits(claimed: Chain) -> None:
    one, two = (_step(claimed, Event.DONE, samples.make_result(claimed)) for _ in range(2))
    assert one.oid != two.oid
    same = samples.make_result(claimed)
    assert _step(claimed, Event.DONE, same).oid == _step(claimed, Event.DONE, same).oid


def test_a_note_is_an_orphan_of_one_record(claimed: Chain) -> None:
    log = samples.make_log(claimed)
    note = compose_note("log.json", log, "a\nnote", requester_identity("a <b>"), WHEN_S)
    _, parents, message = parse_commit(note.objects[-1].data)
    assert (set(note.files), parents) == ({"log.json"}, ())
    assert message == f"kakeya: a note\n\n{SKIP_CI}\n"
    assert b"author a b <requester@kakeya.invalid>" in note.objects[-1].data
