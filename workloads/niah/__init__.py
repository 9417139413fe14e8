"""Needle in a haystack: what a language model still finds, by context length, depth and arm.

Every arm answers the same prompts. `full` attends to all of the prompt, `sink_window` to the
first few and the last few positions (the K/V entries between are evicted), and `absent` attends
to all of a prompt that holds no needle: it must find nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import torch

from bridge.errors import UsageError
from workloads.niah.arms import ARMS
from workloads.niah.config import Config
from workloads.niah.plan import Batch, Unit, plan_batches
from workloads.shared import models
from workloads.shared.context import Context
from workloads.shared.decoding import Decoded, decode_greedy
from workloads.shared.journal import Entry
from workloads.shared.models import LanguageModel
from workloads.shared.needles import Haystack, Prompt
from workloads.shared.samples import Sample

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> None:
    """Run the ladder; inputs are `weights` (a model folder) and `essays` (a folder of texts)."""
    context.progress(0, None, "loading the model")
    language = models.load(context.input("weights"), device=config.device, dtype=config.dtype)
    _check_lengths(config, language)
    haystack = Haystack.read(language.tokenizer, context.input("essays"), chat=config.chat)
    _state_facts(context, language)
    batches = plan_batches(config)
    for step, batch in enumerate(batches, start=1):
        if not context.resume(batch.key):
            context.commit(batch.key, _measure(config, language, haystack, batch))
        context.progress(step, len(batches), f"niah {batch.arm} at {batch.context} tokens")


def _check_lengths(config: Config, language: LanguageModel) -> None:
    longest = max(config.contexts) + config.max_new_tokens
    limit = language.max_positions
    if limit is not None and longest > limit:
        raise UsageError(
            f"{longest} positions are asked for, the model was made for {limit}",
            where="$.config.contexts",
            remedy=f"take contexts up to {limit - config.max_new_tokens}",
        )


def _state_facts(context: Context, language: LanguageModel) -> None:
    context.state(
        model=type(language.model).__name__,
        parameters=sum(tensor.numel() for tensor in language.model.parameters()),
        max_positions=language.max_positions,
        device=str(language.device),
        dtype=str(language.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
    )


def _measure(config: Config, language: LanguageModel, haystack: Haystack, batch: Batch) -> Entry:
    arm = ARMS[batch.arm]
    prompts = [
        haystack.make_prompt(
            unit.make_random_source(),
            context=unit.context,
            depth=unit.depth,
            distractors=config.distractors,
            present=arm.needle,
        )
        for unit in batch.units
    ]
    ids = torch.tensor([prompt.ids for prompt in prompts], device=language.device)  # (B, T)
    decoded = decode_greedy(
        language.model,
        ids,
        arm.attend(language.model, config),
        max_new_tokens=config.max_new_tokens,
    )
    answers = language.tokenizer.batch_decode(decoded.tokens, skip_special_tokens=True)
    rows: list[Sample] = []
    notes: list[dict[str, Any]] = []
    for unit, prompt, answer in zip(batch.units, prompts, answers, strict=True):
        rows += _make_rows(config, batch, unit, prompt, answer, decoded)
        notes.append(_make_note(batch, unit, prompt, answer))
    return Entry(tuple(rows), _count(batch, decoded), {"answers.jsonl": tuple(notes)})


def _make_rows(
    config: Config, batch: Batch, unit: Unit, prompt: Prompt, answer: str, decoded: Decoded
) -> list[Sample]:
    outside = prompt.is_outside(sink=config.sink, window=config.window)
    at: dict[str, str | float] = {"context": unit.context, "depth": unit.depth}
    if prompt.end > prompt.start:
        at["outside"] = int(outside)
    size = len(batch.units)
    scores = {
        "recall": int(prompt.needle.code in answer),
        "evicted": decoded.evicted,
        "kv_bytes": decoded.kv_bytes // size,
    }
    t_ms = (decoded.prefill_s + decoded.decode_s) * 1000 / size
    return [
        Sample(
            arm=batch.arm,
            seed=unit.seed,
            unit=unit.id,
            input=prompt.digest,
            measure=measure,
            score=score,
            at=at,
            t_ms=t_ms,
        )
        for measure, score in scores.items()
    ]


def _make_note(batch: Batch, unit: Unit, prompt: Prompt, answer: str) -> dict[str, Any]:
    return {
        "arm": batch.arm,
        "unit": unit.id,
        "subject": prompt.needle.subject,
        "code": prompt.needle.code,
        "answer": answer,
        "tokens": len(prompt.ids),
        "needle": [prompt.start, prompt.end],
    }


def _count(batch: Batch, decoded: Decoded) -> Counter[str]:
    size = len(batch.units)
    return Counter(
        {
            f"{batch.arm}.prompts": size,
            f"{batch.arm}.prompt_tokens": size * batch.context,
            f"{batch.arm}.evicted_positions": size * decoded.evicted,
            f"{batch.arm}.kept_positions": size * decoded.kept,
            f"{batch.arm}.new_tokens": decoded.tokens.numel(),
            f"{batch.arm}.prefill_ms": round(decoded.prefill_s * 1000),
            f"{batch.arm}.decode_ms": round(decoded.decode_s * 1000),
            f"{batch.arm}.process_ms": round(decoded.process_s * 1000),
        }
    )
