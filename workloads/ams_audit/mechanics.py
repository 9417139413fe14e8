"""Cases of no axis: the store, training, isolation, the gate, and whether anything is faked."""

from __future__ import annotations

import torch
from torch.nn import functional

from workloads.ams_audit.lexicon import OPENINGS, SET_A, SET_B
from workloads.ams_audit.protocol import Case, Figures, Limit
from workloads.ams_audit.stage import (
    MIXED,
    NAMES,
    PROMPTS,
    TEXTS,
    Stage,
    average,
    correlate,
    longest_run,
    share_repeated_pairs,
    share_unique,
)

_WIDTH = 16
_SEEDS = range(8)
_MANY = 240
_SEGMENT = 8
_COPIED = 12
_PLACES = tuple(prompt for prompt, _ in PROMPTS)


def _measure_leaves(stage: Stage) -> Figures:
    overflow = lost = 0
    for seed in _SEEDS:
        source = torch.Generator().manual_seed(seed)
        directions = functional.normalize(torch.randn(_MANY, _WIDTH, generator=source), dim=-1)
        index = stage.subject.index()
        for item, direction in enumerate(directions):
            index.insert(item, direction)
        overflow += max(0, index.largest_leaf() - stage.subject.capacity)
        lost += _MANY - len(index)
    return {"overflow": overflow, "lost": lost}


def _measure_equal_directions(stage: Stage) -> Figures:
    index = stage.subject.index()
    direction = functional.normalize(torch.ones(_WIDTH), dim=-1)
    count = 3 * stage.subject.capacity
    for item in range(count):
        index.insert(item, direction)
    found = index.retrieve(direction, count, beam=count)
    return {"held": len(index) / count, "found": len(set(found)) / count}


def _measure_step(stage: Stage) -> Figures:
    groups = stage.subject.learn().values()
    return {
        "least_gradient": min(gradient for gradient, _ in groups),
        "least_change": min(change for _, change in groups),
    }


def _measure_gradients(stage: Stage) -> Figures:
    store = stage.store("music")
    with torch.enable_grad():
        tensors = [store.logits(SET_A[0]), store.prefix(SET_A[0]), stage.trace("music", SET_A[0])]
    flagged = [one if isinstance(one, torch.Tensor) else one.logits for one in tensors]
    return {"with_gradient": sum(one.requires_grad for one in flagged)}


def _measure_counterfactual(stage: Stage) -> Figures:
    pairs = [
        stage.trace("music", prompt).tokens != stage.trace("space", prompt).tokens
        for prompt in SET_A
    ]
    return {"differing": average(pairs)}


def _measure_degeneration(stage: Stage) -> Figures:
    vocabulary = stage.subject.vocabulary
    said = [stage.trace(name, prompt).tokens for name in NAMES for prompt in SET_A]
    return {
        "unique": average([share_unique(one) for one in said]),
        "repeated_pairs": average([share_repeated_pairs(one) for one in said]),
        "content": average([average([stage.is_content(token) for token in one]) for one in said]),
        "newlines": average(
            [average([bool(vocabulary.newlines[token]) for token in one]) for one in said]
        ),
        "longest_run": max(longest_run(one) for one in said),
    }


def _measure_diversity(stage: Stage) -> Figures:
    said = [stage.trace(MIXED, prompt).tokens for prompt in _PLACES[::2]]
    return {"distinct": len(set(said)) / len(said)}


def _measure_segments(stage: Stage) -> Figures:
    bad: list[bool] = []
    collapsed = 0
    for name in NAMES:
        for prompt in SET_A:
            tokens = stage.trace(name, prompt).tokens
            parts = [tokens[at : at + _SEGMENT] for at in range(0, len(tokens), _SEGMENT)]
            judged = [share_unique(part) < 0.5 for part in parts]
            bad += judged
            collapsed += judged[0]
    return {"bad": average(bad), "collapsed_early": collapsed}


def _measure_isolation(stage: Stage) -> Figures:
    store = stage.store("music")
    before, answer = store.save(), store.logits(SET_A[0])
    store.trace(SET_B[0], stage.traced)
    store.retrieve(SET_B[1], 2)
    store.prefix(SET_B[2])
    return {
        "store_unchanged": float(store.save() == before),
        "answer_unchanged": float(torch.equal(store.logits(SET_A[0]), answer)),
    }


