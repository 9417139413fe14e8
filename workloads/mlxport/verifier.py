"""Verifiers in MLX: over mlx-lm's own caches, and the restored one that makes its own.

Both can return to where they were. mlx-lm's `trim_prompt_cache` cannot do that for a rotating
cache that has wrapped: what it wrote over is gone, so a state is kept from before.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, RotatingKVCache

from bridge.errors import UsageError
from workloads.mlxport.caches import HeldCache
from workloads.mlxport.models import PortedModel, capturing, finish, watching
from workloads.mlxport.projection import Pair
from workloads.mlxport.sources import Source
from workloads.shared.layers import AttentionLayer
from workloads.shared.restored.plans import Plan


class PortedVerifier(ABC):
    """One batch's text.

    Args:
        ported: the model.
        chunk: prompt positions in one forward at most.
        targets: decoder layers whose outputs are the features of a drafter.

    Attributes:
        features: outputs of the target layers side by side, (B, Q, n * hidden), of the tokens
            that went by in the last `prefill` or `forward`; None without targets.
    """

    def __init__(
        self, ported: PortedModel, *, chunk: int = 256, targets: Sequence[int] = ()
    ) -> None:
        self.ported = ported
        self.caches: list[Any] = []
        self.features: mx.array | None = None
        self._chunk = chunk
        self._targets = targets

    def prefill(self, ids: mx.array) -> mx.array:
        """Logits (B, V) in float32 after the prompts (B, T), which go by in chunks."""
        parts = []
        logits = None
        for start in range(0, ids.shape[1], self._chunk):
            logits = self.forward(ids[:, start : start + self._chunk], keep=1)
            parts.append(self.features)
        assert logits is not None, "a prompt holds a token"
        self.features = mx.concatenate(parts, axis=1) if self._targets else None
        return logits[:, -1]

    def forward(self, ids: mx.array, *, keep: int | None = None) -> mx.array:
        """Logits (B, K, V) in float32 after the last `keep` of `ids` (B, Q), None for all."""
        outputs: list[mx.array] = []
        with self._attached(ids), watching(self.ported, self._targets, outputs.append):
            hidden = self.ported.decoder(ids, cache=self.caches)
        logits = self.ported.head(hidden if keep is None else hidden[:, -keep:])
        logits = logits.astype(mx.float32)
        self.features = mx.concatenate(outputs, axis=-1) if outputs else None
        # MLX is lazy: what is not computed now would hold what it is computed from.
        mx.eval(logits, outputs, self._list_held())
        return logits

    @abstractmethod
    def save(self) -> Any:
        """What `back` returns to."""

    @abstractmethod
    def back(self, state: Any) -> None:
        """Forget what was read since `save`."""

    @abstractmethod
    def _list_held(self) -> list[Any]:
        """Every array that outlives a forward."""

    @contextlib.contextmanager
    def _attached(self, ids: mx.array) -> Iterator[None]:
        del ids
        yield


class NativeVerifier(PortedVerifier):
    """Over mlx-lm's own caches, as its own greedy decoding."""

    def __init__(
        self, ported: PortedModel, *, chunk: int = 256, targets: Sequence[int] = ()
    ) -> None:
        super().__init__(ported, chunk=chunk, targets=targets)
        self.caches = make_native_caches(ported)

    def save(self) -> Any:
        """The length of caches that hold everything, a copy of those that rotate."""
        return [
            _copy(cache.state) if isinstance(cache, RotatingKVCache) else cache.offset
            for cache in self.caches
        ]

    def back(self, state: Any) -> None:
        """See `PortedVerifier.back`."""
        for cache, saved in zip(self.caches, state, strict=True):
            if isinstance(cache, RotatingKVCache):
                # mlx-lm writes into its arrays: the saved ones must stay as they are.
                cache.state = _copy(saved)
            else:
                cache.trim(cache.offset - saved)

    def _list_held(self) -> list[Any]:
        return [one for cache in self.caches for one in cache.state[:2]]


