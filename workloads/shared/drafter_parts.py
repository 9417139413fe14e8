"""The layers of a block-diffusion drafter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from workloads.shared.drafter import DrafterConfig


class RMSNorm(nn.Module):  # type: ignore[misc]
    """x / rms(x) * weight, the root mean square taken in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self._eps = eps

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., width) to the same."""
        return functional.rms_norm(states, states.shape[-1:], self.weight, self._eps)


class Attention(nn.Module):  # type: ignore[misc]
    """Queries of a block over context K/V and the block's own."""

    def __init__(self, config: DrafterConfig) -> None:
        super().__init__()
        self._head_dim = config.head_dim
        self._shared = config.heads != config.kv_heads
        queries, entries = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden, queries, bias=False)
        self.k_proj = nn.Linear(config.hidden, entries, bias=False)
        self.v_proj = nn.Linear(config.hidden, entries, bias=False)
        self.o_proj = nn.Linear(queries, config.hidden, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def make_entries(self, states: torch.Tensor, turn: Turn) -> tuple[torch.Tensor, torch.Tensor]:
        """K (rotated) and V, (B, kv_heads, T, head_dim) each, of states (B, T, hidden)."""
        keys = turn.apply(self.k_norm(self._split(self.k_proj(states))).transpose(1, 2))
        return keys, self._split(self.v_proj(states)).transpose(1, 2)

    def attend(
        self,
        states: torch.Tensor,
        turn: Turn,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Outputs (B, N, hidden) for states (B, N, hidden) over K and V (B, kv_heads, K, D).

        `mask` is True where a query may look, (B or 1, 1, N or 1, K).
        """
        queries = turn.apply(self.q_norm(self._split(self.q_proj(states))).transpose(1, 2))
        found = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, enable_gqa=self._shared
        )
        output: torch.Tensor = self.o_proj(found.transpose(1, 2).flatten(2))
        return output

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        return states.view(*states.shape[:-1], -1, self._head_dim)


class MLP(nn.Module):  # type: ignore[misc]
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: DrafterConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(B, N, hidden) to the same."""
        output: torch.Tensor = self.down_proj(
            functional.silu(self.gate_proj(states)) * self.up_proj(states)
        )
        return output


class Layer(nn.Module):  # type: ignore[misc]
    """Attention and MLP, each after a norm, each added."""

    def __init__(self, config: DrafterConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden, config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden, config.norm_eps)


class Encoder(nn.Module):  # type: ignore[misc]
    """Features of several verifier layers as one state."""

    def __init__(self, config: DrafterConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(len(config.target_layers) * config.hidden, config.hidden, bias=False)
        self.output_norm_enc = RMSNorm(config.hidden, config.norm_eps)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, n * hidden) to (B, T, hidden)."""
        states: torch.Tensor = self.output_norm_enc(self.fc(features))
        return states


@dataclass(frozen=True, slots=True)
class Turn:
    """RoPE at some positions: cos and sin, (B or 1, 1, T, head_dim)."""

    cos: torch.Tensor
    sin: torch.Tensor

    def apply(self, heads: torch.Tensor) -> torch.Tensor:
        """(B, H, T, D) to the same."""
        first, second = heads.chunk(2, dim=-1)
        return heads * self.cos + torch.cat([-second, first], dim=-1) * self.sin
