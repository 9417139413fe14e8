"""Cases of axis D: the same after loading, no drift, no loop."""

from __future__ import annotations

from collections import Counter

import torch

from workloads.ams_audit.lexicon import SET_A, SET_B
from workloads.ams_audit.protocol import Case, Figures, Limit
from workloads.ams_audit.stage import NAMES, Stage, average, count_locks, first_repeated_pair


def _measure_loading(stage: Stage) -> Figures:
    store = stage.store("music")
    loaded = store.load(store.save())
    prompt = SET_A[0]
    return {
        "same_retrieval": float(store.retrieve(prompt, 3) == loaded.retrieve(prompt, 3)),
        "same_prefix": float(torch.equal(store.prefix(prompt), loaded.prefix(prompt))),
        "same_words": float(
            loaded.trace(prompt, stage.traced).tokens == stage.trace("music", prompt).tokens
        ),
    }


def _measure_first_bad(stage: Stage) -> Figures:
    places = []
    for name in NAMES:
        for prompt in SET_A:
            leads = [stage.lead(row, name) for row in stage.trace(name, prompt).logits]
            bad = [step for step, lead in enumerate(leads) if lead <= 0]
            places.append(bad[0] if bad else len(leads))
    return {"first_bad_least": min(places)}


def _measure_feedback(stage: Stage) -> Figures:
    said = [stage.trace(name, prompt).tokens for name in NAMES for prompt in SET_B]
    most = []
    for tokens in said:
        counts = Counter(token for token in tokens if stage.is_content(token))
        most.append(max(counts.values(), default=0))
    return {
        "most_repeated": average(most),
        "first_pair": min(first_repeated_pair(tokens) for tokens in said),
        "locks": sum(count_locks(tokens) for tokens in said),
    }


CASES = (
    Case("4.13", "save_load_consistency", "D", 13,
         (Limit("same_retrieval", "==", 1), Limit("same_prefix", "==", 1),
          Limit("same_words", "==", 1)), _measure_loading, SET_A[:1]),
    Case("4.15", "prefix_stepwise_drift_trajectory", "D", 15,
         (Limit("first_bad_least", ">=", 3),), _measure_first_bad, SET_A),
    Case("4.21", "decode_repetition_feedback_probe", "D", 21,
         (Limit("most_repeated", "<=", 3), Limit("first_pair", ">=", 4), Limit("locks", "<=", 1)),
         _measure_feedback, SET_B),
)  # fmt: skip
