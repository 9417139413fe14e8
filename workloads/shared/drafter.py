"""A block-diffusion drafter: one forward drafts all tokens of a block behind a verifier.

    features (B, T, n * hidden)   outputs of n verifier layers, at committed positions
      -> encoder (fc, RMS norm) -> states (B, T, hidden)
      -> k_proj, k_norm, RoPE and v_proj of every layer -> context K/V (B, kv_heads, T, head_dim)

    block (B, N, hidden)          embeddings of [anchor, mask, ..., mask]
      -> layers: each query sees the context before its anchor and all of its own block
      -> norm -> hidden states (B, N, hidden); those of the masks go through the verifier's head

Context K/V are made once for each committed position and kept. Embedding and head are the
verifier's own; the embedding is taken unscaled (`embed_unscaled`), also where the verifier
multiplies it by the root of its width. Every hidden state but the anchor's predicts the token *at*
its own position, so a block of N drafts N - 1 tokens.

Source: DFlash, arXiv:2602.06036; parameter names are those of transformers'
`MuseGlimmerAssistantModel`, so that the same weights run in both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from bridge.errors import UsageError
from workloads.shared.buffers import PositionBuffer
from workloads.shared.drafter_parts import Encoder, Layer, RMSNorm, Turn

CONFIG_NAME = "drafter_config.json"
WEIGHTS_NAME = "drafter.safetensors"


@dataclass(frozen=True, slots=True)
class DrafterConfig:
    """The shape of a drafter.

    Attributes:
        hidden: the verifier's width, and the drafter's.
        layers: how many; `heads` query heads and `kv_heads` K/V heads of `head_dim` in each.
        intermediate: width of the MLP.
        target_layers: verifier layers, from 0, whose outputs are the features; never the last one.
        mask_token: the id whose embedding stands for a token that is to be drafted.
        block: positions of a block, the anchor's included.
        rope_theta: base of RoPE; `norm_eps` of every RMS norm.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    target_layers: tuple[int, ...]
    mask_token: int
    block: int
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6


class ContextCache:
    """Context K/V of a batch, one buffer for each drafter layer; slot p holds position p."""

    def __init__(self, config: DrafterConfig) -> None:
        self.buffers = [PositionBuffer() for _ in range(config.layers)]


