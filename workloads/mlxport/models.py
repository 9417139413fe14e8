"""mlx-lm models from folders that transformers wrote, and their attention layers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
from mlx import nn
from mlx_lm.utils import load_model

from bridge.errors import UsageError
from workloads.shared.layers import FULL, SLIDING, AttentionLayer

MlxDevice = Literal["auto", "cpu", "gpu"]
MlxDtype = Literal["stored", "float32", "bfloat16"]
# What the layers, caches and masks here were compared with torch on.
CLASSES = ("gemma4", "gemma4_text", "llama", "qwen3")

Catch = Callable[[int, mx.array, mx.array], None]


@dataclass(frozen=True, slots=True)
class PortedModel:
    """An mlx-lm model.

    Attributes:
        decoder: its text model without the head; it has `layers` and `embed_tokens`.
        layers: its attention layers; `module` is mlx-lm's.
    """

    model: Any
    decoder: Any
    layers: list[AttentionLayer]

    @property
    def dtype(self) -> Any:
        """Of norms, and so of activations and K/V; weights may be quantised."""
        return self.decoder.norm.weight.dtype

    def head(self, hidden: mx.array) -> mx.array:
        """Logits of hidden states (..., H), with the model's softcap where it has one."""
        text = getattr(self.model, "language_model", self.model)
        if hasattr(text, "lm_head"):
            logits = text.lm_head(hidden)
        else:
            logits = self.decoder.embed_tokens.as_linear(hidden)
        cap = getattr(text, "final_logit_softcapping", None)
        return logits if cap is None else mx.tanh(logits / cap) * cap


def choose_device(device: MlxDevice) -> str:
    """Make `device` MLX's default, `auto` leaves its own choice: Metal where there is a Mac.

    Raises:
        UsageError: there is no GPU that MLX can use.
    """
    if device == "gpu" and mx.default_device().type != mx.gpu:
        raise UsageError(
            "MLX finds no GPU here", where="$.config.mlx_device", remedy="set mlx_device to auto"
        )
    if device == "cpu":
        mx.set_default_device(mx.cpu)
    if mx.default_device().type == mx.cpu:
        # There MLX compiles by starting a C++ compiler and loads what lies in /tmp/mlx: a
        # workload starts no process, and takes no code from a folder that others may write to.
        mx.disable_compile()
    return str(mx.default_device())


