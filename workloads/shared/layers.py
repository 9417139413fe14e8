"""The attention layers of a transformers decoder, and how raw K/V become what attention reads.

Raw K and V are what `k_proj` and `v_proj` give, before any norm and before RoPE: the space that a
projection predicts and that capture reads. `finish` then does what the layer itself does: k_norm,
RoPE at the original positions, v_norm, heads apart (fewer than the queries' in GQA).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from bridge.errors import UsageError

FULL = "full_attention"
SLIDING = "sliding_attention"


@dataclass(frozen=True, slots=True)
class AttentionLayer:
    """One attention layer.

    Attributes:
        index: its place in the decoder.
        module: its attention module.
        kind: `full_attention` or `sliding_attention`.
        window: positions that a query sees at most, itself included; None for all.
        kv_heads, head_dim: the shape of its K/V.
        owns: whether it makes K/V; otherwise it reads those of an earlier layer.
    """

    index: int
    module: Any
    kind: str
    window: int | None
    kv_heads: int
    head_dim: int
    owns: bool

    @property
    def width(self) -> int:
        """Values of one position's raw K (as many as of its V)."""
        return self.kv_heads * self.head_dim


def list_attention_layers(model: Any) -> list[AttentionLayer]:
    """The attention layers of any decoder with separate `k_proj`: Llama, Qwen, Gemma and kin.

    Raises:
        UsageError: the model's attention is built otherwise.
    """
    config = model.config.get_text_config(decoder=True)
    kinds = getattr(config, "layer_types", None)
    found = []
    for index, layer in enumerate(find_decoder(model).layers):
        module = getattr(layer, "self_attn", None)
        if module is None or not hasattr(module, "q_proj") or not hasattr(module, "head_dim"):
            raise UsageError(
                f"layer {index} of a {type(model).__name__} has no attention with a q_proj",
                where="$.inputs.weights",
                remedy="take a model of the Llama, Qwen or Gemma kind",
            )
        kind = kinds[index] if kinds else FULL
        window = getattr(module, "sliding_window", None) if kind == SLIDING or not kinds else None
        owns = hasattr(module, "k_proj")
        heads = module.k_proj.out_features // module.head_dim if owns else 0
        _check_norm(module, index)
        found.append(AttentionLayer(index, module, kind, window, heads, int(module.head_dim), owns))
    return found


def _check_norm(module: Any, index: int) -> None:
    weight = getattr(getattr(module, "k_norm", None), "weight", None)
    if weight is not None and weight.shape[-1] != module.head_dim:
        raise UsageError(
            f"k_norm of layer {index} spans all heads, which is not restored yet",
            where="$.inputs.weights",
        )


def find_decoder(model: Any) -> Any:
    """The text decoder of a model, which has `layers` and `rotary_emb`."""
    decoder = model.get_decoder()
    return getattr(decoder, "language_model", decoder)


class Rotation:
    """Cos and sin of a model's RoPE at any positions, by layer kind."""

    def __init__(self, model: Any) -> None:
        self._rotary = find_decoder(model).rotary_emb
        self._by_kind = "layer_type" in inspect.signature(self._rotary.forward).parameters
        self._like = torch.empty(1, dtype=model.dtype, device=model.device)

    def at(self, layer: AttentionLayer, positions: torch.Tensor) -> tuple[Any, Any]:
        """Cos and sin (1, T, D) at `positions` (T,)."""
        named = {"layer_type": layer.kind} if self._by_kind else {}
        cos, sin = self._rotary(self._like, positions[None], **named)
        if cos.shape[-1] != layer.head_dim:
            raise UsageError(
                "RoPE over a part of the head alone is not restored yet", where="$.inputs.weights"
            )
        return cos, sin

    def finish(
        self,
        layer: AttentionLayer,
        keys: torch.Tensor,
        values: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raw K and V (B, T, width) as attention reads them, (B, H, T, D) each."""
        return (
            self.rotate(layer, norm_keys(layer, keys), positions),
            norm_values(layer, values).transpose(1, 2),
        )

    def rotate(
        self, layer: AttentionLayer, heads: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        """Apply RoPE: (B, T, H, D) to (B, H, T, D)."""
        cos, sin = self.at(layer, positions)
        cos, sin = cos[:, :, None].to(heads.dtype), sin[:, :, None].to(heads.dtype)
        first, second = heads.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        return (heads * cos + turned * sin).transpose(1, 2)


def split_heads(layer: AttentionLayer, raw: torch.Tensor) -> torch.Tensor:
    """(B, T, H * D) to (B, T, H, D)."""
    return raw.view(*raw.shape[:-1], -1, layer.head_dim)


def norm_keys(layer: AttentionLayer, raw: torch.Tensor) -> torch.Tensor:
    """Raw K after the layer's k_norm, where it has one: (B, T, H, D)."""
    heads = split_heads(layer, raw)
    norm = getattr(layer.module, "k_norm", None)
    return heads if norm is None else norm(heads)


def norm_values(layer: AttentionLayer, raw: torch.Tensor) -> torch.Tensor:
    """Raw V after the layer's v_norm, where it has one: (B, T, H, D)."""
    heads = split_heads(layer, raw)
    norm = getattr(layer.module, "v_norm", None)
    return heads if norm is None else norm(heads)


Catch = Callable[[int, torch.Tensor, torch.Tensor], None]


@contextlib.contextmanager
def capturing(layers: list[AttentionLayer], catch: Catch) -> Iterator[None]:
    """Call `catch(layer, raw K, raw V)`, (B, T, width) each, in every forward of the model.

    It is called before the layer writes its cache. A layer without `v_proj` takes V from K.
    """
    keys: dict[int, torch.Tensor] = {}
    handles = []
    for layer in layers:
        if not layer.owns:
            continue
        shared = getattr(layer.module, "v_proj", None) is None
        handles.append(
            layer.module.k_proj.register_forward_hook(_keys_hook(layer.index, keys, catch, shared))
        )
        if not shared:
            handles.append(
                layer.module.v_proj.register_forward_hook(_values_hook(layer.index, keys, catch))
            )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _keys_hook(index: int, keys: dict[int, torch.Tensor], catch: Catch, shared: bool) -> Any:
    def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
        del module, inputs
        if shared:
            catch(index, output, output)
        else:
            keys[index] = output

    return hook


def _values_hook(index: int, keys: dict[int, torch.Tensor], catch: Catch) -> Any:
    def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
        del module, inputs
        catch(index, keys.pop(index), output)

    return hook
