"""The four cases that the document changed between its rounds: 4.22 to 4.24, held out from tuning.

4.25, the fourth, stands with fidelity.
"""

from __future__ import annotations

from statistics import median

import torch
from torch.nn import functional

from workloads.ams_audit.lexicon import HELD_OUT, SET_A, SET_B
from workloads.ams_audit.protocol import Case, Figures, Limit
from workloads.ams_audit.stage import MIXED, NAMES, TEXTS, Stage, average

_NEAREST = 20
_RANK = 100
_LARGE = 5000  # tokens; the source's limits are for 151,936
_SHARE = 0.02  # of a smaller vocabulary, in place of both limits
_QUERIES = tuple(one.retold for one in TEXTS["music"])


def _measure_suppression(stage: Stage) -> Figures:
    vocabulary = stage.subject.vocabulary
    store = stage.store("music")
    figures: dict[str, float] = {}
    for name, prompts in (("a", SET_A), ("b", SET_B)):
        gains = []
        for prompt in prompts:
            gaps = []
            for memory in (True, False):
                row = store.logits(prompt, memory=memory)
                kinds = (vocabulary.starters, vocabulary.functions)
                best = [float(row[kind.to(row.device)].max()) for kind in kinds]
                gaps.append(best[0] - best[1])
            gains.append(gaps[0] - gaps[1])
        figures |= {f"delta_{name}": average(gains), f"wins_{name}": sum(g > 0 for g in gains)}
    return figures


def _measure_tail(stage: Stage) -> Figures:
    vocabulary = stage.subject.vocabulary
    store = stage.store("music")
    nearest = _NEAREST if vocabulary.size >= _LARGE else round(_SHARE * vocabulary.size)
    limit = _RANK if vocabulary.size >= _LARGE else _SHARE * vocabulary.size
    tails = torch.stack([store.prefix(query)[-1].float() for query in _QUERIES])
    table = stage.subject.embeddings - stage.subject.embeddings.mean(0)
    cosines = functional.normalize(tails - tails.mean(0), dim=-1) @ (
        functional.normalize(table, dim=-1).T
    )
    ranks, inside, shared = [], [], 0
    for query, row in zip(_QUERIES, cosines, strict=True):
        item, _ = store.retrieve(query, 1)[0]
        rare = vocabulary.find(TEXTS["music"][item].rare)
        shared += len(set(rare) & set(vocabulary.encode(query)))
        places = row.argsort(descending=True).tolist()
        ranks.append(min(places.index(token) for token in rare) + 1)
        inside.append(len(set(rare) & set(places[:nearest])))
    return {
        "inside_mean": average(inside),
        "inside_share": average([count > 0 for count in inside]),
        "rank_to_limit": median(ranks) / limit,
        "median_rank": median(ranks),
        "shared_words": shared,
    }


def _measure_clusters(stage: Stage) -> Figures:
    store = stage.store(MIXED)
    labels = [name for name in NAMES for _ in TEXTS[name]]
    kept = [store.fields(item) for item in range(len(labels))]
    fallback = "semantic" if stage.reader == "uniform" else "slot"
    figures: dict[str, float] = {}
    for key, field in (("", fallback), ("semantic_", "semantic")):
        # the diagnosis reads the frozen pool whatever is learned; the case reads a descriptor first
        read = [one.get("descriptor", one[field]) if not key else one[field] for one in kept]
        right = _find_own(torch.stack(read).float(), labels)
        held = [hit for hit, label in zip(right, labels, strict=True) if label in HELD_OUT]
        figures |= {f"{key}all": average(right), f"{key}held_out": average(held)}
    return figures


def _find_own(points: torch.Tensor, labels: list[str]) -> list[bool]:
    """Whether the nearest other point by cosine has the same label, for each."""
    units = functional.normalize(points, dim=-1)
    nearness = (units @ units.T).fill_diagonal_(-torch.inf)
    nearest = nearness.argmax(-1).tolist()
    return [labels[other] == label for other, label in zip(nearest, labels, strict=True)]


CASES = (
    Case("4.22", "functional_token_suppression_probe", "C", 22,
         (Limit("delta_a", ">=", 1.0), Limit("wins_a", ">=", 2), Limit("delta_b", ">=", 1.0),
          Limit("wins_b", ">=", 2)), _measure_suppression, (*SET_A, *SET_B), "document"),
    Case("4.23", "keyword_specific_tail_slot_probe", "C", 23,
         (Limit("inside_mean", ">=", 1), Limit("rank_to_limit", "<=", 1),
          Limit("inside_share", ">=", 0.5), Limit("shared_words", "==", 0)),
         _measure_tail, _QUERIES, "document"),
    Case("4.24", "context_descriptor_cluster_probe", "C", 24,
         (Limit("all", ">=", 0.65), Limit("held_out", ">=", 0.70)), _measure_clusters,
         tuple(one.text for name in NAMES for one in TEXTS[name]), "document", reads=True),
)  # fmt: skip
