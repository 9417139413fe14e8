"""Greedy decoding, plain and fused with a drafter, in the same reader."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch

from workloads.shared.drafter import BlockDrafter, ContextCache, embed_unscaled
from workloads.specdecode.policy import Always, Look, Policy
from workloads.specdecode.reading import Reader


@dataclass(slots=True)
class Parts:
    """Seconds by part, and what they were spent on.

    Attributes:
        prefill_s: of the prompt; `draft_s` of blocks, `verify_s` of forwards over them,
            `context_s` of the drafter's K/V, the prompt's included; `plain_s` of plain steps.
        blocks: verified drafts; `steps` plain forwards.
        gained: tokens of each block, mean over the rows that were still decoding.
        block_s: seconds of each block, all parts.
        step_s: seconds of each plain step.
    """

    prefill_s: float = 0.0
    draft_s: float = 0.0
    verify_s: float = 0.0
    context_s: float = 0.0
    plain_s: float = 0.0
    blocks: int = 0
    steps: int = 0
    gained: list[float] = field(default_factory=list)
    block_s: list[float] = field(default_factory=list)
    step_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Decoded:
    """New tokens (B, N), wall and CPU seconds of all, and where they went."""

    tokens: torch.Tensor
    wall_s: float
    process_s: float
    parts: Parts


class Clock:
    """Seconds since the last mark, once the device has finished what it was given."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started_s = self._last_s = time.perf_counter()
        self._process_s = time.process_time()

    def mark(self) -> float:
        """Seconds since the mark before."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
        now_s = time.perf_counter()
        spent_s, self._last_s = now_s - self._last_s, now_s
        return spent_s

    def stop(self) -> tuple[float, float]:
        """Wall and CPU seconds since the start."""
        self.mark()
        return self._last_s - self._started_s, time.process_time() - self._process_s


@torch.inference_mode()  # type: ignore[untyped-decorator]
def decode_greedy(reader: Reader, ids: torch.Tensor, *, new_tokens: int) -> Decoded:
    """So many tokens after the prompts `ids` (B, T) of equal length: the loop to beat."""
    clock, parts = Clock(reader.device), Parts()
    token = reader.read(ids, last=True).logits[:, -1].argmax(-1, keepdim=True)
    reader.keep([ids.shape[1]])
    parts.prefill_s = clock.mark()
    tokens = [token]
    for _ in range(new_tokens - 1):
        token = reader.read(token).logits[:, -1].argmax(-1, keepdim=True)
        reader.keep([1])
        tokens.append(token)
    found = torch.cat(tokens, dim=1).cpu()
    parts.plain_s, parts.steps = clock.mark(), new_tokens - 1
    return Decoded(found, *clock.stop(), parts)


class Fused:
    """One batch that is decoded with a drafter.

    Args:
        model: the verifier, for its embedding and head.
        drafter: conditioned on the reader's features.
        reader: of the verifier.
        policy: when to draft.
    """

    def __init__(
        self, model: Any, drafter: BlockDrafter, reader: Reader, policy: Policy | None = None
    ) -> None:
        self._embedding = model.get_input_embeddings()
        self._head = model.get_output_embeddings()
        self._drafter = drafter
        self._reader = reader
        self._policy = policy or Always()
        self._context = ContextCache(drafter.config)
        self._pending: list[tuple[torch.Tensor, torch.Tensor, int]] = []
        self._look: Look | None = None
        self._masks = torch.full((1, drafter.config.block - 1), drafter.config.mask_token)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def decode(self, ids: torch.Tensor, *, new_tokens: int) -> Decoded:
        """So many tokens after the prompts `ids` (B, T) of equal length."""
        with self._reader.attached():
            return self._decode(ids, new_tokens)

    def _decode(self, ids: torch.Tensor, new_tokens: int) -> Decoded:
        reader, clock, parts = self._reader, Clock(self._reader.device), Parts()
        read = reader.read(ids, last=True)
        anchors = read.logits[:, -1].argmax(-1, keepdim=True)
        self._keep_context(read.features, ids.shape[1])
        reader.keep([ids.shape[1]])
        parts.prefill_s = clock.mark()
        rows = [[token] for token in anchors[:, 0].tolist()]
        self._masks = self._masks.to(reader.device).expand(len(ids), -1)
        while any(len(row) < new_tokens for row in rows):
            room = new_tokens - min(map(len, rows))
            if self._policy.drafts() and room > 1:
                anchors = self._run_block(anchors, rows, new_tokens, clock, parts)
            else:
                anchors = self._run_step(anchors, rows, new_tokens, clock, parts)
        return Decoded(torch.tensor(rows), *clock.stop(), parts)

    def _run_block(
        self,
        anchors: torch.Tensor,
        rows: list[list[int]],
        new_tokens: int,
        clock: Clock,
        parts: Parts,
    ) -> torch.Tensor:
        """Draft, verify, keep what agrees and the token after it; gives the next anchors."""
        self._extend_context()
        context_s = clock.mark()
        room = new_tokens - min(map(len, rows))
        block = torch.cat([anchors, self._draft(anchors)[:, : room - 1]], dim=1)
        draft_s = clock.mark()
        read = self._reader.read(block)
        picks = read.logits.argmax(-1)  # (B, N): the verifier's own token after each
        agreed = (block[:, 1:] == picks[:, :-1]).int().cumprod(dim=1).sum(dim=1)
        kept = agreed.tolist()
        found = picks.tolist()
        verify_s = clock.mark()
        counts, gained = [], []
        for row, tokens, count in zip(rows, found, kept, strict=True):
            taken = min(count + 1, new_tokens - len(row))
            row += tokens[:taken]
            counts.append(taken)
            gained += [taken] if taken else []
        self._keep_context(read.features, max(counts))
        self._reader.keep(counts)
        last = torch.tensor(counts, device=block.device)[:, None] - 1
        chosen = torch.where(last >= 0, picks.gather(1, last.clamp(min=0)), anchors)
        parts.blocks += 1
        parts.gained.append(sum(gained) / len(gained))
        self._policy.learn(parts.gained[-1])
        parts.draft_s += draft_s
        parts.verify_s += verify_s
        rest_s = clock.mark()
        parts.context_s += context_s + rest_s
        parts.block_s.append(context_s + draft_s + verify_s + rest_s)
        return chosen

    def _run_step(
        self,
        anchors: torch.Tensor,
        rows: list[list[int]],
        new_tokens: int,
        clock: Clock,
        parts: Parts,
    ) -> torch.Tensor:
        """One plain token for each row; gives the next anchors."""
        if self._policy.probes() and self._look is None:
            self._extend_context()
            parts.context_s += clock.mark()
            self._look = Look(self._draft(anchors).tolist(), self._policy.enough)
            parts.draft_s += clock.mark()
        read = self._reader.read(anchors)
        picks = read.logits[:, -1].argmax(-1, keepdim=True)
        counts, tokens = [], picks[:, 0].tolist()
        for row, token in zip(rows, tokens, strict=True):
            counts.append(int(len(row) < new_tokens))
            row += [token] * counts[-1]
        self._keep_context(read.features, 1)
        self._reader.keep(counts)
        self._policy.step()
        gained = self._look.compare(tokens) if self._look else None
        if gained is not None:
            self._look = None
            self._policy.learn(gained)
        parts.steps += 1
        parts.step_s.append(clock.mark())
        parts.plain_s += parts.step_s[-1]
        if all(counts):
            return picks
        moved = torch.tensor(counts, device=picks.device, dtype=torch.bool)[:, None]
        return torch.where(moved, picks, anchors)

    def _draft(self, anchors: torch.Tensor) -> torch.Tensor:
        """Drafted tokens (B, N - 1) after the anchors (B, 1)."""
        reader = self._reader
        block = embed_unscaled(self._embedding, torch.cat([anchors, self._masks], dim=1))
        end = reader.end + block.shape[1]
        hidden = self._drafter.draft(self._context, block, reader.starts, end)
        drafts: torch.Tensor = self._head(hidden[:, 1:]).argmax(-1)
        return drafts

    def _keep_context(self, features: torch.Tensor | None, count: int) -> None:
        """Remember features of positions that are read now, to be projected before a draft."""
        assert features is not None, "the reader was made with target layers"
        self._pending.append((features[:, :count], self._reader.starts, self._reader.end + count))

    def _extend_context(self) -> None:
        """Project what is pending; runs of equal rows at once."""
        pending, self._pending = self._pending, []
        if len(pending) > 1 and all(len(starts) == 1 for _, starts, _ in pending):
            features = torch.cat([one for one, _, _ in pending], dim=1)
            pending = [(features, pending[0][1], pending[-1][2])]
        for features, starts, end in pending:
            self._drafter.extend(self._context, features, starts, end)
