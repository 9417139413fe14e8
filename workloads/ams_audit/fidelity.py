"""Cases of axis C: does what is said follow what was told?"""

from __future__ import annotations

import math
from itertools import permutations

import torch
from torch.nn import functional

from workloads.ams_audit.lexicon import OPENINGS, SEEN, SET_A, SET_B
from workloads.ams_audit.protocol import Case, Figures, Limit, Subject
from workloads.ams_audit.stage import (
    BLANK,
    MIXED,
    NAMES,
    PROMPTS,
    TEXTS,
    TOP,
    Stage,
    average,
    correlate,
)

_EARLY = 3  # steps that show what the prefix injects
_RANKED = 5
_PLACES = tuple(prompt for prompt, _ in PROMPTS)
# The same question twice: in the words of a text and in its other names.
_PAIRS = tuple(
    (TEXTS[name][0].text.split(" with ")[0], TEXTS[name][0].retold.removesuffix(" ."))
    for name in SEEN
)


def _log_mass(stage: Stage, store: Subject, prompt: str, domain: str, memory: bool = True) -> float:
    """Nats of a domain's share of the next token."""
    share = stage.mass(store.logits(prompt, memory=memory), domain)
    return math.log(share + 1e-9)


def _measure_grounding(stage: Stage) -> Figures:
    margins, lifts = [], []
    for name, other in permutations(SEEN):
        store = stage.store(name)
        own = [_log_mass(stage, store, prompt, name) for prompt in SET_A]
        wrong = [_log_mass(stage, store, prompt, other) for prompt in SET_A]
        margins.append(average(own) - average(wrong))
        bare = [_log_mass(stage, store, prompt, name, False) for prompt in SET_A]
        lifts.append(average(own) - average(bare))
    return {"least_margin": min(margins), "best_lift": max(lifts)}


def _measure_pairs(stage: Stage) -> Figures:
    margins = []
    for prompt in SET_B:
        bare = {
            name: _log_mass(stage, stage.store(NAMES[0]), prompt, name, False) for name in NAMES
        }
        for one in NAMES:
            told = {name: _log_mass(stage, stage.store(one), prompt, name) for name in NAMES}
            margins += [
                (told[one] - bare[one]) - (told[two] - bare[two]) for two in NAMES if two != one
            ]
    return {"least_margin": min(margins)}


def _measure_drift(stage: Stage) -> Figures:
    drifts: dict[str, list[dict[str, float]]] = {"memory": [], "blank": []}
    for prompt in SET_A:
        bare = stage.store(BLANK).logits(prompt, memory=False)
        drifts["blank"].append(_compare(stage.store(BLANK).logits(prompt), bare))
        drifts["memory"] += [_compare(stage.store(name).logits(prompt), bare) for name in SEEN]
    means = {
        kind: {key: average([row[key] for row in rows]) for key in rows[0]}
        for kind, rows in drifts.items()
    }
    return {f"{key}_excess": means["memory"][key] - means["blank"][key] for key in means["blank"]}


def _compare(one: torch.Tensor, two: torch.Tensor) -> dict[str, float]:
    """Jensen-Shannon divergence, distance of the distributions, and new members of the top 12."""
    left, right = one.exp(), two.exp()
    middle = ((left + right) / 2).clamp_min(1e-20).log()
    split = (left * (one - middle)).sum() + (right * (two - middle)).sum()
    new = set(one.topk(TOP).indices.tolist()) - set(two.topk(TOP).indices.tolist())
    return {"js": float(split) / 2, "l2": float((left - right).norm()), "top": len(new)}


def _measure_shift(stage: Stage) -> Figures:
    shifted = 0
    for prompt in OPENINGS:
        gains = []
        for name in SEEN:
            store = stage.store(name)
            known = set(stage.subject.vocabulary.keywords(name))
            counts = [
                len(known & set(store.logits(prompt, memory=memory).topk(TOP).indices.tolist()))
                for memory in (True, False)
            ]
            gains.append(counts[0] - counts[1])
        shifted += min(gains) > 0
    return {"prompts_shifted": shifted}


