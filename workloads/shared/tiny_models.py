"""Small models of transformers' own classes, to be trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from workloads.shared.synthetic import PAD, VOCABULARY

Family = Literal["gemma4", "gemma3", "qwen3", "llama"]


def build_tiny(
    family: Family,
    *,
    seed: int,
    hidden: int = 128,
    layers: int = 6,
    period: int = 6,
    window: int = 32,
    kv_heads: int = 4,
    global_kv_heads: int = 1,
    global_head_dim: int = 64,
    vocabulary: int = VOCABULARY,
    shared_layers: int = 0,
    k_eq_v: bool = True,
) -> Any:
    """A randomly initialised causal language model, the same for the same seed.

    Args:
        family: whose class; `llama` has full attention alone.
        seed: of the weights.
        hidden: width; heads are 32 wide.
        layers: how many.
        period: every `period`-th layer has full attention, the others a sliding window.
        window: of the sliding layers, in positions.
        kv_heads: K/V heads.
        global_kv_heads: those of full layers (gemma4 alone).
        global_head_dim: width of a head in full layers (gemma4 alone).
        vocabulary: how many tokens.
        shared_layers: last layers that use the K/V of earlier ones (gemma4 alone).
        k_eq_v: whether full layers project K and V alike (gemma4 alone).
    """
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, hidden // 32),
        "num_key_value_heads": min(kv_heads, max(1, hidden // 32)),
        "head_dim": 32,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "pad_token_id": PAD,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    kinds = list_layer_types(layers, period)
    builder: dict[str, Any] = {
        "gemma4": _build_gemma4,
        "gemma3": _build_gemma3,
        "qwen3": _build_qwen3,
    }
    if family == "llama":
        return _build_llama(sizes)
    extra = (
        {
            "heads": global_kv_heads,
            "head_dim": global_head_dim,
            "shared": shared_layers,
            "k_eq_v": k_eq_v,
        }
        if family == "gemma4"
        else {}
    )
    return builder[family](sizes, kinds, window, **extra)


def list_layer_types(layers: int, period: int) -> list[str]:
    """Layer types with full attention in every `period`-th layer."""
    return [
        "full_attention" if (layer + 1) % period == 0 else "sliding_attention"
        for layer in range(layers)
    ]


def _build_gemma4(
    sizes: dict[str, Any],
    kinds: Sequence[str],
    window: int,
    *,
    heads: int,
    head_dim: int,
    shared: int,
    k_eq_v: bool,
) -> Any:
    from transformers import Gemma4ForCausalLM, Gemma4TextConfig

    config = Gemma4TextConfig(
        **sizes,
        layer_types=list(kinds),
        sliding_window=window,
        global_head_dim=head_dim,
        num_global_key_value_heads=heads,
        attention_k_eq_v=k_eq_v,
        num_kv_shared_layers=shared,
        # Without it, transformers 5.23 cannot cut the prompt short before layers that share K/V.
        hidden_size_per_layer_input=16 if shared else 0,
        vocab_size_per_layer_input=sizes["vocab_size"],
    )
    return Gemma4ForCausalLM(config)


def _build_gemma3(sizes: dict[str, Any], kinds: Sequence[str], window: int) -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        **sizes, layer_types=list(kinds), sliding_window=window, query_pre_attn_scalar=4
    )
    return Gemma3ForCausalLM(config)


def _build_qwen3(sizes: dict[str, Any], kinds: Sequence[str], window: int) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        **sizes,
        layer_types=list(kinds),
        sliding_window=window,
        use_sliding_window="sliding_attention" in kinds,
        max_window_layers=0,
    )
    return Qwen3ForCausalLM(config)


def _build_llama(sizes: dict[str, Any]) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**sizes))
