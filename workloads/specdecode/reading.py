"""A batch's text in the verifier: blocks are read, and any number of their tokens is kept.

K/V lie in buffers whose slots stand for positions (`workloads.shared.buffers`), rings for sliding
layers. So nothing is copied to roll back: what is not kept is written over. Rows of a batch may
keep different numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import Cache
from transformers.cache_utils import DummyLayer, DynamicLayer

from bridge.errors import UsageError
from workloads.shared.attention import to_additive
from workloads.shared.buffers import PositionBuffer
from workloads.shared.layers import find_decoder, list_attention_layers
from workloads.shared.restored.plans import bound
from workloads.shared.restored.sources import OwnSource
from workloads.shared.restored.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Read:
    """What one forward came to.

    Attributes:
        logits: (B, Q, V), or (B, 1, V) of the last position where that was asked for.
        features: (B, Q, n * hidden) outputs of the target layers, None where there are none.
    """

    logits: torch.Tensor
    features: torch.Tensor | None


class Reader(Protocol):
    """One batch's text.

    Attributes:
        starts: (1,) kept positions where all rows have the same, else (B,).
        end: the most kept positions of any row.
        device: where the model is.
    """

    starts: torch.Tensor
    end: int
    device: torch.device

    def attached(self) -> contextlib.AbstractContextManager[None]:
        """Features come out of forwards within it alone."""

    def read(self, ids: torch.Tensor, *, last: bool = False) -> Read:
        """Read tokens (B, Q) after what is kept."""

    def keep(self, counts: Sequence[int]) -> None:
        """Of what was read, keep so many tokens in each row, and forget the others."""


class PositionLayer(DynamicLayer):  # type: ignore[misc]
    """A transformers cache layer over a buffer; the reader says where the text stands."""

    def __init__(self, buffer: PositionBuffer, window: int | None, reader: PositionReader) -> None:
        super().__init__()
        self._buffer = buffer
        self._window = window
        self._reader = reader

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write (B, H, Q, D) entries, give all that there are, or all that may be seen."""
        del args, kwargs
        count = key_states.shape[-2]
        end = self._reader.end + count
        self._buffer.write(key_states, value_states, self._reader.starts, end)
        if self._window is not None and self._reader.sees_all(count):
            return self._buffer.read_last(end, self._window)
        return self._buffer.read(end)

    def get_seq_length(self) -> int:
        """The most kept positions."""
        return self._reader.end


class PositionReader:
    """The reader of an ordinary cache: full layers hold all positions, sliding ones their window.

    Args:
        model: the verifier.
        target_layers: layers whose outputs are wanted; none for plain decoding.
        longest: tokens in one forward at most; longer prompts are read in parts.
    """

    def __init__(
        self, model: Any, target_layers: Sequence[int] = (), *, longest: int = 256
    ) -> None:
        self.device = model.device
        self.starts = torch.zeros(1, dtype=torch.long, device=model.device)
        self.end = 0
        self._model = model
        self._targets = tuple(target_layers)
        self._longest = longest
        self._layers = list_attention_layers(model)
        self._buffers = {
            layer.index: PositionBuffer(
                ring=None if layer.window is None else layer.window + longest
            )
            for layer in self._layers
            if layer.owns
        }
        windows = {layer.index: layer.window for layer in self._layers}
        last = max(self._buffers)
        self._cache = Cache(
            layers=[
                PositionLayer(self._buffers[index], windows[index], self)
                if index in self._buffers
                else DummyLayer()
                for index in range(last + 1)
            ]
        )
        config = model.config.get_text_config(decoder=True)
        self._by_kind = getattr(config, "layer_types", None) is not None
        self._kinds = {layer.kind for layer in self._layers if layer.owns}
        self._full = all(layer.window is None for layer in self._layers)
        self._caught: dict[int, torch.Tensor] = {}

    def attached(self) -> contextlib.AbstractContextManager[None]:
        """See `Reader.attached`."""
        return catching(self._model, self._targets, self._caught)

    def sees_all(self, count: int) -> bool:
        """Whether `count` tokens may see every entry that their layers give them: no mask then."""
        return count == 1 and len(self.starts) == 1 and (self._by_kind or self._full)

    def read(self, ids: torch.Tensor, *, last: bool = False) -> Read:
        """See `Reader.read`; a text that is longer than a block must be the first."""
        if ids.shape[1] <= self._longest:
            return self._forward(ids, last=last)
        parts = []
        for part in ids.split(self._longest, dim=1):
            parts.append(self._forward(part, last=last))
            self.keep([part.shape[1]])
        self.starts, self.end = self.starts - ids.shape[1], self.end - ids.shape[1]
        return _concatenate(parts)

    def keep(self, counts: Sequence[int]) -> None:
        """See `Reader.keep`; one count stands for all rows."""
        if len(self.starts) == 1 and len(set(counts)) == 1:
            self.starts = self.starts + counts[0]
            self.end += counts[0]
            return
        self.starts = self.starts + torch.tensor(counts, device=self.device)
        self.end = int(self.starts.max())

    def measure_bytes(self) -> int:
        """Bytes allocated for K/V entries."""
        tensors = [
            tensor
            for buffer in self._buffers.values()
            for tensor in (buffer.keys, buffer.values)
            if tensor is not None
        ]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    def _forward(self, ids: torch.Tensor, *, last: bool) -> Read:
        count = ids.shape[1]
        positions = self.starts[:, None] + torch.arange(count, device=self.device)
        result = self._model(
            input_ids=ids,
            position_ids=positions.expand(len(ids), -1),
            attention_mask=self._make_masks(positions),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1 if last else 0,
        )
        return Read(result.logits, _join(self._caught, self._targets, count))

    def _make_masks(self, positions: torch.Tensor) -> Any:
        """Additive masks (R, 1, Q, K) by layer kind; None where every slot may be seen."""
        count = positions.shape[1]
        if self.sees_all(count):
            return dict.fromkeys(self._kinds) if self._by_kind else None
        masks: dict[str, torch.Tensor] = {}
        end = self.end + count
        for layer in self._layers:
            if not layer.owns or layer.kind in masks:
                continue
            held = self._buffers[layer.index].positions(positions[:, -1] + 1, end)[:, None, :]
            seen = held <= positions[..., None]
            if layer.window is not None:
                seen &= (held > positions[..., None] - layer.window) & (held >= 0)
            masks[layer.kind] = to_additive(seen, self._model.dtype)[0, 0, :, None]
        return masks if self._by_kind else next(iter(masks.values()))


