"""Where restored K/V come from in MLX: a projection of a drafter's, or the verifier's own."""

from __future__ import annotations

from typing import Any, Protocol

import mlx.core as mx

from workloads.mlxport.caches import HeldCache
from workloads.mlxport.models import PortedModel, capturing
from workloads.mlxport.projection import Pair, PortedProjection
from workloads.shared.restored import plans


class Source(Protocol):
    """Raw K/V of evicted positions; the counterpart of the torch `Source`."""

    def extend(self, ids: mx.array) -> None:
        """Take the next tokens (B, Q), before the verifier reads them."""

    def catch(self, layer: int, keys: mx.array, values: mx.array) -> None:
        """Take the verifier's own raw K/V (B, Q, width) of the same tokens."""

    def restore(self, layer: int, low: int, high: int) -> Pair:
        """Raw K and V (B, high - low, width) at positions low to high - 1."""

    def settle(self, first: int) -> None:
        """No position before `first` will be asked for again."""

    def held(self) -> list[mx.array]:
        """Every array that is held for evicted positions, the drafter's own cache apart."""

    def held_by_drafter(self) -> list[mx.array]:
        """The arrays of the drafter's cache."""

    def save(self) -> Any:
        """What `back` returns to."""

    def back(self, state: Any) -> None:
        """Return to a saved state."""


class Rows:
    """A pair of arrays that grows along positions and is freed from the front."""

    def __init__(self) -> None:
        self.pair: Pair | None = None
        self.first = 0

    def append(self, keys: mx.array, values: mx.array) -> None:
        """Add (B, Q, ...) rows."""
        if self.pair is not None:
            keys = mx.concatenate([self.pair[0], keys], axis=1)
            values = mx.concatenate([self.pair[1], values], axis=1)
        self.pair = keys, values

    def take(self, low: int, high: int) -> Pair:
        """The rows at positions low to high - 1."""
        assert self.pair is not None
        assert low >= self.first, "asked for a position whose rows were freed"
        span = slice(low - self.first, high - self.first)
        return self.pair[0][:, span], self.pair[1][:, span]

    def settle(self, first: int) -> None:
        """Free the rows before `first`; the copy that stays is of its own size."""
        if self.pair is not None and first > self.first:
            start = first - self.first
            self.pair = (
                mx.contiguous(self.pair[0][:, start:]),
                mx.contiguous(self.pair[1][:, start:]),
            )
            self.first = first

    def held(self) -> list[mx.array]:
        """The arrays."""
        return list(self.pair or ())


class PortedDrafter:
    """A small model whose raw K/V are the features of a projection; it reads the text once."""

    def __init__(self, ported: PortedModel) -> None:
        self._ported = ported
        native = plans.keep_native(ported.layers)
        self.caches = [HeldCache(plan) for plan in native.values()]
        self._caught: dict[int, Pair] = {}

    def read(self, ids: mx.array) -> Pair:
        """Features of K and of V, (B, Q, features) each, of tokens that follow those before."""
        with capturing(self._ported.layers, self._catch):
            self._ported.decoder(ids, cache=self.caches)
        caught = [self._caught[index] for index in sorted(self._caught)]
        self._caught = {}
        return (
            mx.concatenate([keys for keys, _ in caught], axis=-1),
            mx.concatenate([values for _, values in caught], axis=-1),
        )

    def _catch(self, layer: int, keys: mx.array, values: mx.array) -> None:
        self._caught[layer] = keys, values


class ProjectedSource:
    """f_theta over a drafter: the latents are held, K/V are decoded when a layer asks."""

    def __init__(self, drafter: PortedDrafter, projection: PortedProjection) -> None:
        self.latents = Rows()
        self._drafter = drafter
        self._projection = projection

    def extend(self, ids: mx.array) -> None:
        """See `Source.extend`."""
        self.latents.append(*self._projection.encode(*self._drafter.read(ids)))

    def catch(self, layer: int, keys: mx.array, values: mx.array) -> None:
        """The verifier's own are not needed."""

    def restore(self, layer: int, low: int, high: int) -> Pair:
        """See `Source.restore`."""
        return self._projection.decode(layer, self.latents.take(low, high))

    def settle(self, first: int) -> None:
        """See `Source.settle`."""
        self.latents.settle(first)

    def held(self) -> list[mx.array]:
        """The latents."""
        return self.latents.held()

    def held_by_drafter(self) -> list[mx.array]:
        """See `Source.held_by_drafter`."""
        return [one for cache in self._drafter.caches for one in cache.held()]

    def save(self) -> Any:
        """See `Source.save`."""
        caches = [cache.save() for cache in self._drafter.caches]
        return self.latents.pair, self.latents.first, caches

    def back(self, state: Any) -> None:
        """See `Source.back`."""
        self.latents.pair, self.latents.first, caches = state
        for cache, saved in zip(self._drafter.caches, caches, strict=True):
            cache.back(saved)


class OwnSource:
    """The verifier's own K/V, through the same path: the identity control. It holds them all."""

    def __init__(self) -> None:
        self._rows: dict[int, Rows] = {}

    def extend(self, ids: mx.array) -> None:
        """Nothing to do before the verifier reads them."""

    def catch(self, layer: int, keys: mx.array, values: mx.array) -> None:
        """See `Source.catch`."""
        self._rows.setdefault(layer, Rows()).append(keys, values)

    def restore(self, layer: int, low: int, high: int) -> Pair:
        """See `Source.restore`."""
        return self._rows[layer].take(low, high)

    def settle(self, first: int) -> None:
        """See `Source.settle`."""
        for rows in self._rows.values():
            rows.settle(first)

    def held(self) -> list[mx.array]:
        """Everything it caught."""
        return [one for rows in self._rows.values() for one in rows.held()]

    def held_by_drafter(self) -> list[mx.array]:
        """There is no drafter."""
        return []

    def save(self) -> Any:
        """See `Source.save`."""
        return {layer: (rows.pair, rows.first) for layer, rows in self._rows.items()}

    def back(self, state: Any) -> None:
        """See `Source.back`."""
        for layer, (pair, first) in state.items():
            self._rows[layer].pair, self._rows[layer].first = pair, first
