"""Campaigns with real runners, whose client is gone after it started them."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bridge.bus.course import Course
from bridge.client.api import Client
from bridge.client.planning import read_campaign, set_params, sweep_document
from bridge.clock import Clock
from bridge.states import Event
from evidence.verify import verify
from tests.integration.client_rig import Listener, open_client
from tests.lab import Lab
from tests.waiting import until

ONE_AT_A_TIME = {"cpus": 1, "memory_mb": 16384}


def client_of(lab: Lab) -> Client:
    return open_client(lab.url, lab.checkout, lab.folder / "client", Clock(), Listener())


def start_and_leave(lab: Lab, document: dict[str, Any]) -> str:
    """Put a campaign on the bus and be gone: no cell is launched by this client."""
    with client_of(lab) as client:
        plan = client.campaigns.plan(document)
        client.campaigns.start(plan)
    return plan.id


def read_course(lab: Lab, campaign: str) -> Course:
    return lab.bus.load_campaign(campaign)


def wait_for_end(lab: Lab, campaign: str, bound_s: float) -> Course:
    def ended() -> Course | None:
        course = read_course(lab, campaign)
        return course if course.ended else None

    course = until(ended, bound_s=bound_s, what=f"the end of {campaign}")
    assert course is not None
    return course


def kill_holder(
    lab: Lab, campaign: str, node: str, runners: dict[str, subprocess.Popen[bytes]]
) -> str:
    """Kill the runner that holds a cell of `node`; returns the job that it held."""

    def held() -> tuple[str, str] | None:
        for (name, _), job in read_course(lab, campaign).launched.items():
            if name == node and (ref := lab.bus.find(job)) is not None:
                chain = lab.bus.load(ref)
                if chain.held and chain.claim is not None and chain.claim.runner in runners:
                    return job, chain.claim.runner
        return None

    found = until(held, bound_s=900, what=f"a claim of a cell of {node}")
    assert found is not None
    job, name = found
    runners[name].send_signal(signal.SIGKILL)
    runners[name].wait()
    return job


def download(lab: Lab, campaign: str, folder: Path) -> dict[str, Any]:
    """The campaign's own record, found sound, like those of its nodes."""
    with client_of(lab) as client:
        client.campaigns.download(campaign, folder)
    for place in (folder, *(folder / "nodes").iterdir()):
        found = verify(place)
        assert found.recomputed
        assert not found.differences, (place, found.differences)
    return dict(verify(folder).record)


@pytest.mark.timeout(900)
def test_a_sweep_goes_on_without_its_client_and_with_a_runner_killed(
    lab: Lab, tmp_path: Path
) -> None:
    with (
        lab.runner("lab-1", slots=ONE_AT_A_TIME) as first,
        lab.runner("lab-2", slots=ONE_AT_A_TIME) as second,
    ):
        document = sweep_document("noop-sweep", {}, {"seconds": [1, 1.5]}, 3)
        campaign = start_and_leave(lab, document)
        killed = kill_holder(lab, campaign, "sweep", {"lab-1": first, "lab-2": second})
        course = wait_for_end(lab, campaign, bound_s=300)
    record = download(lab, campaign, tmp_path / "got")
    assert record["result"]["gates"] == "pass"
    assert record["cover"]["missing"] == []
    assert record["samples"]["rows"] == len(course.launched) == 6
    chain = lab.bus.load(str(lab.bus.find(killed)))
    assert [link.event for link in chain.links].count(Event.CLAIM) == chain.attempt
    assert chain.attempt >= 2  # more where the machine is so busy that a beat comes late
    assert (tmp_path / "got" / "evidence.bundle.json").is_file()


@pytest.mark.real("torch")
@pytest.mark.timeout(2700)
def test_the_c512_round_runs_to_its_end(lab: Lab, tmp_path: Path) -> None:
    path = lab.checkout / "presets" / "campaigns" / "c512-round.yaml"
    document = read_campaign(path.read_bytes(), where=path.name)
    document = set_params(document, ["scale=ci"], lab.catalog)
    with (
        lab.runner("lab-1", slots=ONE_AT_A_TIME) as first,
        lab.runner("lab-2", slots=ONE_AT_A_TIME) as second,
    ):
        campaign = start_and_leave(lab, document)
        killed = kill_holder(lab, campaign, "c", {"lab-1": first, "lab-2": second})
        course = wait_for_end(lab, campaign, bound_s=2400)
    assert set(list(course.decisions)[:2]) == {"a", "b"}
    assert course.decisions["a"].gates["tracking-exact"] == "pass"
    assert course.decisions["b"].gates["told-apart"] == "pass"
    assert (course.decisions["c"].ran, course.decisions["d"].ran) == (8, 2)
    record = download(lab, campaign, tmp_path / "got")
    planned, ran = record["cover"]["planned"], record["cover"]["cells"]
    assert record["cover"]["missing"] == ["redesign/whole"]
    assert sorted(planned) == sorted([*ran, "redesign/whole"])
    assert len(planned) == 13
    assert "redesign/whole (not run: a decision gate closed the way to it)" in record["non_claims"]
    assert len(set(course.launched.values())) == len(course.launched) == 12
    chain = lab.bus.load(str(lab.bus.find(killed)))
    assert chain.attempt >= 2
    assert {link[1].rsplit(", by ", 1)[1] for link in course.links[1:]} <= {"lab-1", "lab-2"}
    assert record["result"]["gates"] == "pass"
