"""One transformer block whose state settles: the force on it, its readout, its parameters.

The state z (B, T, C) follows dz/dt = f(z), with f(z) = x - z + s (attention(norm z) + mlp(norm z))
and x the embedded input; s = 1/2. Every function here is analytic, so that the same code takes
complex states (holomorphic nudging). Source: workload recipe "Equilibrium propagation"; Bai et al.,
Deep Equilibrium Models (arXiv:1909.01377).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workloads.equilibrium.text import ALPHABET, make_generator

Attention = Literal["softmax", "energy", "mono"]
Parameters = Mapping[str, Tensor]

STRENGTH = 0.5
MARGIN = 0.1
# An energy more curved than the leak -z has no rest that Euler steps of one half would find.
CURVATURE = 4.0
_EPSILON = 1e-5
_GELU = 1.702
_READOUT = ("head", "head_bias")

GROUPS: dict[str, tuple[str, ...]] = {
    "wq": ("wq",),
    "wk": ("wk",),
    "wv": ("wv",),
    "wo": ("wo",),
    "fc": ("fc", "fc_bias"),
    "pj": ("pj", "pj_bias"),
    "ln1": ("ln1", "ln1_bias"),
    "ln2": ("ln2", "ln2_bias"),
    "tok": ("tok",),
    "pos": ("pos",),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a block and how it attends."""

    width: int
    heads: int
    length: int
    attention: Attention = "softmax"


