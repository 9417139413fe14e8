"""A memory before a frozen language model, four mechanisms, and a 26-case audit (seed 000).

Arms differ in which mechanisms they have; all are trained for the same number of steps and sit
the same audit. What became of each case is told against the arm without mechanisms, and a case
whose definition changed is redefined, never gained.
"""

from __future__ import annotations

import json
import time

import torch

from workloads.ams_audit.audit import Audit, deterministic, read_table, run_audit
from workloads.ams_audit.config import ARMS, ArmName, Config
from workloads.ams_audit.live import DeafMemory, LiveMemory
from workloads.ams_audit.rows import list_findings, list_losses, list_marks, list_transitions, tell
from workloads.ams_audit.subjects import load_subject
from workloads.ams_audit.tokens import Vocabulary
from workloads.ams_audit.training import Losses, Trained, train
from workloads.shared.context import Context
from workloads.shared.frozen import FrozenModel
from workloads.shared.job import digest_config
from workloads.shared.journal import Entry
from workloads.shared.pace import Pace

__all__ = ["Config", "run"]

BASE: ArmName = "baseline"


def run(config: Config, context: Context) -> None:
    """Train every arm on every seed and audit it."""
    pace = Pace(context, len(config.seeds) * len(config.arms) * (config.sizes.steps + 1))
    model, vocabulary = load_subject(config, context, pace)
    context.state(
        scale=config.scale,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        width=model.width,
        vocabulary=vocabulary.size,
        loudness=round(model.loudness, 4),
    )
    # others are compared with the baseline, so it comes first
    names = sorted(config.arms, key=lambda name: name != BASE)
    for seed in config.seeds:
        for name in names:
            _run_arm(config, context, pace, (model, vocabulary), name, seed)


def _run_arm(
    config: Config,
    context: Context,
    pace: Pace,
    subject: tuple[FrozenModel, Vocabulary],
    name: ArmName,
    seed: int,
) -> None:
    key = f"{name} {seed}"
    if context.resume(key):
        pace.advance(f"{key}: done before", config.sizes.steps + 1)
        return
    arm = ARMS[name]
    started_s = time.process_time()

    def report(losses: Losses) -> None:
        pace.advance(f"{key}: {losses['recon']:.2f} nats")

    digest = digest_config(config).removeprefix("sha256:")[:16]
    folder = context.checkpoint_dir / digest
    trained = train(
        ARMS[arm.trained_as or name], config, *subject, seed,
        snapshot=folder / f"{arm.trained_as or name}-s{seed}.pt", on_step=report,
    )  # fmt: skip
    trained_s = time.process_time()
    audit = _audit(config, trained, subject, name)
    rows = list_findings(audit, name, seed)
    base = folder / f"audit-{BASE}-s{seed}.json"
    if name == BASE:
        base.write_text(json.dumps(audit.as_record()), "utf-8")
        repeated = _audit(config, trained, subject, name)
        rows.append(tell(name, seed, "repeated", repeated == audit))
    if base.exists():
        before = read_table(json.loads(base.read_text("utf-8")))
        rows += list_transitions(before, audit, name, seed)
    if arm.trained_as is None:
        rows += list_losses(trained, name, seed)
        rows += list_marks(trained, name, seed)
    log = tuple(
        {"arm": name, "seed": seed, "step": step, **losses}
        for step, losses in enumerate(trained.history)
        if arm.trained_as is None
    )
    counters = {
        f"{name}.units": 1,
        f"{name}.steps": len(trained.history),
        f"{name}.train_process_s": round(trained_s - started_s, 3),
        f"{name}.audit_process_s": round(time.process_time() - trained_s, 3),
    }
    notes = {"train_log.jsonl": log, f"audits/{name}-s{seed}.json": (audit.as_record(),)}
    context.commit(key, Entry(tuple(rows), counters, notes))
    left = 1 + config.sizes.steps - len(trained.history)
    pace.advance(f"{key}: {audit.passed} of {len(audit.findings)} cases pass", left)


def _audit(
    config: Config, trained: Trained, subject: tuple[FrozenModel, Vocabulary], name: ArmName
) -> Audit:
    arm = ARMS[name]
    memory = (DeafMemory if arm.deaf else LiveMemory)(trained.memory, *subject)
    with deterministic(config.deterministic):
        return run_audit(memory, reader=arm.reader, traced=config.sizes.traced)
