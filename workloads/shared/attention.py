"""What a query may attend to, and which K/V entries therefore stay allocated.

An attention policy owns the K/V cache of one batch and says which mask goes with each chunk of
queries. Positions are always the original ones: an evicted entry leaves a gap, it does not move
its neighbours.

Source: Xiao et al., Efficient Streaming Language Models with Attention Sinks, arXiv:2309.17453,
section 3; unlike there, positions are not renumbered inside the cache.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from bridge.errors import UsageError

MASKED_LAYERS = frozenset({"full_attention", "sliding_attention"})
UNMASKED_LAYERS = frozenset({"moe", "mlp"})  # layer types without attention


class Attention(Protocol):
    """The K/V cache of one batch and the masks that go with it.

    Attributes:
        cache: a transformers cache; the model writes into it.
        chunk: how many positions one prefill call takes at most, None for all of them.
    """

    cache: Any
    chunk: int | None

    def mask(self, positions: torch.Tensor) -> Any:
        """The mask for queries at `positions` (Q,), which must be called before the cache grows.

        None leaves the mask to the model (causal); otherwise additive, (1, 1, Q, K), or one such
        mask for each layer type.
        """


class FullAttention:
    """Every query sees every earlier position that the model itself lets it see."""

    def __init__(self, model: Any) -> None:
        self.cache = DynamicCache(config=model.config)
        self.chunk: int | None = None

    def mask(self, positions: torch.Tensor) -> None:
        """The model's own causal mask."""
        del positions


class SinkWindowAttention:
    """Every query sees the first `sink` positions and the last `window` ones, itself included.

    This holds in each layer from the first prompt token on, so that nothing reads a position
    outside its window, and the entries that no later query may see are freed as the prompt goes
    by: after T tokens the positions [sink, T - window) have no K/V entry.

    Raises:
        UsageError: the model has layers other than full or sliding attention.
    """

    def __init__(self, model: Any, *, sink: int, window: int, chunk: int) -> None:
        native = DynamicCache(config=model.config)
        layers: list[Any] = []
        for layer in native.layers:
            if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer):
                layers.append(SinkWindowLayer(sink=sink, window=window))
            elif isinstance(layer, DummyLayer):  # no attention, or the K/V of another layer
                layers.append(layer)
            else:
                raise UsageError(
                    f"sink+window is not defined for a {type(layer).__name__}",
                    where="$.inputs.weights",
                    remedy="take a model of full or sliding attention layers",
                )
        self.cache = Cache(layers=layers)
        self.chunk: int | None = chunk
        self._sink = sink
        self._window = window
        self._dtype = model.dtype
        self._native_window = _find_native_window(native)
        self._layer_types = _find_layer_types(model.config)

    def mask(self, positions: torch.Tensor) -> Any:
        """Additive masks over the kept entries and the queries' own, (1, 1, Q, K)."""
        keys = torch.cat([self._find_kept_positions(positions.device), positions])
        seen = see_sink_window(positions, keys, sink=self._sink, window=self._window)
        if self._native_window is None:
            return to_additive(seen, self._dtype)
        near = seen & (keys[None, :] > positions[:, None] - self._native_window)
        if self._layer_types is None:  # one window for all layers, as in Mistral
            return to_additive(near, self._dtype)
        masks = {"full_attention": seen, "sliding_attention": near}
        return {kind: to_additive(masks[kind], self._dtype) for kind in self._layer_types}

    def _find_kept_positions(self, device: torch.device) -> torch.Tensor:
        layer = next(layer for layer in self.cache.layers if isinstance(layer, SinkWindowLayer))
        return layer.positions.to(device)


class SinkWindowLayer(DynamicLayer):  # type: ignore[misc]  # transformers is unchecked
    """One layer's K/V entries: the first `sink` positions and the last `window` ones.

    Attributes:
        positions: (K,) original position of each entry that is kept.
        seen: how many positions have gone by.
    """

    def __init__(self, *, sink: int, window: int) -> None:
        super().__init__()
        self.sink = sink
        self.window = window
        self.seen = 0
        self.positions = torch.empty(0, dtype=torch.long)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,  # noqa: ARG002  (the cache interface passes more than is needed)
        **kwargs: object,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (B, H, Q, D) entries, then free what no later query may see.

        Returns:
            The entries for these queries, (B, H, K, D), in the order of `positions` before the
            call and then the new ones: what the mask was made for.
        """
        keys, values = super().update(key_states, value_states)
        device = keys.device
        count = key_states.shape[-2]
        new = torch.arange(self.seen, self.seen + count, device=device)
        positions = torch.cat([self.positions.to(device), new])
        self.seen += count
        keep = (positions < self.sink) | (positions >= self.seen - self.window)
        if not bool(keep.all()):
            # Indexing copies into a tensor of the kept size; the larger one is then freed.
            index = keep.nonzero().squeeze(1)
            self.keys = keys.index_select(-2, index)
            self.values = values.index_select(-2, index)
            positions = positions.index_select(0, index)
        self.positions = positions
        return keys, values

    def get_seq_length(self) -> int:
        """Positions gone by, not entries kept."""
        return self.seen


def see_sink_window(
    queries: torch.Tensor, keys: torch.Tensor, *, sink: int, window: int
) -> torch.Tensor:
    """Whether the query at each position (Q,) sees the key at each position (K,): (Q, K) bool."""
    queries, keys = queries[:, None], keys[None, :]
    return (keys <= queries) & ((keys < sink) | (keys > queries - window))


def to_additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask to add to scores: 0 where seen, -inf elsewhere; (Q, K) to (1, 1, Q, K)."""
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, float("-inf"))[None, None]


def count_kept(attention: Attention) -> int:
    """The most positions that any layer keeps K/V entries of, counted from its tensors."""
    return max((int(keys.shape[-2]) for keys, _ in _list_tensors(attention)), default=0)


def measure_kv_bytes(attention: Attention) -> int:
    """Bytes allocated for K/V entries, counted from the storages behind the tensors."""
    storages = {
        storage.data_ptr(): storage.nbytes()
        for pair in _list_tensors(attention)
        for storage in (tensor.untyped_storage() for tensor in pair)
    }
    return sum(storages.values())


def _list_tensors(attention: Attention) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [
        (layer.keys, layer.values)
        for layer in attention.cache.layers
        if isinstance(getattr(layer, "keys", None), torch.Tensor) and layer.keys.numel()
    ]


def _find_native_window(cache: DynamicCache) -> int | None:
    windows = {
        int(layer.sliding_window)
        for layer in cache.layers
        if isinstance(layer, DynamicSlidingWindowLayer)
    }
    return min(windows) if windows else None


def _find_layer_types(config: Any) -> list[str] | None:
    """The layer types that the model looks masks up by, None where it takes one mask for all."""
    declared = getattr(config.get_text_config(decoder=True), "layer_types", None)
    if declared is None:
        return None
    kinds = set(declared) - UNMASKED_LAYERS
    unknown = sorted(kinds - MASKED_LAYERS)
    if unknown:
        raise UsageError(
            f"sink+window is not defined for {', '.join(unknown)} layers",
            where="$.inputs.weights",
            remedy="take a model of full or sliding attention layers",
        )
    return sorted(kinds)