def _measure_alignment(stage: Stage) -> Figures:
    aligned = []
    for prompt, _ in PROMPTS:
        item, _ = stage.store(MIXED).retrieve(prompt, 1)[0]
        said = stage.main_domain(stage.trace(MIXED, prompt).tokens)
        aligned.append(said == stage.domain_of(item))
    return {"aligned": average(aligned)}


def _measure_stages(stage: Stage) -> Figures:
    counts = {"retrieve": 0, "inject": 0, "decode": 0}
    for prompt, domain in PROMPTS:
        item, _ = stage.store(MIXED).retrieve(prompt, 1)[0]
        leads = [stage.lead(row, domain) for row in stage.trace(MIXED, prompt).logits]
        if stage.domain_of(item) != domain:
            counts["retrieve"] += 1
        elif average(leads[:_EARLY]) <= 0:
            counts["inject"] += 1
        elif average(leads[_EARLY:]) <= 0:
            counts["decode"] += 1
    return {name: float(count) for name, count in counts.items()}


def _measure_ranks(stage: Stage) -> Figures:
    shared, order = [], []
    for one, two in _PAIRS:
        first, second = (
            [item for item, _ in stage.store(MIXED).retrieve(query, _RANKED)]
            for query in (one, two)
        )
        both = [item for item in first if item in second]
        shared.append(len(both) / len({*first, *second}))
        places = [[float(row.index(item)) for item in both] for row in (first, second)]
        order.append(correlate(*places) if len(both) > 1 else 0.0)
    return {"least_jaccard": min(shared), "best_spearman": max(order)}


def _measure_scaling(stage: Stage) -> Figures:
    store = stage.store("music")
    starters = stage.subject.vocabulary.starters
    ratios = []
    for prompt in SET_A:
        bare = store.logits(prompt, memory=False)
        whole = len(store.prefix(prompt))
        masses = []
        for slots in (whole, whole // 2):
            # without the found words: what is asked for is what the prefix alone does
            gained = store.logits(prompt, slots=slots, gate=0.0) - bare
            gained = gained - gained.mean()  # logits are known up to a constant
            masses.append(float(functional.relu(gained[starters.to(gained.device)]).sum()))
        ratios.append(masses[0] / max(masses[1], 1e-9))
    return {"mass_ratio": average(ratios)}


CASES = (
    Case("4.6", "semantic_memory_grounding", "C", 6,
         (Limit("least_margin", ">", 0), Limit("best_lift", ">", 0)), _measure_grounding, SET_A),
    Case("4.7", "semantic_memory_counterfactual_pairs", "C", 7,
         (Limit("least_margin", ">", 0),), _measure_pairs, SET_B),
    Case("4.10", "prefix_logit_drift_audit", "C", 10,
         (Limit("js_excess", ">", 0), Limit("l2_excess", ">", 0), Limit("top_excess", ">", 0)),
         _measure_drift, SET_A),
    Case("4.11", "retrieval_topk_semantic_shift", "C", 11,
         (Limit("prompts_shifted", ">=", 1),), _measure_shift, OPENINGS),
    Case("4.16", "retrieval_generation_alignment_audit", "C", 16,
         (Limit("aligned", ">=", 0.75),), _measure_alignment, _PLACES, "ours"),
    Case("4.19", "stepwise_label_mass_alignment_audit", "C", 19,
         (Limit("retrieve", "==", 0), Limit("inject", "==", 0)), _measure_stages, _PLACES),
    Case("4.20", "rerank_stability_probe", "C", 20,
         (Limit("least_jaccard", ">=", 0.6), Limit("best_spearman", ">=", 0.5)),
         _measure_ranks, tuple(query for pair in _PAIRS for query in pair)),
    Case("4.25", "prefix_length_scaling_probe", "C", 25,
         (Limit("mass_ratio", ">", 1.10),), _measure_scaling, SET_A, "document"),
)  # fmt: skip
