"""Notices: to a real address and a real program, tried a little, bounded, and never harmful."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.runner.notifying import MAX_WAITING, TRIES, Hook, Notifier
from tests.servers.receiver import Receiver, receiving
from tests.waiting import until

NOTICE: dict[str, Any] = {
    "schema": "kakeya.notice/1",
    "id": "01JMG19Y00ABCDEFGHJKMNPQRS",
    "state": "done",
    "verdict": "fail",
    "preset": "noop",
    "runner": "lab-1",
    "text": "noop done; $(touch /tmp/never) `id`",
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def told(hook: Hook, *, wait: bool = True) -> list[str]:
    """What the runner's log says of one notice."""
    said: list[str] = []
    notifier = Notifier([hook], said.append, pauses_s=(0.01,))
    notifier.tell(NOTICE)
    notifier.close(60.0 if wait else 0.0)
    return said


def test_an_address_gets_the_whole_notice(receiver: Receiver) -> None:
    assert told(Hook(webhook=f"{receiver.address}/hook?secret=1")) == []
    assert receiver.taken == [NOTICE]
    assert receiver.asked == ["/hook?secret=1"]


def test_what_may_be_better_next_time_is_tried_a_little(receiver: Receiver) -> None:
    receiver.answers = [503, 429, 204]
    assert told(Hook(webhook=receiver.address)) == []
    assert len(receiver.taken) == TRIES
    receiver.answers = [500]
    (line,) = told(Hook(webhook=f"{receiver.address}/secret"))
    assert "webhook at 127.0.0.1: it answered 500" in line
    assert "secret" not in line
    assert len(receiver.taken) == 2 * TRIES


@pytest.mark.parametrize("answer", [302, 307, 400, 404])
def test_a_no_is_taken_for_a_no_and_no_other_address_is_asked(
    answer: int, receiver: Receiver
) -> None:
    receiver.answers = [answer]
    (line,) = told(Hook(webhook=f"{receiver.address}/hook"))
    assert f"it answered {answer}" in line
    assert receiver.asked == ["/hook"]


def test_nobody_at_the_address_is_said_and_harms_nothing() -> None:
    with receiving() as gone:
        address = gone.address
    (line,) = told(Hook(webhook=address))
    assert "Connection refused" in line


def test_an_address_that_never_answers_is_given_up(receiver: Receiver) -> None:
    receiver.released.clear()
    (line,) = told(Hook(webhook=receiver.address, timeout_s=0.05))
    assert "timed out" in line


def test_the_end_of_a_runner_does_not_wait_for_a_receiver(receiver: Receiver) -> None:
    receiver.released.clear()
    hook = Hook(webhook=receiver.address, timeout_s=60.0)
    said: list[str] = []
    notifier = Notifier([hook], said.append)
    notifier.tell(NOTICE)
    until(lambda: receiver.taken, what="a notice")
    notifier.close(0.0)
    assert said == []
    assert len(receiver.taken) == 1


def test_more_notices_than_may_wait_are_dropped_and_said(receiver: Receiver) -> None:
    receiver.released.clear()
    said: list[str] = []
    notifier = Notifier([Hook(webhook=receiver.address, timeout_s=60.0)], said.append)
    for _ in range(MAX_WAITING + 5):
        notifier.tell(NOTICE)
    assert said
    assert f"{MAX_WAITING} notices wait" in said[0]
    notifier.close(0.0)


def test_a_program_gets_the_notice_on_its_stdin_and_no_string_of_it_as_a_word(
    tmp_path: Path,
) -> None:
    program = tmp_path / "hook"
    program.write_text(
        f'#!/bin/sh\ncat > {tmp_path}/stdin\nprintf "%s\\n" "$#" "$KAKEYA_STATE" > {tmp_path}/env\n'
    )
    program.chmod(0o755)
    assert told(Hook(command=(str(program), "one"))) == []
    assert json.loads((tmp_path / "stdin").read_bytes()) == NOTICE
    assert (tmp_path / "env").read_text() == "1\ndone\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("/no/such/program",), "not installed"),
        (("/bin/sh", "-c", "echo broken >&2; exit 3"), "exit code 3: broken"),
        (("/bin/sh", "-c", "exec sleep 60"), "ran longer than"),
    ],
)
def test_a_program_that_fails_is_said_and_harms_nothing(
    command: tuple[str, ...], words: str
) -> None:
    (line,) = told(Hook(command=command, timeout_s=0.2))
    assert words in line


@pytest.mark.parametrize(
    ("hook", "wanted"),
    [
        (Hook(command=("x",)), True),
        (Hook(command=("x",), on=("failed",)), False),
        (Hook(command=("x",), verdicts=("fail",)), True),
        (Hook(command=("x",), on=("done",), verdicts=("pass",)), False),
    ],
)
def test_only_the_ends_that_were_named_are_told(hook: Hook, wanted: bool) -> None:
    assert hook.wants(NOTICE) is wanted