class RestoredVerifier(PortedVerifier):
    """Under a plan for each layer; the counterpart of the torch `Verifier`.

    Layers of one kind have one plan, since mlx-lm asks the first of a kind for the mask of all.

    Args:
        ported: the model.
        plans: for each layer that owns K/V.
        source: of restored K/V; needed where a plan restores.
        chunk: prompt positions in one forward at most.
        targets: as for any verifier.
    """

    def __init__(
        self,
        ported: PortedModel,
        plans: Mapping[int, Plan],
        source: Source | None = None,
        *,
        chunk: int = 256,
        targets: Sequence[int] = (),
    ) -> None:
        super().__init__(ported, chunk=chunk, targets=targets)
        owners = [layer for layer in ported.layers if layer.owns]
        kinds = {layer.kind: plans[layer.index] for layer in owners}
        if any(plans[layer.index] != kinds[layer.kind] for layer in owners):
            raise UsageError("layers of one kind need one plan in MLX", where="$.config.arms")
        self._source = source
        self.caches = [HeldCache(plans[layer.index], self._make_restore(layer)) for layer in owners]

    @property
    def restored(self) -> int:
        """Positions that were read restored, summed over layers and forwards."""
        return sum(cache.restored for cache in self.caches)

    def measure_bytes(self) -> dict[str, int]:
        """Bytes of the verifier's entries, of what the source holds, and of the drafter's."""
        source: list[mx.array] = [] if self._source is None else self._source.held()
        drafter: list[mx.array] = [] if self._source is None else self._source.held_by_drafter()
        entries = [one for cache in self.caches for one in cache.held()]
        return {
            "verifier": sum(one.nbytes for one in entries),
            # One array may stand for K and for V.
            "source": sum({id(one): one.nbytes for one in source}.values()),
            "drafter": sum(one.nbytes for one in drafter),
        }

    def save(self) -> Any:
        """See `PortedVerifier.save`; nothing is copied."""
        source = None if self._source is None else self._source.save()
        return [cache.save() for cache in self.caches], source

    def back(self, state: Any) -> None:
        """See `PortedVerifier.back`."""
        for cache, saved in zip(self.caches, state[0], strict=True):
            cache.back(saved)
        if self._source is not None:
            self._source.back(state[1])

    @contextlib.contextmanager
    def _attached(self, ids: mx.array) -> Iterator[None]:
        if self._source is None:
            yield
            return
        self._source.extend(ids)
        with capturing(self.ported.layers, self._source.catch):
            yield
        self._source.settle(self._find_first_needed())

    def _list_held(self) -> list[Any]:
        held = [one for cache in self.caches for one in cache.held()]
        if self._source is not None:
            held += self._source.held() + self._source.held_by_drafter()
        return held

    def _find_first_needed(self) -> int:
        """The first position that a later query may read restored."""
        seen: int = self.caches[0].offset
        plans: list[Plan] = [cache.plan for cache in self.caches if cache.plan.restored]
        return min([seen, *(plan.find_first_needed(seen) for plan in plans)])

    def _make_restore(self, layer: AttentionLayer) -> Any:
        def restore(low: int, high: int) -> Pair:
            assert self._source is not None, "a plan restores, so there must be a source"
            keys, values = self._source.restore(layer.index, low, high)
            return finish(layer, keys, values, low)

        return restore


def make_native_caches(ported: PortedModel) -> list[Any]:
    """The caches that mlx-lm makes for the model, or would if it knew its windows.

    Its Qwen3 leaves sliding windows out of its caches and so out of its masks.

    Raises:
        UsageError: one is of a kind whose rollback was never tried.
    """
    make = getattr(ported.model, "make_cache", None)
    caches: list[Any] = (
        make()
        if make
        else [
            KVCache() if layer.window is None else RotatingKVCache(layer.window)
            for layer in ported.layers
        ]
    )
    for cache in caches:
        if type(cache) not in (KVCache, RotatingKVCache):
            raise UsageError(
                f"no rollback is known for a {type(cache).__name__}", where="$.inputs.weights"
            )
    return caches


def _copy(state: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(mx.array(one) if isinstance(one, mx.array) else one for one in state)
