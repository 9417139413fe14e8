"""Where restored K/V come from: a projection of a drafter's, the verifier's own, or a mix."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from transformers import DynamicCache

from workloads.shared.layers import capturing, list_attention_layers
from workloads.shared.restored.projection import FThetaProjection
from workloads.shared.restored.rows import Pair, Rows


class Source(Protocol):
    """Raw K/V of evicted positions. Positions come in order; rows may be freed as they go by."""

    def extend(self, ids: torch.Tensor, positions: torch.Tensor) -> None:
        """Take the tokens (B, Q) at `positions` (Q,), before the verifier reads them."""

    def catch(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Take the verifier's own raw K/V (B, Q, width) of the same tokens."""

    def restore(self, layer: int, low: int, high: int) -> Pair:
        """Raw K and V (B, high - low, width) at positions low to high - 1."""

    def settle(self, first: int) -> None:
        """No position before `first` will be asked for again: free what only they need."""

    def record(self) -> None:
        """From the start of a text on, be ready to roll back; every read is followed by one."""

    def rollback(self, count: int) -> None:
        """Forget the last `count` positions of the last read."""

    def held(self) -> list[torch.Tensor]:
        """Every tensor that is held for evicted positions, the drafter's own cache apart."""

    def held_by_drafter(self) -> list[torch.Tensor]:
        """The tensors of the drafter's cache."""


