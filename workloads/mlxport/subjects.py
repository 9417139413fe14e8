"""Both sides of the comparison: the torch reference, and the port that reads what it saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import torch

from bridge.errors import UsageError
from workloads.mlxport import models
from workloads.mlxport.config import ArmName, Config, Precision
from workloads.mlxport.drafter import PortedBlockDrafter
from workloads.mlxport.models import PortedModel
from workloads.mlxport.projection import PortedProjection
from workloads.mlxport.sources import OwnSource, PortedDrafter, ProjectedSource, Source
from workloads.mlxport.verifier import RestoredVerifier
from workloads.shared.context import Context
from workloads.shared.drafter import BlockDrafter, DrafterConfig
from workloads.shared.needles import Haystack
from workloads.shared.pace import Pace
from workloads.shared.restored import sources as torch_sources
from workloads.shared.restored.arms import ARMS, Bounds
from workloads.shared.restored.closed_form import fit_ridge
from workloads.shared.restored.drafters import truncate
from workloads.shared.restored.projection import FThetaProjection
from workloads.shared.restored.targets import Teacher
from workloads.shared.restored.verifier import Verifier
from workloads.shared.tasks import EssayTask, Task, make_texts
from workloads.shared.verifiers import load_verifier

TEXTS_SEED = 5_000_000  # of no problem
ROWS = 8


@dataclass(frozen=True, slots=True)
class Reference:
    """The torch side in one precision."""

    model: Any
    drafter: torch_sources.Drafter
    projection: FThetaProjection

    def make_verifier(self, config: Config, arm: ArmName) -> Verifier:
        """A fresh verifier of one arm; the planted fault is in MLX alone."""
        spec = ARMS["projected" if arm == "planted" else arm]
        source: torch_sources.Source | None = None
        if spec.source == "own":
            source = torch_sources.OwnSource()
        elif spec.source == "projected":
            source = torch_sources.ProjectedSource(self.drafter, self.projection)
        layers = Teacher(self.model).layers
        plans = spec.plan(layers, Bounds(config.sink, config.window))
        return Verifier(self.model, plans, source, chunk=config.chunk)


@dataclass(frozen=True, slots=True)
class Port:
    """The MLX side in one precision."""

    verifier: PortedModel
    drafter: PortedModel
    projection: PortedProjection

    def make_verifier(
        self, config: Config, arm: ArmName, *, targets: tuple[int, ...] = ()
    ) -> RestoredVerifier:
        """A fresh verifier of one arm."""
        spec = ARMS["projected" if arm == "planted" else arm]
        source: Source | None = None
        if spec.source == "own":
            source = OwnSource()
        elif spec.source == "projected":
            planted = arm == "planted"
            projection = self.projection.swapped() if planted else self.projection
            source = ProjectedSource(PortedDrafter(self.drafter), projection)
        plans = spec.plan(self.verifier.layers, Bounds(config.sink, config.window))
        return RestoredVerifier(self.verifier, plans, source, chunk=config.chunk, targets=targets)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where each part lies, as torch wrote it or as it was given.

    `drafter` is None where the verifier's own first layers draft: saved by themselves they would
    not come back the same, as transformers gives a Gemma-4's last layer full attention.
    """

    verifier: Path
    drafter: Path | None
    projection: Path
    block_drafter: Path


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked, and the parts on disk that both sides read."""

    task: Task
    folders: Folders
    drafter_layers: int

    def load_reference(self, dtype: Precision) -> Reference:
        """The torch side."""
        wanted = getattr(torch, dtype)
        projection = FThetaProjection.load(self.folders.projection).to(wanted)
        model = _load_torch(self.folders.verifier, wanted)
        return Reference(model, _find_drafter(self.folders, model, self.drafter_layers), projection)

    def load_port(self, dtype: Precision) -> Port:
        """The MLX side."""
        verifier = models.load(self.folders.verifier, dtype=dtype)
        drafter = (
            models.load(self.folders.verifier, dtype=dtype, depth=self.drafter_layers)
            if self.folders.drafter is None
            else models.load(self.folders.drafter, dtype=dtype)
        )
        projection = PortedProjection.load(self.folders.projection, dtype=verifier.dtype)
        return Port(verifier, drafter, projection)

    def load_block_drafter(self, port: Port) -> PortedBlockDrafter:
        """The drafter of blocks, in MLX."""
        return PortedBlockDrafter.load(self.folders.block_drafter, port.verifier)


def load_subject(config: Config, context: Context, pace: Pace) -> Subject:
    """What the job gives, else what is trained or fitted here, on disk for both sides."""
    made = context.checkpoint_dir / "parts"
    folders = Folders(
        _find(context, "weights", made / "verifier"),
        context.input("drafter") if "drafter" in context.job.inputs else None,
        _find(context, "projection", made / "projection"),
        _find(context, "block_drafter", made / "block_drafter"),
    )
    if config.reference == "torch":
        task = _make_parts(config, context, pace, folders)
    else:
        for role in ("weights", "projection"):
            context.input(role)
        task = _load_essays(config, context)
    if "block_drafter" not in context.job.inputs:
        _make_block_drafter(config, folders)
    return Subject(task, folders, config.drafter_layers)


def _find(context: Context, role: str, otherwise: Path) -> Path:
    return context.input(role) if role in context.job.inputs else otherwise


def _make_parts(config: Config, context: Context, pace: Pace, folders: Folders) -> Task:
    """Train the verifier and fit the projection, where they are not given."""
    found = load_verifier(
        context,
        pace,
        scale=config.scale,
        seed=config.verifier_seed,
        device="cpu",
        dtype="float32",
        new_tokens=config.new_tokens,
    )
    given = context.job.inputs
    if "weights" not in given:
        _save(found.model, folders.verifier)
    if "projection" not in given:
        teacher = Teacher(found.model)
        drafter = _find_drafter(folders, found.model, config.drafter_layers)
        texts = make_texts(
            found.task,
            seed=TEXTS_SEED + config.verifier_seed,
            count=-(-config.texts // ROWS),
            rows=min(ROWS, config.texts),
            length=config.length,
            device=found.device,
        )
        batches = [teacher.observe(ids, attention=False) for ids in texts]
        fit_ridge(teacher, drafter, batches, rank=config.rank).save(folders.projection)
    return found.task


def _find_drafter(folders: Folders, verifier: Any, depth: int) -> torch_sources.Drafter:
    """The drafter that was given, else the verifier's first layers."""
    if folders.drafter is None:
        return torch_sources.Drafter(truncate(verifier, depth))
    return torch_sources.Drafter(_load_torch(folders.drafter, verifier.dtype))


def _load_essays(config: Config, context: Context) -> Task:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            context.input("weights"), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"no tokenizer: {error}", where="$.inputs.weights") from error
    haystack = Haystack.read(tokenizer, context.input("essays"))
    return EssayTask(tokenizer, haystack, new_tokens=config.new_tokens)


def _make_block_drafter(config: Config, folders: Folders) -> None:
    """A drafter of random weights: its drafts are compared, whatever they are worth."""
    ported = models.load(folders.verifier)
    depth = len(ported.layers)
    shape = DrafterConfig(
        hidden=int(ported.decoder.norm.weight.shape[0]),
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=32,
        intermediate=2 * int(ported.decoder.norm.weight.shape[0]),
        target_layers=tuple(sorted({0, depth // 2, depth - 2})),
        mask_token=1,
        block=config.block,
    )
    BlockDrafter(shape, seed=config.verifier_seed).save(folders.block_drafter)
    mx.clear_cache()


def _save(model: Any, folder: Path) -> None:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)


def _load_torch(folder: Path, dtype: torch.dtype) -> Any:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    # Loaded anew in each precision: a cast model would round the frequencies of its RoPE too.
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, trust_remote_code=False
    )
    return model.eval().requires_grad_(False)
