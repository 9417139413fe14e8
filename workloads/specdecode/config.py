"""What a run of fused decoding is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from workloads.shared.job import list_problems, refuse_problems
from workloads.shared.models import Device, Dtype

Scale = Literal["ci", "tiny"]
ArmName = Literal[
    "greedy",
    "generate",
    "assisted",
    "dflash",
    "lookup",
    "fused",
    "always",
    "restored",
    "restored_fused",
]
OWN_ARMS = frozenset({"greedy", "fused", "always", "restored", "restored_fused"})


@dataclass(frozen=True, slots=True)
class Config:
    """The verifier, the drafter, their training, the prompts and the arms.

    Attributes:
        seeds: each trains its own drafter and draws its own prompts.
        prompts: held-out prompts of each kind and seed.
        arms: what runs on each prompt, in an order that turns from prompt to prompt.
        rows: of the arms in batches, beside those of one row; 0 for none.
        half: whether greedy and fused decoding run in bfloat16 too.
        warmups: prompts that are not counted, and that the costs are measured on.
        prompt_tokens: of each prompt; `new_tokens` decoded after it.
        scale: the size of a verifier that is trained here; unused where weights are given.
        verifier_seed: of that verifier; `verifier_steps` of its training.
        assistant_steps: of the small model for assisted generation; 0 for none.
        target_layers: whose outputs the drafter reads; none for four spread over the depth.
        layers: of the drafter; `block` its positions, the anchor's included.
        mask_token: the id of a position to be drafted, for given weights.
        texts: training texts of the drafter, in batches of `batch`.
        steps: of the drafter's training; `rate` its peak learning rate.
        anchors: blocks in each text and step.
        sink, window: of the restored cache.
        chunk: tokens in one forward at most.
        device: where to compute.
        dtype: of the weights; losslessness is gated in float32 alone.
    """

    seeds: tuple[int, ...] = (0,)
    prompts: int = 24
    arms: tuple[ArmName, ...] = get_args(ArmName)
    rows: int = 8
    half: bool = True
    warmups: int = 2
    prompt_tokens: int = 96
    new_tokens: int = 128
    scale: Scale = "tiny"
    verifier_seed: int = 0
    verifier_steps: int = 150
    assistant_steps: int = 150
    target_layers: tuple[int, ...] = ()
    layers: int = 1
    block: int = 16
    mask_token: int = 0
    texts: int = 96
    batch: int = 8
    steps: int = 200
    rate: float = 2e-3
    anchors: int = 12
    sink: int = 4
    window: int = 16
    chunk: int = 64
    device: Device = "auto"
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        problems = list_problems(self, several=("seeds", "arms"), bounds=_BOUNDS)
        if not {"greedy", "fused"} <= set(self.arms):
            problems.append("$.config.arms: greedy and fused are what all is compared with")
        if self.block > self.chunk:
            problems.append("$.config.block: larger than chunk, so no forward could verify it")
        refuse_problems(problems)


_BOUNDS: dict[str, tuple[float, float]] = {
    "prompts": (1, 10_000),
    "rows": (0, 256),
    "warmups": (1, 100),
    "prompt_tokens": (16, 1_000_000),
    "new_tokens": (2, 4096),
    "verifier_steps": (1, 1_000_000),
    "assistant_steps": (0, 1_000_000),
    "layers": (1, 64),
    "block": (2, 64),
    "mask_token": (0, 10_000_000),
    "texts": (1, 1_000_000),
    "batch": (1, 1024),
    "steps": (0, 1_000_000),
    "rate": (0, 1),
    "anchors": (1, 1024),
    "sink": (0, 4096),
    "window": (1, 1_000_000),
    "chunk": (2, 100_000),
}
