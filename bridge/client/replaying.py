"""Running an ended job again, and what the two records say of one another."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.bus.enrolled import read_list
from bridge.client.outcomes import JobStatus, Outcome
from bridge.client.retrying import draft_retry
from bridge.errors import ExitCode, UsageError
from bridge.signers import REVOKED_PATH, SIGNERS_PATH
from evidence.assurance import Assurance, Replay, Standing, derive_assurance
from evidence.compare import Comparison, compare
from evidence.gates.view import read_view
from evidence.verify import Verification, verify

if TYPE_CHECKING:
    from bridge.client.api import Client


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to.

    Attributes:
        first, second: ids of the job and of its replay.
        faults: why one of the records does not hold; nothing else is said then.
        standing: the assurance of the first record with this replay.
        comparison: what moved between the two, None where one does not hold.
        disagree: gates that came to another verdict.
    """

    first: str
    second: str
    faults: tuple[str, ...]
    standing: Standing | None
    comparison: Comparison | None
    disagree: tuple[str, ...]

    @property
    def exit_code(self) -> ExitCode:
        """4 where a record does not hold, 6 where the gates disagree, else 0."""
        if self.faults:
            return ExitCode.REFUSED
        return ExitCode.GATE_FAILED if self.disagree else ExitCode.DONE

    @property
    def message(self) -> str:
        """One line for a person."""
        if self.faults or self.standing is None:
            return "a record does not hold: nothing is said of the replay"
        word = "disagrees" if self.disagree else "agrees"
        return f"the replay {word}; assurance {self.standing.assurance}: {self.standing.why}"

    def as_json(self) -> dict[str, Any]:
        """The replay as `--json` prints it."""
        standing = self.standing
        return {
            "schema": "kakeya.replay/1",
            "id": self.second,
            "replay_of": self.first,
            "exit_code": int(self.exit_code),
            "message": self.message,
            "assurance": standing.assurance.value if standing else None,
            "reproduced": standing is not None and standing.assurance is Assurance.REPRODUCED,
            "other_hardware": standing.other_hardware if standing else None,
            "faults": list(self.faults),
            "disagree": list(self.disagree),
            "comparison": self.comparison.as_json() if self.comparison else None,
        }


def draft_replay(status: JobStatus, *, runner: str | None, elsewhere: bool) -> dict[str, Any]:
    """The draft of a request for the very same work.

    Args:
        status: the job that ended.
        runner: the one runner that may take it.
        elsewhere: any runner but the first may.

    Raises:
        UsageError: the job goes on, or left no evidence.
    """
    draft = draft_retry(status)
    if status.result is None or status.result.evidence is None:
        raise UsageError(
            "the job left no evidence to compare with",
            where=status.id,
            remedy=f"kakeya_remote retry {status.id}",
        )
    del draft["retry_of"]
    for name, value in (("runner", runner), ("avoid", status.runner if elsewhere else None)):
        draft.pop(name, None)
        if value is not None:
            draft[name] = value
    return {**draft, "replay_of": status.id}


def judge_replay(client: Client, outcome: Outcome, signers: Path | None = None) -> Replayed:
    """Hold the record of a replay that ended against the record of the job that it replays.

    Args:
        client: whose bus has both.
        outcome: of the replay.
        signers: a list of trusted keys; by default those that the checkout's HEAD enrols.

    Raises:
        UsageError: the job is no replay.
    """
    request = outcome.status.request
    first = request.replay_of if request is not None else None
    if first is None:
        raise UsageError("the job is no replay", where=outcome.status.id)
    with tempfile.TemporaryDirectory(prefix="kakeya-replay-") as name:
        place = Path(name)
        trusted = signers or _write_signers(client, place)
        found = {job: _verify(client, job, place, trusted) for job in (first, outcome.status.id)}
    return compare_runs(first, outcome.status.id, found)


def _verify(client: Client, job: str, place: Path, signers: Path | None) -> Verification:
    folder = place / job
    client.results(job, folder)
    return verify(folder, signers=signers)


def _write_signers(client: Client, place: Path) -> Path | None:
    """The lists of the checkout's HEAD as files; None where it enrols nobody."""
    checkout = client.checkout
    if checkout is None or checkout.head is None:
        return None
    texts = {
        path: read_list(checkout.git, checkout.head, path) for path in (SIGNERS_PATH, REVOKED_PATH)
    }
    if texts[SIGNERS_PATH] is None:
        return None
    for path, text in texts.items():
        if text is not None:
            (place / Path(path).name).write_text(text, "utf-8")
    return place / Path(SIGNERS_PATH).name


def compare_runs(first: str, second: str, found: Mapping[str, Verification]) -> Replayed:
    """What two verified records say of one another."""
    faults = [f"{job}: {one}" for job in (first, second) for one in found[job].differences]
    faults += [
        f"{job}: its samples are not there" for job in (first, second) if not found[job].recomputed
    ]
    if faults:
        return Replayed(first, second, tuple(faults), None, None, ())
    one, two = found[first], found[second]
    standing = derive_assurance(one.record, one.signers, [Replay(two.record, two.signers)])
    comparison = compare(read_view(one.record), read_view(two.record))
    cases = {name: case["verdict"] for name, case in two.record["cases"].items()}
    disagree = tuple(
        name for name, case in one.record["cases"].items() if cases.get(name) != case["verdict"]
    )
    return Replayed(first, second, (), standing, comparison, disagree)
