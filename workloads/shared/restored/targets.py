"""What the verifier does with its own K/V: the truth that a projection is trained towards."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from workloads.shared.layers import (
    AttentionLayer,
    Rotation,
    capturing,
    list_attention_layers,
    norm_keys,
    norm_values,
    split_heads,
)

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Targets:
    """One batch of texts (B, T) as the verifier sees them with full attention.

    Attributes:
        ids: (B, T).
        raw: layer to its raw K and V, (B, T, width) each.
        queries: layer to its queries after norm and RoPE, (B, Hq, T, D).
        outputs: layer to its attention output after o_proj, (B, T, hidden).
    """

    ids: torch.Tensor
    raw: dict[int, Pair]
    queries: dict[int, torch.Tensor]
    outputs: dict[int, torch.Tensor]


class Teacher:
    """A frozen verifier that gives targets, and that runs its attention over other K/V."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.layers = list_attention_layers(model)
        self._rotation = Rotation(model)

    @property
    def owners(self) -> list[AttentionLayer]:
        """The layers that make K/V."""
        return [layer for layer in self.layers if layer.owns]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def observe(self, ids: torch.Tensor, *, attention: bool = True) -> Targets:
        """Run the verifier over `ids` (B, T); queries and outputs only with `attention`."""
        raw: dict[int, Pair] = {}
        queries: dict[int, torch.Tensor] = {}
        outputs: dict[int, torch.Tensor] = {}

        def catch(layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
            raw[layer] = keys, values

        with contextlib.ExitStack() as stack:
            stack.enter_context(capturing(self.layers, catch))
            for layer in self.layers if attention else ():
                for handle in _watch(layer, queries, outputs):
                    stack.callback(handle.remove)
            self.model(input_ids=ids, use_cache=False)
        places = torch.arange(ids.shape[1], device=ids.device)
        for layer in self.layers if attention else ():
            heads = split_heads(layer, queries[layer.index])
            norm = getattr(layer.module, "q_norm", None)
            heads = heads if norm is None else norm(heads)
            queries[layer.index] = self._rotation.rotate(layer, heads, places)
        return Targets(ids, raw, queries, outputs)

    def attend(self, targets: Targets, predicted: dict[int, Pair]) -> dict[int, torch.Tensor]:
        """Attention outputs (B, T, hidden) of every layer over `predicted` raw K/V."""
        length = targets.ids.shape[1]
        places = torch.arange(length, device=targets.ids.device)
        read: dict[str, Pair] = {}
        outputs = {}
        for layer in self.layers:
            if layer.owns:
                read[layer.kind] = self._rotation.finish(layer, *predicted[layer.index], places)
            keys, values = read[layer.kind]
            queries = targets.queries[layer.index]
            mixed = functional.scaled_dot_product_attention(
                queries,
                keys.to(queries.dtype),
                values.to(queries.dtype),
                attn_mask=_see(places, layer.window),
                scale=float(layer.module.scaling),
                enable_gqa=True,
            )
            flat = mixed.transpose(1, 2).flatten(2)
            outputs[layer.index] = layer.module.o_proj(flat)
        return outputs


def measure_relative_errors(
    layers: list[AttentionLayer], targets: Targets, predicted: dict[int, Pair]
) -> dict[int, dict[str, tuple[float, float]]]:
    """Sums of squares (error, truth) of each owning layer, before and after its norms.

    Returns:
        layer to `k_raw`, `v_raw`, `k_norm`, `v_norm` to (error, truth).
    """
    found = {}
    for layer in layers:
        if not layer.owns:
            continue
        true_k, true_v = targets.raw[layer.index]
        pred_k, pred_v = predicted[layer.index]
        found[layer.index] = {
            "k_raw": _square(pred_k, true_k),
            "v_raw": _square(pred_v, true_v),
            "k_norm": _square(norm_keys(layer, pred_k), norm_keys(layer, true_k)),
            "v_norm": _square(norm_values(layer, pred_v), norm_values(layer, true_v)),
        }
    return found


def _square(predicted: torch.Tensor, true: torch.Tensor) -> tuple[float, float]:
    error = (predicted.double() - true.double()).square().sum()
    return float(error), float(true.double().square().sum())


def _see(places: torch.Tensor, window: int | None) -> torch.Tensor:
    seen = places[None, :] <= places[:, None]
    if window is not None:
        seen = seen & (places[None, :] > places[:, None] - window)
    return seen


def _watch(
    layer: AttentionLayer, queries: dict[int, torch.Tensor], outputs: dict[int, torch.Tensor]
) -> list[Any]:
    def catch_query(module: Any, inputs: Any, output: torch.Tensor) -> None:
        del module, inputs
        queries[layer.index] = output

    def catch_output(module: Any, inputs: Any, output: Any) -> None:
        del module, inputs
        outputs[layer.index] = output[0] if isinstance(output, tuple) else output

    return [
        layer.module.q_proj.register_forward_hook(catch_query),
        layer.module.register_forward_hook(catch_output),
    ]
