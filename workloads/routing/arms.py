"""The arms: what is done with the part of a gradient that pulls towards hacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Filter = Literal["none", "project", "drop", "gate"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One treatment or control.

    Attributes:
        filter: what the main weights are spared. `none`: nothing. `project`: the part of the
            batch's gradient along the basis. `drop`: that, and every answer whose own gradient
            points along it. `gate`: every position whose activation looks like a hack; there
            alone the quarantine acts.
        quarantine: whether the adapters are in the forward pass and trained.
        random: random directions instead of extracted ones.
        frozen: the first basis is kept to the end.
    """

    filter: Filter
    quarantine: bool = True
    random: bool = False
    frozen: bool = False


ARMS = {
    "vanilla": Arm("none", quarantine=False),
    "erase": Arm("project", quarantine=False),
    "route": Arm("project"),
    "route_full": Arm("drop"),
    "route_act": Arm("gate"),
    "route_random": Arm("project", random=True),
    "route_full_random": Arm("drop", random=True),
    "route_frozen": Arm("project", frozen=True),
}
