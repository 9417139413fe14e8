"""How much a record is worth trusting: derived from signatures and replays, never declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Assurance(StrEnum):
    """From nobody's word to two runners that agree."""

    UNSIGNED = "unsigned"
    SELF = "self"
    COUNTERSIGNED = "countersigned"
    REPRODUCED = "reproduced"


@dataclass(frozen=True, slots=True)
class Replay:
    """Another run of the same work: its record, and who signed it."""

    record: Mapping[str, Any]
    signers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """The assurance of a record, why, and whether the hardware of a replay differed."""

    assurance: Assurance
    why: str
    other_hardware: bool | None = None


def derive_assurance(
    record: Mapping[str, Any], signers: Sequence[str], replays: Sequence[Replay] = ()
) -> Standing:
    """The assurance of a record that was found sound.

    A replay counts where other keys signed it, it ran the same preset, params, code and inputs,
    and every gate came to the same verdict under the same digest.
    """
    if not signers:
        return Standing(Assurance.UNSIGNED, "nobody who is enrolled signed it")
    refusals = []
    for replay in replays:
        refusal = _refuse(record, signers, replay)
        if not refusal:
            one, two = (_hardware(item) for item in (record, replay.record))
            differs = None if one is None or two is None else one != two
            told = {True: "other", False: "the same", None: "unnamed"}[differs]
            names = ", ".join(replay.signers)
            return Standing(Assurance.REPRODUCED, f"{names} agrees, on {told} hardware", differs)
        refusals.append(refusal)
    word = Assurance.COUNTERSIGNED if len(set(signers)) > 1 else Assurance.SELF
    why = "; ".join([f"signed by {', '.join(signers)}", *refusals])
    return Standing(word, why)


def _hardware(record: Mapping[str, Any]) -> str | None:
    hardware = record["hardware"]
    found = hardware.get("fingerprint") or hardware.get("cpu")
    return None if found is None else str(found)


def _refuse(record: Mapping[str, Any], signers: Sequence[str], replay: Replay) -> str:
    """Why a replay does not count, "" where it does."""
    if not replay.signers or set(replay.signers) & set(signers):
        return "the replay was not signed by another runner"
    for what, one, two in (
        ("preset", record["preset"].get("digest"), replay.record["preset"].get("digest")),
        ("params", record["preset"].get("params"), replay.record["preset"].get("params")),
        ("code", record["code"].get("commit"), replay.record["code"].get("commit")),
        ("inputs", _inputs(record), _inputs(replay.record)),
        ("gates", _digests(record), _digests(replay.record)),
    ):
        if one != two:
            return f"the replay had other {what}"
    differing = [
        name
        for name, case in record["cases"].items()
        if replay.record["cases"][name]["verdict"] != case["verdict"]
    ]
    return f"the replay disagrees on {', '.join(sorted(differing))}" if differing else ""


def _inputs(record: Mapping[str, Any]) -> dict[str, str]:
    return {item["role"]: item["digest"] for item in record["inputs"]}


def _digests(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: case["gate"] for name, case in record["cases"].items()}
