"""Greedy decoding, plain and fused with a drafter, in the same reader."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch

from workloads.shared.drafter import BlockDrafter, ContextCache, embed_unscaled
from workloads.specdecode.policy import Always, Look, Policy
from workloads.specdecode.reading import Reader
from workloads.specdecode.repeats import Repeats


@dataclass(slots=True)
class Parts:
    """Seconds by part, and what they were spent on.

    Attributes:
        prefill_s: of the prompt; `draft_s` of blocks, `verify_s` of forwards over them,
            `context_s` of the drafter's K/V, the prompt's included; `plain_s` of plain steps;
            `repeat_s` of blocks that the text itself drafted.
        blocks: verified drafts of the drafter, `repeats` of the text; `steps` plain forwards.
        gained: tokens of each block, mean over the rows that were still decoding.
        block_s: seconds of each block, all parts.
        step_s: seconds of each plain step.
    """

    prefill_s: float = 0.0
    draft_s: float = 0.0
    verify_s: float = 0.0
    context_s: float = 0.0
    plain_s: float = 0.0
    repeat_s: float = 0.0
    blocks: int = 0
    repeats: int = 0
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


@dataclass(slots=True)
class _Run:
    """What a batch has come to: the new tokens of each row, and where the time went."""

    rows: list[list[int]]
    new_tokens: int
    clock: Clock
    parts: Parts

    @property
    def room(self) -> int:
        """Tokens that the shortest row still lacks."""
        return self.new_tokens - min(map(len, self.rows))


class Fused:
    """One batch that is decoded with a drafter.

    Where the policy has fallen back, a single row drafts from its own repetitions, and takes plain
    steps where there are none.

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
        self._repeats: Repeats | None = None
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
        run = _Run([[token] for token in anchors[:, 0].tolist()], new_tokens, clock, parts)
        if len(ids) == 1:
            self._repeats = Repeats(ids[0].tolist() + run.rows[0])
        self._masks = self._masks.to(reader.device).expand(len(ids), -1)
        while run.room > 0:
            repeated = self._find_repeated(run)
            if self._policy.drafts() and run.room > 1:
                anchors = self._run_block(anchors, run)
            elif repeated is not None:
                anchors = self._run_repeated(anchors, repeated, run)
            else:
                anchors = self._run_step(anchors, run)
        return Decoded(torch.tensor(run.rows), *clock.stop(), parts)

    def _find_repeated(self, run: _Run) -> torch.Tensor | None:
        """Tokens (1, N) that the text itself drafts, where it does."""
        if self._repeats is None or self._policy.drafts():
            return None
        found = self._repeats.find(min(self._drafter.config.block, run.room) - 1)
        return torch.tensor([found], device=self._reader.device) if found else None

    def _run_block(self, anchors: torch.Tensor, run: _Run) -> torch.Tensor:
        """Draft, verify, keep what agrees and the token after it; gives the next anchors."""
        clock, parts = run.clock, run.parts
        self._extend_context()
        context_s = clock.mark()
        drafts = self._draft(anchors)[:, : run.room - 1]
        draft_s = clock.mark()
        chosen, counts = self._verify(anchors, drafts, run)
        taken = [count for count in counts if count]
        parts.blocks += 1
        parts.gained.append(sum(taken) / len(taken))
        self._policy.learn(parts.gained[-1])
        verify_s = clock.mark()
        parts.context_s += context_s
        parts.draft_s += draft_s
        parts.verify_s += verify_s
        parts.block_s.append(context_s + draft_s + verify_s)
        return chosen

    def _run_repeated(self, anchors: torch.Tensor, drafts: torch.Tensor, run: _Run) -> torch.Tensor:
        """Verify what the text drafted; gives the next anchors."""
        chosen, (count,) = self._verify(anchors, drafts, run)
        for token in run.rows[0][-count:]:
            self._pass([token])
        run.parts.repeats += 1
        run.parts.repeat_s += run.clock.mark()
        return chosen

    def _verify(
        self, anchors: torch.Tensor, drafts: torch.Tensor, run: _Run
    ) -> tuple[torch.Tensor, list[int]]:
        """Read a draft (B, N), keep what agrees; the next anchors (B, 1), tokens of each row."""
        block = torch.cat([anchors, drafts], dim=1)
        read = self._reader.read(block)
        picks = read.logits.argmax(-1)  # (B, N): the verifier's own token after each
        agreed = (block[:, 1:] == picks[:, :-1]).int().cumprod(dim=1).sum(dim=1).tolist()
        counts = []
        for row, tokens, count in zip(run.rows, picks.tolist(), agreed, strict=True):
            counts.append(min(count + 1, run.new_tokens - len(row)))
            row += tokens[: counts[-1]]
        if self._repeats is not None:
            self._repeats.extend(run.rows[0][-counts[0] :])
        self._keep_context(read.features, max(counts))
        self._reader.keep(counts)
        last = torch.tensor(counts, device=block.device)[:, None] - 1
        return torch.where(last >= 0, picks.gather(1, last.clamp(min=0)), anchors), counts

    def _run_step(self, anchors: torch.Tensor, run: _Run) -> torch.Tensor:
        """One plain token for each row; gives the next anchors."""
        clock, parts = run.clock, run.parts
        if self._policy.probes() and self._look is None:
            self._extend_context()
            parts.context_s += clock.mark()
            self._look = Look(self._draft(anchors).tolist(), self._policy.enough)
            parts.draft_s += clock.mark()
        read = self._reader.read(anchors)
        picks = read.logits[:, -1].argmax(-1, keepdim=True)
        counts, tokens = [], picks[:, 0].tolist()
        for row, token in zip(run.rows, tokens, strict=True):
            counts.append(int(len(row) < run.new_tokens))
            row += [token] * counts[-1]
        if self._repeats is not None:
            self._repeats.extend(tokens)
        self._keep_context(read.features, 1)
        self._reader.keep(counts)
        self._pass(tokens)
        parts.steps += 1
        parts.step_s.append(clock.mark())
        parts.plain_s += parts.step_s[-1]
        if all(counts):
            return picks
        moved = torch.tensor(counts, device=picks.device, dtype=torch.bool)[:, None]
        return torch.where(moved, picks, anchors)

    def _pass(self, tokens: list[int]) -> None:
        """A position went by without the drafter: each row's token."""
        self._policy.step()
        gained = self._look.compare(tokens) if self._look else None
        if gained is not None:
            self._look = None
            self._policy.learn(gained)

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
