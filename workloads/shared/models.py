"""Causal language models and their tokenizers, from a local folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from bridge.errors import MissingPartError, UsageError

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model ready for inference, on its device, with its tokenizer."""

    model: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype

    @property
    def max_positions(self) -> int | None:
        """How many positions the model was made for, None where its config does not say."""
        config = self.model.config.get_text_config(decoder=True)
        return getattr(config, "max_position_embeddings", None)


def load(path: Path, *, device: Device = "auto", dtype: Dtype = "auto") -> LanguageModel:
    """The causal language model in the folder `path`, any that transformers' Auto classes know.

    Nothing is downloaded, and no code from the folder runs.

    Raises:
        UsageError: the folder holds no such model, or the device is not there.
        MissingPartError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingPartError(
            "transformers is not installed", remedy="pip install 'kakeya-remote[workloads]'"
        ) from error
    chosen = choose_device(device)
    wanted = choose_dtype(dtype, chosen)
    with _without_bars(transformers):
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                path, dtype=wanted, local_files_only=True, trust_remote_code=False
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"no causal language model that transformers can load: {error}", where=str(path)
            ) from error
    return LanguageModel(model.eval().to(chosen), tokenizer, chosen, wanted)


def choose_device(device: Device) -> torch.device:
    """The device to compute on; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UsageError: the device asked for is not there.
    """
    found = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return torch.device(next(name for name, there in found.items() if there))
    if not found[device]:
        raise UsageError(
            f"torch finds no {device} device here",
            where="$.config.device",
            remedy="set device to auto or cpu",
        )
    return torch.device(device)


def choose_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """The dtype of weights and K/V; `auto` takes bfloat16 where the device computes in it.

    On a CPU that is one with AVX512-BF16 or AMX, where a 135M model is 2.5 times as fast as in
    float32; on others bfloat16 is emulated, and slower.
    """
    if dtype != "auto":
        chosen: torch.dtype = getattr(torch, dtype)
        return chosen
    if device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if native else torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


@contextlib.contextmanager
def _without_bars(transformers: Any) -> Iterator[None]:
    """Loading bars say nothing in a log file; ours is the one bar of a workload."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
