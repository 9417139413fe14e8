"""Tiny random language models with a tokenizer, and a little haystack, for tests of workloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SENTENCES = (
    "The river runs past the old mill at dawn.",
    "Nobody knew why the clock had stopped again!",
    "Is it the wind, e.g. from the north, or the sea?",
    "A good essay begins where the last one ended.",
    "She counted 7 boats and 12 birds, and went home.",
)
SIZES = {
    "vocab_size": 600,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
MIXED = ["sliding_attention", "full_attention"]


def write_essays(folder: Path, sentences: int = 400) -> Path:
    """Two files of plain sentences."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, shift in (("b.txt", 0), ("a.txt", 2)):
        lines = [SENTENCES[(shift + step) % len(SENTENCES)] for step in range(sentences // 2)]
        (folder / name).write_text(" ".join(lines), "utf-8")
    return folder


def make_tokenizer(*, chat: bool = False) -> Any:
    """A byte-level tokenizer trained on the little haystack."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZES["vocab_size"],
        special_tokens=["<pad>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 20, trainer)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
    made.chat_template = CHAT if chat else None
    return made


def make_llama(**changes: Any) -> Any:
    """Full attention in every layer."""
    return _make(transformers.LlamaForCausalLM, transformers.LlamaConfig(**(SIZES | changes)))


def make_mistral() -> Any:
    """One sliding window for all layers, and one mask."""
    return _make(
        transformers.MistralForCausalLM, transformers.MistralConfig(**SIZES, sliding_window=9)
    )


def make_qwen3() -> Any:
    """A full and a sliding layer, masks by layer type."""
    config = transformers.Qwen3Config(
        **SIZES, layer_types=MIXED, use_sliding_window=True, sliding_window=9
    )
    return _make(transformers.Qwen3ForCausalLM, config)


def make_gemma3() -> Any:
    """A full and a sliding layer of different rotary bases."""
    config = transformers.Gemma3TextConfig(**SIZES, layer_types=MIXED, sliding_window=9)
    return _make(transformers.Gemma3ForCausalLM, config)


def make_gemma4() -> Any:
    """The last two of four layers use the K/V of the first two."""
    config = transformers.Gemma4TextConfig(
        **(SIZES | {"num_hidden_layers": 4}),
        layer_types=MIXED * 2,
        sliding_window=9,
        num_kv_shared_layers=2,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=SIZES["vocab_size"],
    )
    return _make(transformers.Gemma4ForCausalLM, config)


def make_large_gemma4(**changes: Any) -> Any:
    """The classes and the shape of Gemma-4-26B-A4B (experts, K as V, 5:1, softcap), very small."""
    shape = {
        "num_hidden_layers": 6,
        "global_head_dim": 16,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "sliding_window": 48,
        "max_position_embeddings": 2048,
        "hidden_size_per_layer_input": 0,
        "enable_moe_block": True,
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 16,
        "final_logit_softcapping": 30.0,
    }
    config = transformers.Gemma4TextConfig(**(SIZES | shape | changes))
    return _make(transformers.Gemma4ForCausalLM, config)


def make_gpt2() -> Any:
    """Learned absolute positions."""
    config = transformers.GPT2Config(
        vocab_size=SIZES["vocab_size"], n_embd=32, n_layer=2, n_head=4, n_positions=512
    )
    return _make(transformers.GPT2LMHeadModel, config)


def make_lfm2() -> Any:
    """Convolutions between attention layers: no K/V window can stand for them."""
    config = transformers.Lfm2Config(
        **SIZES, layer_types=["conv", "full_attention"], block_ff_dim=64
    )
    return _make(transformers.Lfm2ForCausalLM, config)


def write_model(folder: Path, **changes: Any) -> Path:
    """A tiny llama and its tokenizer as a model folder."""
    save(make_llama(**changes), folder)
    return folder


def save(model: Any, folder: Path) -> Any:
    """The model, written as a model folder with a tokenizer."""
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return model


def _make(model_class: Any, config: Any) -> Any:
    torch.manual_seed(0)
    config._attn_implementation = "sdpa"
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # larger than usual, so that attention is far from uniform
                parameter.normal_(0.0, 0.25)
    return model
