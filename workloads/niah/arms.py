"""The arms: how the model attends, and whether there is a needle to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workloads.niah.config import Config
from workloads.shared.attention import Attention, FullAttention, SinkWindowAttention


@dataclass(frozen=True, slots=True)
class Arm:
    """One treatment or control.

    Attributes:
        attend: a fresh attention policy for one batch, from the model and the config.
        needle: whether the prompt holds the needle.
    """

    attend: Callable[[Any, Config], Attention]
    needle: bool = True


def _attend_fully(model: Any, config: Config) -> Attention:
    del config
    return FullAttention(model)


def _attend_sink_window(model: Any, config: Config) -> Attention:
    return SinkWindowAttention(model, sink=config.sink, window=config.window, chunk=config.chunk)


ARMS = {
    "full": Arm(_attend_fully),
    "sink_window": Arm(_attend_sink_window),
    "absent": Arm(_attend_fully, needle=False),
}
