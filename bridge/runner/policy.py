"""What a runner does with a queued job: pure decisions, no clock, no I/O."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bridge.bus.chain import Chain
from bridge.bus.refs import JobRef
from bridge.errors import IntegrityError, ManifestError
from bridge.git import RefTip
from bridge.records import Request, Resources
from bridge.runner.config import RunnerConfig
from presets.admission import check_request
from presets.catalog import Catalog
from presets.definition import Preset

FAIRNESS = 4  # every fourth claim takes the job that was seen longest
_SPREAD = 256  # eight runners with sixteen slots then collide in a quarter of their claims
HEAD = 8  # claims are drawn at random among this many, so that runners seldom collide


@dataclass(frozen=True, slots=True)
class Take:
    """The job may run here."""

    request: Request
    preset: Preset
    executor: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Every runner must refuse the job: it ends rejected, `problems` at their paths."""

    message: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pass:
    """The job is left to others; `reason` as in `records.Decline`."""

    reason: str
    detail: str


Decision = Take | Refuse | Pass


def decide(
    chain: Chain,
    config: RunnerConfig,
    catalog: Catalog,
    executors: Sequence[str],
    is_merged: Callable[[str], bool],
    signer: Callable[[Chain], str],
) -> Decision:
    """Whether this runner may run a queued job, whatever is free at the moment.

    Args:
        chain: the job.
        config: the runner's own settings.
        catalog: presets of the trusted commit.
        executors: names of the executors that this runner has.
        is_merged: whether a code commit is reachable from the trusted commit.
        signer: who signed the request; raises IntegrityError where nobody listed did.
    """
    if chain.newer:
        return Pass("version", chain.newer)
    request = chain.request
    if request is None:
        return Refuse("the request is malformed", chain.problems)
    try:
        preset = catalog.get(request.preset.name)
    except ManifestError as error:
        return Refuse("no such preset", (f"$.preset.name: {error.message}",))
    if preset.digest != request.preset.digest:
        return Pass(
            "preset",
            f"the request has {preset.name} as {request.preset.digest[:19]}, "
            f"this runner trusts {preset.digest[:19]}",
        )
    problems = check_request(request, preset)
    if problems:
        return Refuse("the request does not fit its preset", tuple(problems))
    executor = request.executor or preset.executors[0]
    return (
        _unsuited(request, executor, config, executors)
        or _code_refusal(chain, request, preset, config, is_merged, signer)
        or Take(request, preset, executor)
    )


def _unsuited(
    request: Request, executor: str, config: RunnerConfig, executors: Sequence[str]
) -> Pass | None:
    if request.runner not in (None, config.name) or request.avoid == config.name:
        wanted = f"for {request.runner} alone" if request.runner else f"not for {request.avoid}"
        return Pass("label", f"the request is {wanted}")
    lacking = [label for label in request.labels if label not in config.labels]
    if lacking:
        return Pass("label", f"this runner has no label {', '.join(lacking)}")
    short = _shortage(request.resources, config.slots)
    if short:
        return Pass("resources", f"this runner has {short}")
    if executor not in executors:
        return Pass("policy", f"this runner has no executor {executor}")
    return None


def _code_refusal(
    chain: Chain,
    request: Request,
    preset: Preset,
    config: RunnerConfig,
    is_merged: Callable[[str], bool],
    signer: Callable[[Chain], str],
) -> Pass | None:
    if is_merged(request.code) or (config.code_policy == "any" and not preset.secrets):
        return None
    if config.code_policy == "merged":
        return Pass(
            "policy",
            f"code {request.code[:12]} is not merged: not reachable from the trusted commit",
        )
    if config.allowed_signers is None:
        return Pass("policy", "secrets are given to merged or signed code alone")
    try:
        signer(chain)
    except IntegrityError as error:
        return Pass("policy", f"code {request.code[:12]} is not merged, and: {error}")
    return None


def _shortage(wanted: Resources, there: Resources) -> str:
    pairs = [
        ("CPU slots", wanted.cpus, there.cpus),
        ("MiB of memory", wanted.memory_mb, there.memory_mb),
        ("GPUs", wanted.gpus, there.gpus),
        ("MiB of GPU memory", wanted.gpu_memory_mb, there.gpu_memory_mb),
    ]
    return ", ".join(f"{has} {what}, not {want}" for what, want, has in pairs if want > has)


def fits(wanted: Resources, free: Resources) -> bool:
    """Whether what is free now suffices."""
    return not _shortage(wanted, free)


def subtract(total: Resources, used: Sequence[Resources]) -> Resources:
    """What is left of `total` beside the jobs in `used`; memory per GPU is not shared out."""
    return Resources(
        cpus=total.cpus - sum(item.cpus for item in used),
        memory_mb=total.memory_mb - sum(item.memory_mb for item in used),
        gpus=total.gpus - sum(item.gpus for item in used),
        gpu_memory_mb=total.gpu_memory_mb,
    )


def spread(
    jobs: Mapping[str, tuple[JobRef, RefTip]], chance: random.Random
) -> dict[str, tuple[JobRef, RefTip]]:
    """The same jobs, the older first, but at random among each few hundred.

    Runners that find many jobs at one poll would read, and claim, the same few first.
    """
    refs = sorted(jobs, key=lambda ref: (jobs[ref][0].priority, jobs[ref][0].id))
    order: list[str] = []
    for start in range(0, len(refs), _SPREAD):
        block = refs[start : start + _SPREAD]
        chance.shuffle(block)
        order += block
    return {ref: jobs[ref] for ref in order}


def order_queue(
    refs: Sequence[str],
    priorities: Mapping[str, int],
    first_seen: Mapping[str, int],
    claims_made: int,
    chance: random.Random,
) -> list[str]:
    """The order in which queued jobs are tried.

    By priority, at random within the head of each, so that racing runners seldom pick the same;
    every fourth claim starts with the job seen longest, so that nothing starves.
    """
    queue = sorted(refs, key=lambda ref: (priorities[ref], first_seen[ref]))
    if not queue:
        return []
    if claims_made % FAIRNESS == FAIRNESS - 1:
        oldest = min(queue, key=lambda ref: first_seen[ref])
        return [oldest, *(ref for ref in queue if ref != oldest)]
    best = priorities[queue[0]]
    head = [ref for ref in queue[:HEAD] if priorities[ref] == best]
    chance.shuffle(head)
    taken = set(head)
    return [*head, *(ref for ref in queue if ref not in taken)]