class Drafter:
    """A small model whose raw K/V are the features of a projection.

    It reads the text once, with its own cache, which a sliding window bounds where it has one.
    """

    def __init__(self, model: Any, *, depth: int | None = None) -> None:
        self.model = model
        self.layers = [
            layer
            for layer in list_attention_layers(model)
            if layer.owns and (depth is None or layer.index < depth)
        ]
        self._cache: Any = None
        self._caught: dict[int, Pair] = {}

    @property
    def features(self) -> int:
        """Width of the features of K (as of V)."""
        return sum(layer.width for layer in self.layers)

    def restart(self) -> None:
        """Start a text that comes in parts."""
        self._cache = DynamicCache(config=self.model.config)

    def record(self) -> None:
        """Keep what a window leaves behind until `rollback`."""
        assert self._cache is not None, "a text was started"
        self._cache.activate_past_recording()

    def rollback(self, count: int) -> None:
        """Forget the last `count` tokens, and free what the window has left behind."""
        assert self._cache is not None, "a text was started"
        self._cache.crop(-count)
        self._trim()

    def forget(self) -> None:
        """Read whole texts from now on, each for itself and without a cache."""
        self._cache = None

    def read(self, ids: torch.Tensor, positions: torch.Tensor) -> Pair:
        """Features of K and of V, (B, Q, features) each, of tokens that follow those before."""
        with capturing(self.layers, self._catch):
            self.model(
                input_ids=ids,
                position_ids=positions[None].expand(ids.shape[0], -1),
                past_key_values=self._cache,
                use_cache=self._cache is not None,
                logits_to_keep=1,
            )
        self._trim()
        return self._join()

    def _trim(self) -> None:
        """Free what the window has left behind: transformers keeps a view of the longer tensor."""
        for layer in () if self._cache is None else self._cache.layers:
            for name in ("keys", "values"):
                kept = getattr(layer, name, None)
                if isinstance(kept, torch.Tensor) and _is_view(kept):
                    setattr(layer, name, kept.clone())

    def _catch(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        self._caught[layer] = keys, values

    def _join(self) -> Pair:
        caught = [self._caught[layer.index] for layer in self.layers]
        self._caught = {}
        return torch.cat([pair[0] for pair in caught], -1), torch.cat([p[1] for p in caught], -1)

    def held(self) -> list[torch.Tensor]:
        """The tensors of its cache."""
        layers = [] if self._cache is None else self._cache.layers
        return [
            tensor
            for layer in layers
            for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
            if isinstance(tensor, torch.Tensor)
        ]


def _is_view(tensor: torch.Tensor) -> bool:
    return bool(tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size())


class ProjectedSource:
    """f_theta over a drafter: the latents are held, K/V are decoded when a layer asks."""

    def __init__(self, drafter: Drafter, projection: FThetaProjection) -> None:
        self.drafter = drafter
        self.latents = Rows()
        self._projection = projection
        drafter.restart()

    def extend(self, ids: torch.Tensor, positions: torch.Tensor) -> None:
        """See `Source.extend`."""
        self.latents.append(*self._projection.encode(*self.drafter.read(ids, positions)))

    def catch(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """The verifier's own are not needed."""

    def restore(self, layer: int, low: int, high: int) -> Pair:
        """See `Source.restore`."""
        return self._projection.decode(layer, self.latents.take(low, high))

    def settle(self, first: int) -> None:
        """See `Source.settle`."""
        self.latents.settle(first)

    def record(self) -> None:
        """See `Source.record`."""
        self.drafter.record()

    def rollback(self, count: int) -> None:
        """See `Source.rollback`."""
        self.latents.drop(count)
        self.drafter.rollback(count)

    def held(self) -> list[torch.Tensor]:
        """The latents."""
        return self.latents.held()

    def held_by_drafter(self) -> list[torch.Tensor]:
        """See `Source.held_by_drafter`."""
        return self.drafter.held()


class OwnSource:
    """The verifier's own K/V, through the same path: the identity control. It holds them all."""

    def __init__(self) -> None:
        self._rows: dict[int, Rows] = {}

    def extend(self, ids: torch.Tensor, positions: torch.Tensor) -> None:
        """Nothing to do before the verifier reads them."""

    def catch(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """See `Source.catch`."""
        self._rows.setdefault(layer, Rows()).append(keys, values)

    def restore(self, layer: int, low: int, high: int) -> Pair:
        """See `Source.restore`."""
        return self._rows[layer].take(low, high)

    def settle(self, first: int) -> None:
        """See `Source.settle`."""
        for rows in self._rows.values():
            rows.settle(first)

    def record(self) -> None:
        """Rows can always be dropped."""

    def rollback(self, count: int) -> None:
        """See `Source.rollback`."""
        for rows in self._rows.values():
            rows.drop(count)

    def held(self) -> list[torch.Tensor]:
        """Everything it caught."""
        return [tensor for rows in self._rows.values() for tensor in rows.held()]

    def held_by_drafter(self) -> list[torch.Tensor]:
        """There is no drafter."""
        return []


class MixedSource:
    """`alpha` of the verifier's own raw K/V and the rest projected: a dial of fidelity.

    Attributes:
        errors: layer to sums of squares (K error, K, V error, V) over all that was restored.
    """

    def __init__(self, own: OwnSource, projected: ProjectedSource, alpha: float) -> None:
        self._own = own
        self._projected = projected
        self._alpha = alpha
        self.errors: dict[int, torch.Tensor] = {}

    def extend(self, ids: torch.Tensor, positions: torch.Tensor) -> None:
        """See `Source.extend`."""
        self._projected.extend(ids, positions)

    def catch(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """See `Source.catch`."""
        self._own.catch(layer, keys, values)

    def restore(self, layer: int, low: int, high: int) -> Pair:
        """See `Source.restore`."""
        own = self._own.restore(layer, low, high)
        projected = self._projected.restore(layer, low, high)
        mixed = [
            self._alpha * left + (1 - self._alpha) * right
            for left, right in zip(own, projected, strict=True)
        ]
        sums = [
            part
            for left, right in zip(own, mixed, strict=True)
            for part in ((left - right).double().square().sum(), left.double().square().sum())
        ]
        self.errors[layer] = self.errors.get(layer, 0) + torch.stack(sums)
        return mixed[0], mixed[1]

    def settle(self, first: int) -> None:
        """See `Source.settle`."""
        self._own.settle(first)
        self._projected.settle(first)

    def record(self) -> None:
        """See `Source.record`."""
        self._projected.record()

    def rollback(self, count: int) -> None:
        """See `Source.rollback`."""
        self._own.rollback(count)
        self._projected.rollback(count)

    def held(self) -> list[torch.Tensor]:
        """What both hold."""
        return [*self._own.held(), *self._projected.held()]

    def held_by_drafter(self) -> list[torch.Tensor]:
        """See `Source.held_by_drafter`."""
        return self._projected.held_by_drafter()