def _measure_correlation(stage: Stage) -> Figures:
    nearness, badness = [], []
    for prompt, domain in PROMPTS:
        nearness.append(stage.store(MIXED).retrieve(prompt, 1)[0][1])
        tokens = stage.trace(MIXED, prompt).tokens
        words = [token for token in tokens if stage.is_content(token)]
        own = sum(token in stage.subject.vocabulary.keywords(domain) for token in words)
        badness.append(1 - own / max(1, len(words)))
    return {"correlation": correlate(nearness, badness)}


def _measure_cheating(stage: Stage) -> Figures:
    vocabulary = stage.subject.vocabulary
    texts = {
        tuple(vocabulary.encode(one.text))[:_COPIED] for rows in TEXTS.values() for one in rows
    }
    said = [stage.trace(MIXED, prompt).tokens for prompt in (*_PLACES, *OPENINGS)]
    functions = [average([bool(vocabulary.functions[token]) for token in one]) for one in said]
    return {
        "distinct": len(set(said)) / len(said),
        "copied": average([one[:_COPIED] in texts for one in said]),
        "function_words": average(functions),
    }


def _measure_gate(stage: Stage) -> Figures:
    store, empty = stage.store("music"), stage.subject.empty()
    gates = [store.gate(prompt) for prompt in OPENINGS]
    apart = [
        float((empty.logits(prompt) - empty.logits(prompt, memory=False)).abs().max())
        for prompt in SET_A
    ]
    return {
        "least": min(gates),
        "most": max(gates),
        "identity": max(apart),
        "off_mean": average([empty.gate(prompt) for prompt in OPENINGS]),
    }


CASES = (
    Case("4.1", "leaf_capacity_stability", "M", 1,
         (Limit("overflow", "==", 0), Limit("lost", "==", 0)), _measure_leaves),
    Case("4.2", "degenerate_direction_boundary", "M", 2,
         (Limit("held", "==", 1), Limit("found", "==", 1)), _measure_equal_directions),
    Case("4.3", "metric_trainability", "M", 3,
         (Limit("least_gradient", ">", 0), Limit("least_change", ">", 0)), _measure_step),
    Case("4.4", "no_grad_generation", "M", 4,
         (Limit("with_gradient", "==", 0),), _measure_gradients, SET_A[:1]),
    Case("4.5", "counterfactual_memory_influence", "M", 5,
         (Limit("differing", ">", 0),), _measure_counterfactual, SET_A),
    Case("4.8", "degeneration_quality", "M", 8,
         (Limit("unique", ">=", 0.35), Limit("repeated_pairs", "<=", 0.20),
          Limit("content", ">=", 0.22), Limit("newlines", "<=", 0.20),
          Limit("longest_run", "<=", 4)), _measure_degeneration, SET_A),
    Case("4.9", "prompt_diversity", "M", 9,
         (Limit("distinct", "==", 1),), _measure_diversity, _PLACES[::2]),
    Case("4.12", "repetition_segment_audit", "M", 12,
         (Limit("bad", "<=", 0.35), Limit("collapsed_early", "<=", 1)), _measure_segments, SET_A),
    Case("4.14", "training_cache_isolation", "M", 14,
         (Limit("store_unchanged", "==", 1), Limit("answer_unchanged", "==", 1)),
         _measure_isolation, (*SET_A[:1], *SET_B)),
    Case("4.17", "retrieval_prefix_decode_correlation", "M", 17,
         (Limit("correlation", "<=", 0.2),), _measure_correlation, _PLACES),
    Case("4.18", "cheating_heuristics", "M", 18,
         (Limit("distinct", ">=", 0.5), Limit("copied", "<=", 0.5),
          Limit("function_words", ">=", 0.1)),
         _measure_cheating, (*_PLACES, *OPENINGS), "ours"),
    Case("4.26", "mixture_distribution_gate", "M", 26,
         (Limit("least", ">=", 0), Limit("most", "<=", 1), Limit("identity", "<=", 1e-4),
          Limit("off_mean", "<", 0.05)), _measure_gate, OPENINGS),
)  # fmt: skip