@dataclass(frozen=True, slots=True)
class Block:
    """A block's functions; the parameters are arguments."""

    shape: Shape

    def make_parameters(self, seed: int, *, device: str = "cpu") -> dict[str, Tensor]:
        """Random parameters, the same for the same seed."""
        width, source = self.shape.width, make_generator("parameters", seed)
        sizes = {
            "tok": (len(ALPHABET), width, 1.0),
            "pos": (self.shape.length, width, 0.3),
            **dict.fromkeys(("wq", "wk", "wv", "wo"), (width, width, width ** (-0.5))),
            "fc": (width, 4 * width, width**-0.5),
            "pj": (4 * width, width, 0.5 * width**-0.5),
            "head": (width, len(ALPHABET), 0.5 * width**-0.5),
        }
        found = {
            name: torch.randn(rows, columns, generator=source) * scale
            for name, (rows, columns, scale) in sizes.items()
        }
        found |= {name: torch.ones(width) for name in ("ln1", "ln2")}
        found |= {name: torch.zeros(width) for name in ("ln1_bias", "ln2_bias", "pj_bias")}
        found |= {"fc_bias": torch.zeros(4 * width), "head_bias": torch.zeros(len(ALPHABET))}
        return {name: value.to(device) for name, value in found.items()}

    def embed(self, theta: Parameters, inputs: Tensor) -> Tensor:
        """The drive x (B, T, C) of the characters (B, T)."""
        return theta["tok"][inputs] + theta["pos"]

    def force(self, theta: Parameters, z: Tensor, x: Tensor) -> Tensor:
        """f(z), of the shape of z, real or complex."""
        if self.shape.attention == "energy":
            return x - z - self._energy_slope(theta, z)
        if self.shape.attention == "mono":
            return self._force_monotone(theta, z, x)
        seen = _normalise(z, theta["ln1"], theta["ln1_bias"])
        read = _normalise(z, theta["ln2"], theta["ln2_bias"])
        return x - z + STRENGTH * (self._attend(theta, seen) + _mlp(theta, read))

    def loss(
        self, theta: Parameters, z: Tensor, targets: Tensor, *, last_only: bool = False
    ) -> Tensor:
        """Cross-entropy in nats, summed over the characters; complex where z is complex."""
        if last_only:
            z, targets = z[:, -1:], targets[:, -1:]
        logits = _mix(_centre(z), theta["head"]) + theta["head_bias"]
        logits = logits - logits.real.amax(-1, keepdim=True).detach()
        chosen = torch.gather(logits, -1, targets.unsqueeze(-1)).squeeze(-1)
        return (logits.exp().sum(-1).log() - chosen).sum()

    def loss_slope(self, theta: Parameters, z: Tensor, targets: Tensor) -> Tensor:
        """The derivative of `loss` by z, analytic in z."""
        held = z.detach().requires_grad_()
        loss = self.loss(theta, held, targets)
        (slope,) = torch.autograd.grad(loss, held, torch.ones_like(loss))
        # torch gives the conjugate of an analytic function's derivative.
        return slope.conj().resolve_conj()

    def _attend(self, theta: Parameters, h: Tensor) -> Tensor:
        q, k, v = (self._split(_mix(h, theta[name])) for name in ("wq", "wk", "wv"))
        mixed = _causal_softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])) @ v
        rows, heads, length, size = mixed.shape
        return _mix(mixed.transpose(1, 2).reshape(rows, length, heads * size), theta["wo"])

    def _split(self, h: Tensor) -> Tensor:
        """(B, T, C) as (B, H, T, C/H)."""
        rows, length, width = h.shape
        heads = self.shape.heads
        return h.reshape(rows, length, heads, width // heads).transpose(1, 2)

    def _energy_slope(self, theta: Parameters, z: Tensor) -> Tensor:
        """The slope of a Hopfield energy: its Jacobian is symmetric, so it cannot be causal.

        Source: Ramsauer et al., Hopfield Networks is All You Need (arXiv:2008.02217), and Hoover
        et al., Energy Transformer (arXiv:2302.07253).
        """

        def energy(state: Tensor) -> Tensor:
            # The norm's root is the slope of a convex energy; taken of the state itself.
            seen = state / (1 + (state * state).mean(-1, keepdim=True)).sqrt()
            q, k = (self._split(_mix(seen, theta[name])) for name in ("wq", "wk"))
            root = math.sqrt(q.shape[-1])
            scores = (q @ k.transpose(-1, -2)) / root
            length = scores.shape[-1]
            hidden = torch.ones(length, length, dtype=torch.bool, device=z.device).triu(1)
            pulled = torch.logsumexp(scores.masked_fill(hidden, -1e9), -1).sum() * root
            recalled = torch.relu(_mix(seen, theta["fc"]) + theta["fc_bias"]).square().sum() / 2
            return -STRENGTH * (pulled + recalled / 4) / CURVATURE

        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            state = z if z.requires_grad else z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(energy(state), state, create_graph=recorded)
        return slope

    def _force_monotone(self, theta: Parameters, z: Tensor, x: Tensor) -> Tensor:
        """Attention reads the input alone; what recurs is a monotone map of each position.

        W = (1 - m) I - A'A + B - B' makes I - W strongly monotone (Winston and Kolter, Monotone
        operator equilibrium networks, arXiv:2006.08591); `fc` holds A, `pj` holds B.
        """
        width = self.shape.width
        seen = _normalise(x, theta["ln1"], theta["ln1_bias"])
        drive = x + STRENGTH * self._attend(theta, seen)
        shrink, turn = theta["fc"][:, :width] * 0.5, theta["pj"][:width] * 0.5
        inner = (1 - MARGIN) * z - z @ (shrink.T @ shrink) + z @ (turn - turn.T)
        return -z + torch.tanh(inner + drive)


def is_contrast_driven(name: str) -> bool:
    """Whether a parameter's gradient goes through the settled state (the readout's does not)."""
    return name not in _READOUT


def _mix(h: Tensor, weight: Tensor) -> Tensor:
    if h.is_complex():
        return torch.complex(h.real @ weight, h.imag @ weight)
    return h @ weight


def _centre(z: Tensor) -> Tensor:
    centred = z - z.mean(-1, keepdim=True)
    return centred / ((centred * centred).mean(-1, keepdim=True) + _EPSILON).sqrt()


def _normalise(z: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    return _centre(z) * gain + bias


def _mlp(theta: Parameters, h: Tensor) -> Tensor:
    inner = _mix(h, theta["fc"]) + theta["fc_bias"]
    return _mix(inner / (1 + (-_GELU * inner).exp()), theta["pj"]) + theta["pj_bias"]


def _causal_softmax(scores: Tensor) -> Tensor:
    length = scores.shape[-1]
    seen = torch.ones(length, length, dtype=torch.bool, device=scores.device).tril()
    top = scores.real.masked_fill(~seen, -math.inf).amax(-1, keepdim=True).detach()
    # A hidden score could overflow before it is masked, hence 0 first.
    powers = torch.where(seen, scores - top, torch.zeros_like(scores)).exp() * seen
    return powers / powers.sum(-1, keepdim=True)