@contextlib.contextmanager
def catching(
    model: Any, target_layers: Sequence[int], caught: dict[int, torch.Tensor]
) -> Iterator[None]:
    """Put the outputs (B, Q, hidden) of decoder layers into `caught` in every forward."""
    layers = find_decoder(model).layers
    handles = [
        layers[index].register_forward_hook(_make_hook(index, caught)) for index in target_layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _make_hook(index: int, caught: dict[int, torch.Tensor]) -> Any:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        del module, inputs
        caught[index] = output[0] if isinstance(output, tuple) else output

    return hook


class RestoredReader:
    """The reader of a restored cache: sink and window exact, the rest restored; one row.

    Args:
        model: the verifier.
        target_layers: layers whose outputs are wanted; none for plain decoding.
        sink: first positions that stay; `window` last ones.
        longest: tokens in one forward at most.
    """

    def __init__(
        self,
        model: Any,
        target_layers: Sequence[int] = (),
        *,
        sink: int,
        window: int,
        longest: int = 256,
    ) -> None:
        self.device = model.device
        self.starts = torch.zeros(1, dtype=torch.long, device=model.device)
        self.end = 0
        self._model = model
        self._targets = tuple(target_layers)
        self._longest = longest
        plan = bound(list_attention_layers(model), sink=sink, window=window, restored=True)
        self._verifier = Verifier(model, plan, OwnSource(), recording=True)
        self._unkept = 0
        self._caught: dict[int, torch.Tensor] = {}

    def attached(self) -> contextlib.AbstractContextManager[None]:
        """See `Reader.attached`."""
        return catching(self._model, self._targets, self._caught)

    @property
    def restored(self) -> int:
        """Positions that were read restored, summed over layers and forwards."""
        return self._verifier.restored

    def read(self, ids: torch.Tensor, *, last: bool = False) -> Read:
        """See `Reader.read`."""
        found: list[Read] = []
        for part in ids.split(self._longest, dim=1):
            if found:
                self._verifier.rollback(0)
            logits = self._verifier.read(part, last=last)
            found.append(Read(logits, _join(self._caught, self._targets, part.shape[1])))
        self._unkept = ids.shape[1]
        return _concatenate(found)

    def keep(self, counts: Sequence[int]) -> None:
        """See `Reader.keep`; of the last part at least one token stays, or all of it goes."""
        (count,) = set(counts)
        self._verifier.rollback(self._unkept - count)
        self.starts = self.starts + count
        self.end += count


def _join(caught: dict[int, torch.Tensor], targets: Sequence[int], count: int) -> Any:
    """Features (B, Q, n * hidden), None where there are no target layers."""
    if not targets:
        return None
    found = [caught.pop(index) for index in targets]
    if any(one.shape[1] != count for one in found):
        raise UsageError(
            "a target layer shares K/V, and does not see all of a prompt",
            where="$.config.target_layers",
        )
    return torch.cat(found, dim=-1)


def _concatenate(parts: Sequence[Read]) -> Read:
    """Parts of one text: the features of all, the logits of the last."""
    if len(parts) == 1 or parts[0].features is None:
        return parts[-1]
    features = torch.cat([one.features for one in parts if one.features is not None], dim=1)
    return Read(parts[-1].logits, features)
