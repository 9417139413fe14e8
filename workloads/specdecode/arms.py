"""The arms: loops of our own, and transformers' own ways of decoding the same prompt."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from workloads.shared.drafter import BlockDrafter
from workloads.specdecode.config import ArmName, Config
from workloads.specdecode.decoding import Clock, Decoded, Fused, Parts, decode_greedy
from workloads.specdecode.policy import Adaptive, Always, Costs, Policy
from workloads.specdecode.reading import PositionReader, RestoredReader
from workloads.specdecode.subjects import Subject

LOOKUP_TOKENS = 10


@dataclass(frozen=True, slots=True)
class Bench:
    """What decodes in one precision.

    Attributes:
        model, drafter: of one dtype.
        theirs: the drafter's weights in transformers' own class.
        assistant: for assisted generation, or None.
    """

    config: Config
    model: Any
    drafter: BlockDrafter
    theirs: Any
    assistant: Any | None

    @classmethod
    def make(cls, config: Config, subject: Subject, drafter: BlockDrafter) -> Bench:
        """The bench of a run's own precision."""
        theirs = make_theirs(drafter).to(subject.device, subject.model.dtype)
        return cls(config, subject.model, drafter, theirs, subject.assistant)

    def halve(self) -> Bench:
        """The same in bfloat16; transformers' arms stay behind."""
        half = torch.bfloat16
        return Bench(
            self.config, copy.deepcopy(self.model).to(half), copy.deepcopy(self.drafter).to(half),
            None, None,
        )  # fmt: skip

    def list_arms(self) -> list[ArmName]:
        """The arms that there is a model for."""
        return [arm for arm in self.config.arms if arm != "assisted" or self.assistant is not None]

    def decode(self, arm: ArmName, ids: torch.Tensor, costs: Costs) -> Decoded:
        """New tokens after the prompts (B, T), as an arm decodes them."""
        if arm in _THEIRS:
            return self._generate(arm, ids)
        targets = self.drafter.config.target_layers if arm in _DRAFTING else ()
        reader: Any = PositionReader(self.model, targets, longest=self.config.chunk)
        if arm.startswith("restored"):
            reader = RestoredReader(
                self.model, targets, sink=self.config.sink, window=self.config.window,
                longest=self.config.chunk,
            )  # fmt: skip
        if arm not in _DRAFTING:
            plain: Decoded = decode_greedy(reader, ids, new_tokens=self.config.new_tokens)
            return plain
        policy: Policy = Adaptive(costs) if arm == "fused" else Always()
        fused = Fused(self.model, self.drafter, reader, policy)
        drafted: Decoded = fused.decode(ids, new_tokens=self.config.new_tokens)
        return drafted

    def _generate(self, arm: ArmName, ids: torch.Tensor) -> Decoded:
        options: dict[str, Any] = {
            "assisted": {"assistant_model": self.assistant},
            "dflash": {"assistant_model": self.theirs, "speculation_type": "dflash"},
            "lookup": {"prompt_lookup_num_tokens": LOOKUP_TOKENS},
        }.get(arm, {})
        clock = Clock(self.model.device)
        with torch.inference_mode():
            found = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self.config.new_tokens,
                do_sample=False,
                **options,
            )
            tokens = found[:, ids.shape[1] :].cpu()
        return Decoded(tokens, *clock.stop(), Parts())


_DRAFTING = frozenset({"fused", "always", "restored_fused"})
_THEIRS = frozenset({"generate", "assisted", "dflash", "lookup"})


def make_theirs(drafter: BlockDrafter) -> Any:
    """The drafter in transformers' own class, with the same weights."""
    ours = drafter.config
    config = transformers.MuseGlimmerAssistantConfig(
        hidden_size=ours.hidden,
        intermediate_size=ours.intermediate,
        num_hidden_layers=ours.layers,
        num_attention_heads=ours.heads,
        num_key_value_heads=ours.kv_heads,
        head_dim=ours.head_dim,
        rms_norm_eps=ours.norm_eps,
        block_size=ours.block,
        mask_token_id=ours.mask_token,
        target_layer_ids=list(ours.target_layers),
        layer_types=["full_attention"] * ours.layers,
        rope_parameters={"rope_type": "default", "rope_theta": ours.rope_theta},
    )
    theirs = transformers.MuseGlimmerAssistantModel(config)
    theirs.load_state_dict(drafter.state_dict())
    return theirs.eval().requires_grad_(False)


def measure_costs(bench: Bench, prompts: list[torch.Tensor]) -> Costs:
    """Medians of a plain step and of a block over prompts that are not counted."""
    unknown = Costs(1.0, 1.0)
    blocks: list[float] = []
    steps: list[float] = []
    for ids in prompts:
        bench.decode("always", ids, unknown)  # the first call of a shape is slow
        blocks += bench.decode("always", ids, unknown).parts.block_s
        parts = bench.decode("greedy", ids, unknown).parts
        steps.append(parts.plain_s / parts.steps)
    return Costs(_median(steps) * 1000, _median(blocks) * 1000)


def _median(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median())
