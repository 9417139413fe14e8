"""A K/V cache whose entries live in stored form only."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from workloads.kvquant.codecs import Codec


class StoredLayer(DynamicLayer):  # type: ignore[misc]
    """One layer of full attention, stored through a codec; every query reads what comes back.

    Attributes:
        stored: of K and of V: the codec's tensors, (B, H, T, ...) each.
        error: sum of squared errors of K and V; `energy` of squared true values.
        values_seen: how many values were stored.
    """

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.stored: list[tuple[torch.Tensor, ...]] = []
        self.error = 0.0
        self.energy = 0.0
        self.values_seen = 0
        self._codec = codec
        self._seen = 0

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store (B, H, Q, D) entries; K and V of all positions come back, decoded."""
        del args, kwargs
        self._seen += key_states.shape[-2]
        added = [self._store(key_states), self._store(value_states)]
        if self.stored:
            added = [
                tuple(torch.cat(pair, -2) for pair in zip(old, new, strict=True))
                for old, new in zip(self.stored, added, strict=True)
            ]
        self.stored = added
        keys, values = (self._codec.decode(one, key_states.dtype) for one in self.stored)
        return keys, values

    def _store(self, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        stored = self._codec.encode(states)
        lost = self._codec.decode(stored, states.dtype).double() - states.double()
        self.error += float(lost.square().sum())
        self.energy += float(states.double().square().sum())
        self.values_seen += states.numel()
        return tuple(one.clone() for one in stored)

    def measure_bytes(self) -> int:
        """Bytes allocated behind what is stored."""
        return sum(one.untyped_storage().nbytes() for pair in self.stored for one in pair)

    def get_seq_length(self) -> int:
        """Positions stored."""
        return self._seen


class StoredAttention:
    """Full-attention layers through a codec, sliding ones as transformers keeps them."""

    def __init__(self, model: Any, codec: Codec) -> None:
        layers: list[Any] = []
        for layer in DynamicCache(config=model.config).layers:
            kept = isinstance(layer, (DummyLayer, DynamicSlidingWindowLayer))
            layers.append(layer if kept else StoredLayer(codec))
        self.cache = Cache(layers=layers)
        self.chunk: int | None = None

    def mask(self, positions: torch.Tensor) -> None:
        """The model's own causal mask."""
        del positions

    @property
    def stored(self) -> list[StoredLayer]:
        """The layers that go through the codec."""
        return [layer for layer in self.cache.layers if isinstance(layer, StoredLayer)]