def load(folder: Path, *, dtype: MlxDtype = "stored", depth: int | None = None) -> PortedModel:
    """The model in `folder`, which transformers or mlx-lm wrote.

    Args:
        folder: config and weights.
        dtype: of the weights; `stored` leaves them as they are.
        depth: how many of its first layers, None for all.

    Raises:
        UsageError: mlx-lm cannot load it, or would compute something else than transformers.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        _refuse(config)
        model, _ = load_model(folder, model_config=patch_config(config))
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"no model that MLX can load: {error}", where=str(folder)) from error
    if dtype != "stored":
        model.set_dtype(getattr(mx, dtype))
        mx.eval(model.parameters())
    text = getattr(model, "language_model", model)
    layers = _list_layers(config, text.model)
    text.model.layers = text.model.layers[:depth]
    return PortedModel(model, text.model, layers[:depth])


def patch_config(config: dict[str, Any]) -> dict[str, Any]:
    """What mlx-lm reads under other keys than transformers 5 writes, to lay over `config`.

    transformers keeps what differs by layer in `per_layer_config`, where mlx-lm expects
    `global_head_dim` and `num_global_key_value_heads`, and takes widths of its own without them;
    `rope_theta` lies in `rope_parameters`.
    """
    text = config.get("text_config") or config
    patch: dict[str, Any] = {}
    if str(text.get("model_type", "")).startswith("gemma4") and "global_head_dim" not in text:
        full = [index for index, kind in enumerate(text["layer_types"]) if kind == FULL]
        own = (text.get("per_layer_config") or {}).get(str(full[0]), {}) if full else {}
        patch["global_head_dim"] = own.get("head_dim", text["head_dim"])
        patch["num_global_key_value_heads"] = own.get(
            "num_key_value_heads", text["num_key_value_heads"]
        )
    theta = (text.get("rope_parameters") or {}).get("rope_theta")
    if theta is not None and "rope_theta" not in text:
        patch["rope_theta"] = theta
    return {"text_config": text | patch} if "text_config" in config else patch


def _refuse(config: dict[str, Any]) -> None:
    text = config.get("text_config") or config
    kind = str(text.get("model_type"))
    if kind not in CLASSES:
        raise ValueError(f"a {kind!r} was never compared with torch; known are {CLASSES}")
    kinds = text.get("layer_types") or [FULL]
    if kind.startswith("gemma4") and kinds[-1] != FULL:
        raise ValueError("transformers gives the last layer of a Gemma-4 full attention, MLX not")
    if kind == "qwen3" and set(kinds) == {FULL, SLIDING}:
        raise ValueError("mlx-lm's Qwen3 has one mask for all layers: no hybrid one")


def _list_layers(config: dict[str, Any], decoder: Any) -> list[AttentionLayer]:
    text = config.get("text_config") or config
    kinds = text.get("layer_types") or [FULL] * len(decoder.layers)
    found = []
    for index, (layer, kind) in enumerate(zip(decoder.layers, kinds, strict=True)):
        module = layer.self_attn
        owns = bool(getattr(module, "has_kv", True))
        width = int(getattr(module, "head_dim", 0) or text["head_dim"])
        window = int(text["sliding_window"]) if kind == SLIDING else None
        heads = int(module.n_kv_heads) if owns else 0
        found.append(AttentionLayer(index, module, kind, window, heads, width, owns))
    return found


def finish(
    layer: AttentionLayer, keys: mx.array, values: mx.array, start: int
) -> tuple[mx.array, mx.array]:
    """Raw K and V (B, T, width) at positions `start` and on, as attention reads them."""
    module = layer.module
    heads = [raw.reshape(*raw.shape[:2], -1, layer.head_dim) for raw in (keys, values)]
    normed = [
        getattr(module, name)(one) if hasattr(module, name) else one
        for name, one in zip(("k_norm", "v_norm"), heads, strict=True)
    ]
    keys, values = (one.transpose(0, 2, 1, 3) for one in normed)
    return module.rope(keys, offset=start), values


class _Tap(nn.Module):  # type: ignore[misc]
    """A projection whose output is handed on."""

    def __init__(self, inner: Any, take: Callable[[mx.array], None]) -> None:
        super().__init__()
        self.inner = inner
        self._take = take

    def __call__(self, hidden: mx.array) -> mx.array:
        output = self.inner(hidden)
        self._take(output)
        return output


@contextlib.contextmanager
def capturing(layers: Sequence[AttentionLayer], catch: Catch) -> Iterator[None]:
    """Call `catch(layer, raw K, raw V)`, (B, T, width) each, in every forward of the model.

    It is called before the layer writes its cache. A layer without `v_proj` takes V from K.
    MLX has no hooks: the two projections are wrapped, and put back.
    """
    owners = [layer for layer in layers if layer.owns]
    keys: dict[int, mx.array] = {}

    def take(index: int, name: str, shared: bool) -> Callable[[mx.array], None]:
        def act(output: mx.array) -> None:
            if name == "v_proj":
                catch(index, keys.pop(index), output)
            elif shared:
                catch(index, output, output)
            else:
                keys[index] = output

        return act

    wrapped = []
    for layer in owners:
        shared = not hasattr(layer.module, "v_proj")
        for name in ("k_proj",) if shared else ("k_proj", "v_proj"):
            inner = getattr(layer.module, name)
            wrapped.append((layer.module, name, inner))
            setattr(layer.module, name, _Tap(inner, take(layer.index, name, shared)))
    try:
        yield
    finally:
        for module, name, inner in wrapped:
            setattr(module, name, inner)


class _LayerTap:
    """A decoder layer whose output is handed on; everything else of it stays visible."""

    def __init__(self, inner: Any, take: Callable[[mx.array], None]) -> None:
        self._inner = inner
        self._take = take

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self._inner(*args, **kwargs)
        self._take(output[0] if isinstance(output, tuple) else output)
        return output


@contextlib.contextmanager
def watching(
    ported: PortedModel, indices: Sequence[int], take: Callable[[mx.array], None]
) -> Iterator[None]:
    """Call `take(output)`, (B, Q, hidden), for each decoder layer of `indices`, in their order."""
    layers = ported.decoder.layers
    kept = {index: layers[index] for index in indices}
    try:
        for index, layer in kept.items():
            layers[index] = _LayerTap(layer, take)
        yield
    finally:
        for index, layer in kept.items():
            layers[index] = layer
