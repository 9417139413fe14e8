"""Three fiber bundles: each has its own axis, encoder and geometry (seed 001, v4.1 and v4.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from workloads.ams_v4.geometry import Connection, Metric, great_circle_path, straight_path

NAMES = ("time", "topic", "context")
BASES = {"time": 8, "topic": 16, "context": 12}
FIBERS = {"time": 32, "topic": 64, "context": 48}
_FREQUENCIES = 6


@dataclass(frozen=True, slots=True)
class Triple:
    """Where something lies in one bundle: base (..., D), fiber (..., F), direction (..., D)."""

    base: torch.Tensor
    fiber: torch.Tensor
    direction: torch.Tensor

    def detach(self) -> Triple:
        """The same, without gradients."""
        return Triple(self.base.detach(), self.fiber.detach(), self.direction.detach())


@dataclass(frozen=True, slots=True)
class Reading:
    """What the frozen language model makes of some texts, in the order they were told.

    Attributes:
        hidden: (S, N, d) mean of the last hidden states.
        content: (S, N, d) centroid of the token embeddings, weighted by IDF.
        surprise: (S, N) mean negative log-likelihood, nats a token.
        when: (S, N, 2) position in the session and age, both 0..1.
        summary: (S, N, d) mean hidden state of what was told before.
        before: (S, N, M) whether turn m was told before text n.
        turns: (S, M, d) hidden states of the turns.
    """

    hidden: torch.Tensor
    content: torch.Tensor
    surprise: torch.Tensor
    when: torch.Tensor
    summary: torch.Tensor
    before: torch.Tensor
    turns: torch.Tensor


class Bundle(nn.Module):  # type: ignore[misc]
    """Encoder, metric, connection and canonical axis of one bundle.

    Args:
        name: which of `NAMES`.
        width: of the language model's hidden states.
    """

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        base, fiber = BASES[name], FIBERS[name]
        self.name = name
        self.encoder = ENCODERS[name](width, base, fiber)
        self.metric = Metric(base)
        self.connection = Connection(base, fiber)
        self._axis = nn.Parameter(torch.randn(base))

    @property
    def axis(self) -> torch.Tensor:
        """The canonical axis, a unit vector (D,)."""
        return functional.normalize(self._axis, dim=0)

    def encode(self, reading: Reading) -> Triple:
        """The triples (S, N, ...) of what was read."""
        found: Triple = self.encoder(reading)
        return found

    def path(self, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """From base to base: on the sphere for topics, straight otherwise."""
        return (great_circle_path if self.name == "topic" else straight_path)(start, end)

    def carry(self, entries: Triple, places: torch.Tensor) -> torch.Tensor:
        """The fibers of entries (S, N, ...) seen from places (S, Q, D): (S, Q, N, F)."""
        shape = (places.shape[0], places.shape[1], entries.base.shape[1])
        start = entries.base[:, None].expand(*shape, -1)
        end = places[:, :, None].expand(*shape, -1)
        fibers = entries.fiber[:, None].expand(*shape, -1)
        return self.connection.transport(fibers, self.path(start, end))

    def closeness(self, entries: Triple, places: Triple) -> torch.Tensor:
        """How near entries (S, N) are to places (S, Q): (S, Q, N), greater is nearer."""
        if self.name == "topic":
            return places.direction @ entries.direction.mT
        one, other = places.base[:, :, None], entries.base[:, None]
        return -self.metric.squared(one.expand_as(one + other), other.expand_as(one + other))


def _mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * out), nn.GELU(), nn.Linear(2 * out, out))


class TimeEncoder(nn.Module):  # type: ignore[misc]
    """When: Fourier features of position and age, with some of the hidden state."""

    def __init__(self, width: int, base: int, fiber: int) -> None:
        super().__init__()
        self.clock = _mlp(4 * _FREQUENCIES, base)
        self.hidden = nn.Linear(width, base)
        self.norm = nn.LayerNorm(base)
        self.fiber = _mlp(width + base + 1, fiber)

    def forward(self, reading: Reading) -> Triple:
        """See `Bundle.encode`."""
        rates = torch.pi * 2.0 ** torch.arange(_FREQUENCIES, device=reading.when.device)
        angles = (reading.when[..., None] * rates).flatten(-2)
        base = self.norm(self.clock(torch.cat([angles.sin(), angles.cos()], -1)))
        base = base + self.hidden(reading.hidden)
        seen = torch.cat([reading.hidden, base, reading.surprise[..., None]], -1)
        return Triple(base, self.fiber(seen), functional.normalize(base, dim=-1))


class TopicEncoder(nn.Module):  # type: ignore[misc]
    """What about: the content centroid and the hidden state, on the unit sphere."""

    def __init__(self, width: int, base: int, fiber: int) -> None:
        super().__init__()
        self.content = nn.Linear(width, base, bias=False)
        self.hidden = nn.Linear(width, base, bias=False)
        nn.init.normal_(self.hidden.weight, std=0.1 * width**-0.5)
        self.fiber = _mlp(2 * width + base, fiber)

    def forward(self, reading: Reading) -> Triple:
        """See `Bundle.encode`."""
        centroid = functional.normalize(reading.content, dim=-1)
        base = functional.normalize(self.content(centroid) + self.hidden(reading.hidden), dim=-1)
        fiber = self.fiber(torch.cat([reading.hidden, centroid, base], -1))
        return Triple(base, fiber, base)


class ContextEncoder(nn.Module):  # type: ignore[misc]
    """Amid what: an attention pool over the turns before, and their summary."""

    def __init__(self, width: int, base: int, fiber: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, base)
        self.key = nn.Linear(width, base)
        self.mix = _mlp(3 * width, base)
        self.norm = nn.LayerNorm(base)
        self.fiber = _mlp(2 * width + base, fiber)
        self.descriptor = nn.Linear(base + width, width)

    def forward(self, reading: Reading) -> Triple:
        """See `Bundle.encode`."""
        scores = self.query(reading.hidden) @ self.key(reading.turns).mT
        scores = scores / scores.shape[-1] ** 0.5
        # a text with nothing before it attends to nothing at all
        weights = scores.masked_fill(~reading.before, -1e9).softmax(-1) * reading.before
        pooled = weights @ reading.turns
        base = self.norm(self.mix(torch.cat([reading.hidden, reading.summary, pooled], -1)))
        fiber = self.fiber(torch.cat([reading.hidden, base, reading.summary], -1))
        return Triple(base, fiber, functional.normalize(base, dim=-1))

    def describe(self, base: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """The context descriptor (..., d): the long field that a Kakeya set compresses."""
        found: torch.Tensor = self.descriptor(torch.cat([base, hidden], -1))
        return found


ENCODERS: Mapping[str, Callable[[int, int, int], nn.Module]] = {
    "time": TimeEncoder,
    "topic": TopicEncoder,
    "context": ContextEncoder,
}
