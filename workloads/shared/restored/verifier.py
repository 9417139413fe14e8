"""A verifier that holds sink and window and reads the evicted positions restored.

It streams: a query reads exact K/V at the first `sink` and the last `window` positions and
restored ones between, from the first prompt token on; entries that no later query reads exactly
are freed as the prompt goes by. Restored K/V live for one layer's attention and are dropped.

With `replaced` it does what the seed did instead: at every prefill query, its own position
included, all of [sink, T - window) is read restored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DummyLayer

from workloads.shared.attention import to_additive
from workloads.shared.layers import AttentionLayer, Rotation, capturing, list_attention_layers
from workloads.shared.restored.entries import HeldLayer, Restore
from workloads.shared.restored.plans import Plan
from workloads.shared.restored.sources import Source


@dataclass(frozen=True, slots=True)
class Decoded:
    """Greedy tokens (B, N), and the bytes held after the prompt by who holds them."""

    tokens: torch.Tensor
    held: dict[str, int]


class Verifier:
    """One batch's text under a plan for each layer.

    Args:
        model: the verifier.
        plans: for each layer that owns K/V.
        source: of restored K/V; needed where a plan restores.
        chunk: prompt positions in one forward at most.
        replaced: the seed's prefill instead of streaming.
        recording: whether every `read` is followed by a `rollback`, of nothing perhaps.

    Attributes:
        restored: positions that were read restored, summed over layers and forwards.
    """

    def __init__(
        self,
        model: Any,
        plans: Mapping[int, Plan],
        source: Source | None = None,
        *,
        chunk: int = 256,
        replaced: bool = False,
        recording: bool = False,
    ) -> None:
        self._recording = recording
        if recording and source is not None:
            source.record()
        self._model = model
        self._layers = list_attention_layers(model)
        self._rotation = Rotation(model)
        self._source = source
        self._chunk = chunk
        self._replaced = replaced
        self._plans = plans
        self.restored = 0
        self._held: dict[int, HeldLayer] = {}
        for layer in self._layers:
            if layer.owns:
                self._held[layer.index] = HeldLayer(
                    plans[layer.index], self._make_restore(layer), recording=recording
                )
        last = max(self._held)
        self.cache = Cache(
            layers=[self._held.get(index) or DummyLayer() for index in range(last + 1)]
        )
        self._masks: dict[int, torch.Tensor] = {}
        self._seen = 0

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def decode(self, ids: torch.Tensor, *, new_tokens: int) -> Decoded:
        """Greedy tokens after `ids` (B, T), which are of equal length."""
        length = ids.shape[1]
        if self._replaced:
            for entries in self._held.values():
                if entries.plan.window is not None and entries.plan.restored:
                    entries.replaced_below = max(0, length - entries.plan.window)
        logits = None
        with self._attached():
            for start in range(0, length, self._chunk):
                logits = self._forward(ids[:, start : start + self._chunk])[:, -1]
            assert logits is not None
            held = self.measure_bytes()
            tokens = [logits.argmax(-1, keepdim=True)]
            for _ in range(new_tokens - 1):
                tokens.append(self._forward(tokens[-1])[:, -1].argmax(-1, keepdim=True))
        return Decoded(torch.cat(tokens, 1).cpu(), held)

    def read(self, ids: torch.Tensor, *, last: bool = False) -> torch.Tensor:
        """Logits (B, Q, V) after each of the next tokens (B, Q); (B, 1, V) after the last."""
        with self._attached():
            return self._forward(ids, keep=1 if last else 0)

    def rollback(self, count: int) -> None:
        """Forget the last `count` tokens of the last `read`."""
        for entries in self._held.values():
            entries.rollback(count)
        self._seen -= count
        if self._source is not None:
            self._source.rollback(count)
            self._source.settle(self._find_first_needed())

    def measure_bytes(self) -> dict[str, int]:
        """Bytes allocated for the verifier's entries, what the source holds, and the drafter's."""
        entries = [
            tensor
            for held in self._held.values()
            for tensor in (held.keys, held.values)
            if isinstance(tensor, torch.Tensor)
        ]
        source = [] if self._source is None else self._source.held()
        drafter = [] if self._source is None else self._source.held_by_drafter()
        return {
            "verifier": _measure(entries),
            "source": _measure(source),
            "drafter": _measure(drafter),
        }

    def _forward(self, ids: torch.Tensor, *, keep: int = 1) -> torch.Tensor:
        """Logits (B, K, V) after the last `keep` of `ids` (B, Q), all of them where 0."""
        count = ids.shape[1]
        positions = torch.arange(self._seen, self._seen + count, device=ids.device)
        if self._source is not None:
            self._source.extend(ids, positions)
        self._prepare(positions)
        result = self._model(
            input_ids=ids,
            position_ids=positions[None].expand(ids.shape[0], -1),
            attention_mask=self._make_placeholder(count, ids.device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        self._seen += count
        if self._source is not None and not self._recording:
            self._source.settle(self._find_first_needed())
        logits: torch.Tensor = result.logits.float()
        return logits

    def _prepare(self, positions: torch.Tensor) -> None:
        """Masks of this forward; a layer that shares K/V takes those of the layer it reads."""
        last_of_kind: dict[str, torch.Tensor] = {}
        for layer in self._layers:
            if layer.owns:
                held = self._held[layer.index]
                self.restored += len(held.find_restored(len(positions)))
                mask = to_additive(held.see(positions), self._model.dtype)
                last_of_kind[layer.kind] = mask
            self._masks[layer.index] = last_of_kind[layer.kind]

    def _make_placeholder(self, count: int, device: torch.device) -> Any:
        """A mask that the model takes as given; every layer's own replaces it."""
        blank = torch.zeros(1, 1, count, 1, dtype=self._model.dtype, device=device)
        config = self._model.config.get_text_config(decoder=True)
        if getattr(config, "layer_types", None) is None:
            return blank
        return dict.fromkeys({layer.kind for layer in self._layers}, blank)

    def _find_first_needed(self) -> int:
        """The first position that a later query may read restored."""
        plans = [held.plan for held in self._held.values() if held.plan.restored]
        return min([self._seen, *(plan.find_first_needed(self._seen) for plan in plans)])

    def _make_restore(self, layer: AttentionLayer) -> Restore:
        def restore(low: int, high: int) -> tuple[torch.Tensor, torch.Tensor]:
            assert self._source is not None, "a plan restores, so there must be a source"
            keys, values = self._source.restore(layer.index, low, high)
            positions = torch.arange(low, high, device=keys.device)
            return self._rotation.finish(layer, keys, values, positions)

        return restore

    @contextlib.contextmanager
    def _attached(self) -> Iterator[None]:
        handles = [
            layer.module.register_forward_pre_hook(self._mask_hook(layer.index), with_kwargs=True)
            for layer in self._layers
        ]
        catch: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self._source is not None:
            catch = capturing(self._layers, self._source.catch)
        try:
            with catch:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _mask_hook(self, index: int) -> Any:
        def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            del module
            hidden = args[0] if args else kwargs["hidden_states"]
            # The model may keep the last queries alone in layers that share K/V.
            mask = self._masks[index][..., -hidden.shape[1] :, :]
            return args, {**kwargs, "attention_mask": mask}

        return hook


def _measure(tensors: list[torch.Tensor]) -> int:
    storages = [tensor.untyped_storage() for tensor in tensors if tensor.numel()]
    return sum({one.data_ptr(): one.nbytes() for one in storages}.values())