class BlockDrafter(nn.Module):  # type: ignore[misc]
    """The drafter; randomly initialised, the same for the same seed."""

    def __init__(self, config: DrafterConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden, config.norm_eps)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.dim() == 2:
                    parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)

    def extend(
        self, cache: ContextCache, features: torch.Tensor, starts: torch.Tensor, end: int
    ) -> None:
        """Keep the context K/V of features (B, T, n * hidden) at positions `starts` and on.

        Args:
            cache: of this batch.
            features: outputs of the target layers, side by side.
            starts: (B,) first position of each row, or (1,) where all rows have the same.
            end: the highest position, and one.
        """
        states = self.encoder(features)
        turn = self.turn(_spread(starts, features.shape[1]), features.dtype)
        for layer, buffer in zip(self.layers, cache.buffers, strict=True):
            keys, values = layer.self_attn.make_entries(states, turn)
            buffer.write(keys, values, starts, end)

    def draft(
        self, cache: ContextCache, block: torch.Tensor, starts: torch.Tensor, end: int
    ) -> torch.Tensor:
        """Hidden states (B, N, hidden) of a block of embeddings (B, N, hidden).

        Args:
            cache: holds the context of all positions before the anchors.
            block: the anchor's embedding and those of the masks.
            starts: (B,) position of each row's anchor, or (1,) where all rows have the same.
            end: the highest position of any block, and one.
        """
        count = block.shape[1]
        turn = self.turn(_spread(starts, count), block.dtype)
        mask = None
        if len(starts) > 1:
            slots = torch.arange(end, device=block.device)
            mask = (slots < starts[:, None] + count)[:, None, None, :]
        states = block
        for layer, buffer in zip(self.layers, cache.buffers, strict=True):
            normed = layer.input_layernorm(states)
            # The block's own entries lie where the context of its positions will lie.
            keys, values = layer.self_attn.make_entries(normed, turn)
            buffer.write(keys, values, starts, end)
            keys, values = buffer.read(end)
            states = states + layer.self_attn.attend(normed, turn, keys, values, mask)
            states = states + layer.mlp(layer.post_attention_layernorm(states))
        hidden: torch.Tensor = self.norm(states)
        return hidden

    def forward(
        self,
        block: torch.Tensor,
        features: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Hidden states (B, N, hidden) of many blocks side by side, without a cache: training.

        Args:
            block: (B, N, hidden) embeddings of all blocks.
            features: (B, T, n * hidden) of positions 0 to T - 1.
            positions: (B, N) of the embeddings.
            mask: (B, 1, N, T + N), True where a query may look: at context, then at blocks.
        """
        context = self.encoder(features)
        places = torch.arange(features.shape[1], device=features.device)[None]
        before, here = self.turn(places, block.dtype), self.turn(positions, block.dtype)
        states = block
        for layer in self.layers:
            normed = layer.input_layernorm(states)
            pairs = zip(
                layer.self_attn.make_entries(context, before),
                layer.self_attn.make_entries(normed, here),
                strict=True,
            )
            keys, values = (torch.cat(pair, dim=-2) for pair in pairs)
            states = states + layer.self_attn.attend(normed, here, keys, values, mask)
            states = states + layer.mlp(layer.post_attention_layernorm(states))
        hidden: torch.Tensor = self.norm(states)
        return hidden

    def turn(self, positions: torch.Tensor, dtype: torch.dtype) -> Turn:
        """RoPE at positions (B or 1, T); angles in float32."""
        width = self.config.head_dim
        steps = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
        angles = positions[..., None].float() / self.config.rope_theta ** (steps / width)
        angles = torch.cat([angles, angles], dim=-1)[:, None]
        return Turn(angles.cos().to(dtype), angles.sin().to(dtype))

    def save(self, folder: Path) -> None:
        """Write config and weights into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_NAME).write_text(json.dumps(asdict(self.config), indent=1) + "\n", "utf-8")
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, folder / WEIGHTS_NAME)

    @classmethod
    def load(cls, folder: Path) -> BlockDrafter:
        """The drafter that `save` wrote, or a published DFlash checkpoint (`config.json`).

        Raises:
            UsageError: a file is missing, or the weights do not fit the config.
        """
        try:
            if (folder / CONFIG_NAME).exists():
                document = json.loads((folder / CONFIG_NAME).read_text("utf-8"))
                layers = tuple(document.pop("target_layers"))
                config = DrafterConfig(target_layers=layers, **document)
                weights = load_file(folder / WEIGHTS_NAME)
            else:
                config = _read_published(json.loads((folder / "config.json").read_text("utf-8")))
                weights = _rename(load_file(folder / "model.safetensors"))
            drafter = cls(config)
            drafter.load_state_dict(weights)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UsageError(f"no drafter: {error}", where=str(folder)) from error
        return drafter


def embed_unscaled(embedding: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    """Rows (B, N, hidden) of the verifier's embedding, without the factor that Gemma applies."""
    return functional.embedding(ids, embedding.weight)


def _spread(starts: torch.Tensor, count: int) -> torch.Tensor:
    """Positions (B or 1, count) from first positions (B or 1,)."""
    return starts[:, None] + torch.arange(count, device=starts.device)


def _read_published(document: Mapping[str, Any]) -> DrafterConfig:
    """The config of a DFlash checkpoint, or of transformers' `MuseGlimmerAssistantModel`."""
    inner = {**document, **document.get("dflash_config", {})}
    rope = document.get("rope_parameters") or document
    return DrafterConfig(
        hidden=inner["hidden_size"],
        layers=inner["num_hidden_layers"],
        heads=inner["num_attention_heads"],
        kv_heads=inner["num_key_value_heads"],
        head_dim=inner["head_dim"],
        intermediate=inner["intermediate_size"],
        target_layers=tuple(inner["target_layer_ids"]),
        mask_token=inner["mask_token_id"],
        block=inner["block_size"],
        rope_theta=float(rope["rope_theta"]),
        norm_eps=float(inner["rms_norm_eps"]),
    )


def _rename(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of DFlash's own checkpoints as transformers and this module have them."""
    renamed = {
        "fc.weight": "encoder.fc.weight",
        "hidden_norm.weight": "encoder.output_norm_enc.weight",
    }
    return {renamed.get(name, name): tensor for name, tensor in weights.items()}
