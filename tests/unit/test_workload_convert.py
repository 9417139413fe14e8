"""GGUF to a plain model folder: the same model, the same bytes, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny_language
from workloads.shared import models
from workloads.shared.convert import main

gguf = pytest.importorskip("gguf")

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
EDGES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def permute(weight: np.ndarray, heads: int) -> np.ndarray:
    """The order of rotary halves that llama.cpp stores."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1)
    return np.ascontiguousarray(rows.swapaxes(1, 2).reshape(weight.shape))


def write_gguf(path: Path, model: Any, tokenizer: Any) -> Path:
    """A tiny llama as llama.cpp would write it, in float32."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    _write_tokenizer(writer, json.loads(tokenizer.backend_tokenizer.to_str()), config.vocab_size)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        weight = tensor.numpy()
        stem = name.removesuffix(".weight")
        if stem in EDGES:
            writer.add_tensor(f"{EDGES[stem]}.weight", weight)
            continue
        _, _, layer, part = stem.split(".", 3)
        kind = part.split(".")[-1]
        stored = permute(weight, heads[kind]) if kind in heads else weight
        writer.add_tensor(f"blk.{layer}.{NAMES[part]}.weight", stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_tokenizer(writer: Any, described: dict[str, Any], size: int) -> None:
    known = {index: token for token, index in described["model"]["vocab"].items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([known.get(index, f"<unused{index}>") for index in range(size)])
    writer.add_token_types([1] * size)
    merges = described["model"]["merges"]
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    model, tokenizer = tiny_language.make_llama(), tiny_language.make_tokenizer()
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return write_gguf(path, model, tokenizer), model, tokenizer


def convert(path: Path, out: Path) -> int:
    return main(["--gguf", str(path), "--out", str(out)])


def digest_files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_folder_holds_the_same_model_and_tokenizer(
    source: tuple[Path, Any, Any], tmp_path: Path
) -> None:
    path, model, tokenizer = source
    assert convert(path, tmp_path / "model") == 0
    loaded = models.load(tmp_path / "model", device="cpu", dtype="float32")
    assert type(loaded.model) is type(model)
    assert not hasattr(loaded.model.config, "quantization_config")
    assert loaded.max_positions == model.config.max_position_embeddings
    text = "The river runs past the old mill at dawn."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert loaded.tokenizer(text)["input_ids"] == ids[0].tolist()
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(ids).logits, model(ids).logits)


def test_a_second_conversion_gives_the_same_bytes(
    source: tuple[Path, Any, Any], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        assert convert(source[0], tmp_path / name) == 0
    one = digest_files(tmp_path / "one")
    assert one == digest_files(tmp_path / "two")
    assert "model.safetensors" in one


def test_a_folder_that_is_there_is_left_alone(
    source: tuple[Path, Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    assert convert(source[0], tmp_path / "model") == 2
    assert "exists already" in capsys.readouterr().err
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"GGUF and then nothing that fits"])
def test_what_is_no_gguf_leaves_nothing_behind(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in" / "x.gguf"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    assert convert(path, tmp_path / "out" / "model") == 2
    assert str(path) in capsys.readouterr().err
    assert list((tmp_path / "out").glob("*")) == []
