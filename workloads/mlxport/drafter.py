"""The block-diffusion drafter in MLX, from the folder that the torch one saved or was read from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from workloads.mlxport.models import PortedModel
from workloads.shared.drafter import BlockDrafter, DrafterConfig


class PortedBlockDrafter:
    """The counterpart of `BlockDrafter` behind one verifier, for one text.

    Attributes:
        place: positions whose context K/V are kept.
    """

    def __init__(self, ported: PortedModel, weights: dict[str, mx.array], config: Any) -> None:
        self.config: DrafterConfig = config
        self.place = 0
        self._ported = ported
        self._weights = weights
        self._context: list[tuple[mx.array, mx.array] | None] = [None] * config.layers

    @classmethod
    def load(cls, folder: Path, ported: PortedModel) -> PortedBlockDrafter:
        """What `BlockDrafter.load` reads, which also checks it; in the verifier's dtype."""
        found = BlockDrafter.load(folder)
        weights = {
            name: mx.array(tensor.float().numpy()).astype(ported.dtype)
            for name, tensor in found.state_dict().items()
        }
        mx.eval(weights)
        return cls(ported, weights, found.config)

    def restart(self) -> PortedBlockDrafter:
        """The same weights, for another text."""
        return PortedBlockDrafter(self._ported, self._weights, self.config)

    def extend(self, features: mx.array) -> None:
        """Keep the context K/V of the next features (1, T, n * hidden)."""
        states = self._norm(self._linear(features, "encoder.fc"), "encoder.output_norm_enc")
        for layer in range(self.config.layers):
            self._context[layer] = self._join(layer, *self._make_entries(layer, states))
        self.place += features.shape[1]
        mx.eval(self._context)

    def draft(self, committed: Sequence[int]) -> list[int]:
        """The block's tokens after the last committed one, at `place`: one forward, greedily."""
        config = self.config
        ids = mx.array([[committed[-1]] + [config.mask_token] * (config.block - 1)])
        # mlx-lm scales outside of its embedding, so this one is unscaled as the drafter takes it.
        states = self._ported.decoder.embed_tokens(ids)
        for layer in range(config.layers):
            prefix = f"layers.{layer}"
            normed = self._norm(states, f"{prefix}.input_layernorm")
            keys, values = self._join(layer, *self._make_entries(layer, normed))
            states = states + self._attend(layer, normed, keys, values)
            normed = self._norm(states, f"{prefix}.post_attention_layernorm")
            gate = self._linear(normed, f"{prefix}.mlp.gate_proj")
            up = self._linear(normed, f"{prefix}.mlp.up_proj")
            silu = gate * mx.sigmoid(gate)
            states = states + self._linear(silu * up, f"{prefix}.mlp.down_proj")
        logits = self._ported.head(self._norm(states, "norm")[:, 1:])
        return [int(token) for token in np.array(logits.argmax(-1))[0]]

    def _make_entries(self, layer: int, states: mx.array) -> tuple[mx.array, mx.array]:
        prefix = f"layers.{layer}.self_attn"
        keys = self._turn(self._norm(self._heads(states, f"{prefix}.k_proj"), f"{prefix}.k_norm"))
        return keys, self._heads(states, f"{prefix}.v_proj").transpose(0, 2, 1, 3)

    def _attend(self, layer: int, states: mx.array, keys: mx.array, values: mx.array) -> mx.array:
        prefix = f"layers.{layer}.self_attn"
        queries = self._heads(states, f"{prefix}.q_proj")
        queries = self._turn(self._norm(queries, f"{prefix}.q_norm"))
        found = mx.fast.scaled_dot_product_attention(
            queries, keys, values, scale=self.config.head_dim**-0.5
        )
        flat = found.transpose(0, 2, 1, 3).reshape(*states.shape[:2], -1)
        return self._linear(flat, f"{prefix}.o_proj")

    def _join(self, layer: int, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        kept = self._context[layer]
        if kept is None:
            return keys, values
        return mx.concatenate([kept[0], keys], axis=2), mx.concatenate([kept[1], values], axis=2)

    def _heads(self, states: mx.array, name: str) -> mx.array:
        flat = self._linear(states, name)
        return flat.reshape(*states.shape[:2], -1, self.config.head_dim)

    def _turn(self, heads: mx.array) -> mx.array:
        """RoPE at `place` and on: (B, T, H, D) to (B, H, T, D)."""
        return mx.fast.rope(
            heads.transpose(0, 2, 1, 3),
            self.config.head_dim,
            traditional=False,
            base=self.config.rope_theta,
            scale=1.0,
            offset=self.place,
        )

    def _norm(self, states: mx.array, name: str) -> mx.array:
        return mx.fast.rms_norm(states, self._weights[f"{name}.weight"], self.config.norm_eps)

    def _linear(self, states: mx.array, name: str) -> mx.array:
        return states @ self._weights[f"{name}.weight"].T
