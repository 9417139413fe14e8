"""The five losses of the seed, over the same predictions and targets.

`attn_distill` alone reads K and V through their norms and so cannot see their scale; the others
can. Source: `scripts/research/k3_f_theta_train.py` of the seed's repository, versions 1 to 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch.nn import functional

from workloads.shared.layers import norm_keys, norm_values, split_heads
from workloads.shared.restored.targets import Pair, Targets, Teacher

LossName = Literal["mse", "cos_mag", "combined", "attn_distill", "attn_distill_hybrid"]
COMBINED_MSE = 0.1
DIRECTION = 1.0
MAGNITUDE = 0.1


def mse(teacher: Teacher, targets: Targets, predicted: dict[int, Pair]) -> torch.Tensor:
    """Mean squared error of raw K and V, averaged over layers."""
    del teacher
    return _over_pairs(targets, predicted, functional.mse_loss)


def cos_mag(teacher: Teacher, targets: Targets, predicted: dict[int, Pair]) -> torch.Tensor:
    """1 - cosine of every head's raw vector, and the squared error of its length."""
    terms = []
    for layer in teacher.owners:
        for left, right in zip(predicted[layer.index], targets.raw[layer.index], strict=True):
            guess, truth = split_heads(layer, left), split_heads(layer, right)
            terms.append(_direction(guess, truth))
            terms.append(functional.mse_loss(guess.norm(dim=-1), truth.norm(dim=-1)))
    return torch.stack(terms).sum() / (2 * len(teacher.owners))


def combined(teacher: Teacher, targets: Targets, predicted: dict[int, Pair]) -> torch.Tensor:
    """`cos_mag` and a tenth of `mse`, which holds where lengths are near zero."""
    return cos_mag(teacher, targets, predicted) + COMBINED_MSE * mse(teacher, targets, predicted)


def attn_distill(teacher: Teacher, targets: Targets, predicted: dict[int, Pair]) -> torch.Tensor:
    """Squared error of the attention output that true queries get from predicted K and V."""
    outputs = teacher.attend(targets, predicted)
    terms = [functional.mse_loss(outputs[index], targets.outputs[index]) for index in outputs]
    return torch.stack(terms).mean()


def attn_distill_hybrid(
    teacher: Teacher, targets: Targets, predicted: dict[int, Pair]
) -> torch.Tensor:
    """`attn_distill`, the direction of K and V after their norms, and their length before."""
    terms = []
    for layer in teacher.owners:
        guess_k, guess_v = predicted[layer.index]
        true_k, true_v = targets.raw[layer.index]
        terms += [
            DIRECTION * _direction(norm_keys(layer, guess_k), norm_keys(layer, true_k)),
            DIRECTION * _direction(norm_values(layer, guess_v), norm_values(layer, true_v)),
        ]
        for left, right in ((guess_k, true_k), (guess_v, true_v)):
            lengths = split_heads(layer, right).norm(dim=-1)
            error = functional.mse_loss(split_heads(layer, left).norm(dim=-1), lengths)
            terms.append(MAGNITUDE * error / lengths.square().mean())
    beside = torch.stack(terms).sum() / len(teacher.owners)
    return attn_distill(teacher, targets, predicted) + beside


LOSSES: dict[LossName, Callable[[Teacher, Targets, dict[int, Pair]], torch.Tensor]] = {
    "mse": mse,
    "cos_mag": cos_mag,
    "combined": combined,
    "attn_distill": attn_distill,
    "attn_distill_hybrid": attn_distill_hybrid,
}


def _over_pairs(
    targets: Targets,
    predicted: dict[int, Pair],
    measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    terms = [
        measure(left, right)
        for layer, pair in predicted.items()
        for left, right in zip(pair, targets.raw[layer], strict=True)
    ]
    return torch.stack(terms).sum() / len(predicted)


def _direction(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return 1 - functional.cosine_similarity(guess, truth, dim=-1).mean()
