"""A workload of the tests: counted steps, an artifact of any size, an input from another job."""

from __future__ import annotations

from pathlib import Path

from tests.lab import commit_all, make_checkout

MODULE = '''\
"""Steps that are journalled one by one; an artifact; the input of another job, by its bytes."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from workloads.shared.context import Context
from workloads.shared.journal import Entry
from workloads.shared.samples import Sample


@dataclass(frozen=True, slots=True)
class Config:
    """How many steps of how many seconds; MiB of the artifact."""

    steps: int = 1
    step_s: float = 0.0
    artifact_mb: int = 0


def run(config: Config, context: Context) -> None:
    """Count, and leave `large/noise.bin` and what the input `base` held."""
    context.start("relay", config)
    for step in range(config.steps):
        if not context.resume(f"step-{step}"):
            time.sleep(config.step_s)
            context.commit(f"step-{step}", Entry((_sample(context, step),)))
        context.progress(step + 1, config.steps, "relay")
    if config.artifact_mb:
        path = context.artifact("large/noise.bin")
        with path.open("wb") as file:
            for block in range(config.artifact_mb):
                file.write(hashlib.shake_256(str(block).encode()).digest(2**20))
    context.artifact("small.txt").write_text("small, and left with the result")
    if "base" in context.job.inputs:
        data = context.input("base").read_bytes()
        context.artifact("seen.txt").write_text(hashlib.sha256(data).hexdigest())


def _sample(context: Context, step: int) -> Sample:
    digest = f"sha256:{hashlib.sha256(str(step).encode()).hexdigest()}"
    unit = f"step-{step}"
    return Sample("relay", context.seed, unit, digest, "attempt", float(context.attempt))
'''

_PRESET = """\
name: {name}
description: A relay of the tests.
argv: ["{{python}}", -m, workloads, relay, --job, "{{job}}"]
config: {{steps: "{{steps}}", step_s: "{{step_s}}", artifact_mb: "{{artifact_mb}}"}}
{inputs}params:
  steps: {{kind: int, min: 1, max: 1000, default: 1, doc: steps}}
  step_s: {{kind: number, min: 0, max: 10, default: 0, doc: seconds of each}}
  artifact_mb: {{kind: int, min: 0, max: 64, default: 0, doc: MiB of the artifact}}
{param}labels: [any]
resources: {{cpus: 1, memory_mb: 128}}
limits: {{wall_s: 600, memory_mb: 512, output_mb: 4, disk_mb: 256}}
executors: [local]
{checkpoint}plan: {{seeds: [0], arms: [relay]}}
metrics:
  - {{name: attempt, reducer: count, unit: step, better: none, doc: steps that were counted}}
gates:
  - id: counted
    rule: {{cmp: [{{m: attempt, arm: relay, stat: count}}, ">=", "1"]}}
"""


def make_relay_checkout(folder: Path) -> Path:
    """A trusted checkout with the presets `relay` and `relay-on`, which takes an artifact."""
    make_checkout(folder)
    table = folder / "workloads" / "__main__.py"
    text = table.read_text()
    line = '    "noop": "workloads.noop",\n'
    assert line in text
    table.write_text(text.replace(line, f'{line}    "relay": "workloads.relay",\n'))
    (folder / "workloads" / "relay").mkdir()
    (folder / "workloads" / "relay" / "__init__.py").write_text(MODULE)
    checkpoint = "checkpoint: {max_mb: 4, every_s: 1}\n"
    plain = _PRESET.format(name="relay", inputs="", param="", checkpoint=checkpoint)
    taking = _PRESET.format(
        name="relay-on",
        inputs='inputs: {base: "{base}"}\n',
        param="  base: {kind: artifact, doc: what an earlier job left}\n",
        checkpoint="",
    )
    (folder / "presets" / "relay.yaml").write_text(plain)
    (folder / "presets" / "relay-on.yaml").write_text(taking)
    commit_all(folder, "a relay")
    return folder
