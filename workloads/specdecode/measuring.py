"""Rows: time, identity and acceptance of every arm on every prompt, and where the time went."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from workloads.shared.fitting import FitStep
from workloads.shared.journal import Entry
from workloads.shared.samples import Sample
from workloads.shared.verifiers import NO_INPUT
from workloads.specdecode.arms import Bench
from workloads.specdecode.config import OWN_ARMS, ArmName
from workloads.specdecode.decoding import Decoded
from workloads.specdecode.policy import Costs
from workloads.specdecode.prompts import Seen

CURVE_EVERY = 10
# Two logits are a near-tie where bfloat16, with eight bits, may well not tell them apart.
NEAR_TIE = 2.0**-6


@dataclass(frozen=True, slots=True)
class Unit:
    """Some held-out prompts of one kind that are decoded together, (B, T)."""

    text: str
    seed: int
    index: int
    ids: torch.Tensor
    warmup: bool = False

    @property
    def id(self) -> str:
        """The name that pairs rows across arms."""
        return f"{self.text}-s{self.seed}-n{self.index}" + ("-warmup" if self.warmup else "")

    @property
    def digest(self) -> str:
        """Of the ids as decimal text with commas."""
        text = ",".join(map(str, self.ids.flatten().tolist()))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def row(self, arm: str, measure: str, score: float, **at: str | float) -> Sample:
        """A row of this unit."""
        return Sample(
            arm=arm, seed=self.seed, unit=self.id, input=self.digest, measure=measure,
            score=score, at={"text": self.text, **at}, warmup=self.warmup,
        )  # fmt: skip


def list_fit(history: Sequence[FitStep], *, seed: int) -> list[Sample]:
    """Loss and share of right tokens of the drafter's training, means of ten steps."""
    rows = []
    for start in range(0, len(history), CURVE_EVERY):
        part = history[start : start + CURVE_EVERY]
        for measure, score in (
            ("fit_loss", sum(one.loss for one in part)),
            ("fit_accuracy", sum(one.accuracy for one in part)),
        ):
            rows.append(
                Sample(
                    arm="drafter", seed=seed, unit=f"step{part[-1].step}", input=NO_INPUT,
                    measure=measure, score=score / len(part), at={"step": part[-1].step + 1},
                    t_ms=sum(one.t_ms for one in part),
                )
            )  # fmt: skip
    return rows


def measure_unit(
    bench: Bench, unit: Unit, costs: Costs, *, turn: int, seen: Seen | None = None
) -> Entry:
    """All arms on one prompt, in an order that `turn` rotates."""
    arms = bench.list_arms()
    shift = turn % len(arms)
    found = {arm: bench.decode(arm, unit.ids, costs) for arm in (*arms[shift:], *arms[:shift])}
    truth = found["greedy"]
    rows: list[Sample] = []
    for arm in arms:
        rows += _list_arm(unit, arm, found[arm], truth, costs)
    rows += _list_difference(bench, unit, "fused", found["fused"], truth)
    if seen is not None:
        text = [*unit.ids[0].tolist(), *truth.tokens[0].tolist()]
        share = seen.measure_share(text[unit.ids.shape[1] - 7 :])
        rows.append(unit.row("greedy", "seen_share", share))
    counters = {f"{arm}.blocks": found[arm].parts.blocks for arm in arms if arm in OWN_ARMS}
    return Entry(tuple(rows), counters | {"prompts": 1})


def _list_arm(
    unit: Unit, arm: ArmName, found: Decoded, truth: Decoded, costs: Costs
) -> list[Sample]:
    parts = found.parts
    scores: dict[str, float] = {
        "call_ms": found.wall_s * 1000,
        "process_ms": found.process_s * 1000,
        "identical": int(torch.equal(found.tokens, truth.tokens)),
    }
    rows = [unit.row(arm, measure, score) for measure, score in scores.items()]
    if arm in OWN_ARMS:
        rows.append(unit.row(arm, "decode_ms", (found.wall_s - parts.prefill_s) * 1000))
    if parts.blocks:
        gained = sum(parts.gained) / parts.blocks
        draft_ms = parts.draft_s / parts.blocks * 1000
        rows += [
            unit.row(arm, "block_tokens", gained),
            unit.row(arm, "blocks", parts.blocks),
            unit.row(arm, "repeats", parts.repeats),
            # As if a verified block cost no more than a plain step.
            unit.row(arm, "ceiling", gained / (1 + draft_ms / costs.step_ms)),
        ]
    if arm in ("greedy", "fused", "always"):
        spent = {
            "prefill": parts.prefill_s,
            "plain": parts.plain_s,
            "draft": parts.draft_s,
            "verify": parts.verify_s,
            "context": parts.context_s,
            "repeat": parts.repeat_s,
        }
        spent["rest"] = found.wall_s - sum(spent.values())
        rows += [
            unit.row(arm, "part_ms", max(0.0, seconds) * 1000, part=part)
            for part, seconds in spent.items()
        ]
    return rows


def measure_batch(bench: Bench, unit: Unit, costs: Costs, *, turn: int) -> Entry:
    """Greedy and fused decoding of several rows at once."""
    arms: list[ArmName] = ["greedy", "fused"]
    found = {arm: bench.decode(arm, unit.ids, costs) for arm in arms[:: -1 if turn % 2 else 1]}
    rows = [unit.row(f"{arm}_batch", "batch_ms", found[arm].wall_s * 1000) for arm in arms]
    same = torch.equal(found["fused"].tokens, found["greedy"].tokens)
    rows.append(unit.row("fused_batch", "identical", int(same)))
    if found["fused"].parts.blocks:
        gained = found["fused"].parts.gained
        rows.append(unit.row("fused_batch", "block_tokens", sum(gained) / len(gained)))
    return Entry(tuple(rows), {"fused_batch.blocks": found["fused"].parts.blocks})


def measure_half(bench: Bench, unit: Unit, costs: Costs, *, turn: int) -> Entry:
    """Greedy and fused decoding in bfloat16, and what their first difference is."""
    arms: list[ArmName] = ["greedy", "fused"]
    found = {arm: bench.decode(arm, unit.ids, costs) for arm in arms[:: -1 if turn % 2 else 1]}
    rows = [unit.row(f"{arm}_bf16", "call_ms", found[arm].wall_s * 1000) for arm in arms]
    rows += _list_difference(bench, unit, "fused_bf16", found["fused"], found["greedy"])
    return Entry(tuple(rows))


def _list_difference(
    bench: Bench, unit: Unit, arm: str, found: Decoded, truth: Decoded
) -> list[Sample]:
    """Whether a token differs from plain decoding, and how near a tie the first one was."""
    left, right = truth.tokens[0], found.tokens[0]
    differs = (left != right).nonzero().flatten().tolist()
    rows = [unit.row(arm, "differs", int(bool(differs)))]
    gap = 0.0
    if differs:
        gap = _measure_gap(bench, unit, left[: differs[0]], int(left[differs[0]]))
        rows.append(unit.row(arm, "first_gap", gap))
    return [*rows, unit.row(arm, "far_apart", int(gap > NEAR_TIE))]


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _measure_gap(bench: Bench, unit: Unit, before: torch.Tensor, chosen: int) -> float:
    """How far the chosen token's logit lies from its nearest rival's, relative to its size."""
    ids = torch.cat([unit.ids, before[None].to(unit.ids.device)], dim=1)
    logits = bench.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].float()
    best = float(logits[chosen])
    logits[chosen] = float("-inf")
    return abs(best - float(logits.max())) / max(abs(best), 1e-6)
