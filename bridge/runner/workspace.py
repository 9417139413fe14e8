"""The folder of one attempt: code without `.git`, inputs by path, the job file, the launch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bridge import proc
from bridge.canonical import encode
from bridge.errors import KakeyaError, RefusedError
from bridge.git import Git
from bridge.records import Request
from bridge.runner.artifacts import provide_artifact
from bridge.runner.assets import Material, provide_asset, provide_path
from bridge.runner.config import RunnerConfig
from bridge.runner.trust import Trust, module_command
from executors.contract import CODE, OUT, Job, bootstrap_tokens
from executors.supervise.launch import Limits
from presets.binding import Input, render_argv, render_config, render_inputs
from presets.definition import Preset

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A prepared attempt: the job for its executor, and what it was made of."""

    folder: Path
    job: Job
    inputs: Mapping[str, Material]
    code_tree: str
    lfs_pointers: tuple[str, ...]


def job_folder(state_dir: Path, request_id: str, attempt: int) -> Path:
    """Where an attempt lives."""
    return state_dir / "jobs" / f"{request_id}-{attempt}"


def prepare_workspace(
    request: Request,
    attempt: int,
    preset: Preset,
    config: RunnerConfig,
    trust: Trust,
    *,
    find_code: Callable[[str], Git],
    say: Callable[[str], None],
) -> Workspace:
    """Fill the attempt's folder, anew if an earlier try was cut off.

    Args:
        request: what is asked.
        attempt: number of the try.
        preset: from the trusted commit.
        config: the runner's own settings.
        trust: the trusted commit.
        find_code: a repository that holds the code commit; closed here.
        say: told what is being waited for.

    Raises:
        KakeyaError: the code or an input cannot be had, or a variable of the runner is missing.
    """
    folder = job_folder(config.state_dir, request.id, attempt)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / OUT).mkdir(parents=True)
    git = find_code(request.code)
    try:
        git.export(request.code, folder / CODE)
        tree = git.tree_of(request.code)
    finally:
        git.close()
    env = dict(os.environ) | dict(config.env)
    wanted = render_inputs(preset, request.params, env)
    inputs = {
        role: provide_artifact(role, item.value, request, config, folder / "inputs", say)
        if item.kind == "artifact"
        else _provide(item, config, trust, say)
        for role, item in wanted.items()
    }
    _write_job_file(folder, request, attempt, preset, inputs, env, config.state_dir)
    job = Job(
        id=request.id,
        attempt=attempt,
        folder=folder,
        argv=render_argv(
            preset,
            request.params,
            {
                "python": bootstrap_tokens(config.python, folder),
                "job": str(folder / "job.json"),
                "out": str(folder / OUT),
            },
            env,
        ),
        env=_environment(request, preset, folder, env, config),
        limits=Limits(
            wall_s=preset.limits.wall_s,
            memory_mb=preset.limits.memory_mb,
            output_mb=preset.limits.output_mb,
            disk_mb=preset.limits.disk_mb,
            grace_s=preset.limits.grace_s,
        ),
        resources=request.resources,
        run_as=config.run_as,
        writable=(checkpoint_folder(config.state_dir, request.id),),
        labels=request.labels,
        secrets=tuple(name for name in preset.secrets if name in env),
    )
    return Workspace(folder, job, inputs, tree, _find_lfs_pointers(folder / CODE))


def checkpoint_folder(state_dir: Path, request_id: str) -> Path:
    """What outlives an attempt, so that the next one on this machine resumes."""
    return state_dir / "checkpoints" / request_id


def _write_job_file(
    folder: Path,
    request: Request,
    attempt: int,
    preset: Preset,
    inputs: Mapping[str, Material],
    env: Mapping[str, str],
    state_dir: Path,
) -> None:
    checkpoint = checkpoint_folder(state_dir, request.id)
    checkpoint.mkdir(parents=True, exist_ok=True)
    document = {
        "schema": "kakeya.job/1",
        "config": render_config(preset, request.params, env),
        "inputs": {role: str(material.path) for role, material in inputs.items()},
        "out": str(folder / OUT),
        "checkpoint": str(checkpoint),
        "attempt": attempt,
        "seed": 0,
    }
    (folder / "job.json").write_bytes(encode(document))


def digest_inputs(
    request: Request,
    preset: Preset,
    config: RunnerConfig,
    trust: Trust,
    say: Callable[[str], None],
) -> dict[str, str]:
    """The digest of each input of a request by role; assets are fetched where they are not here.

    Raises:
        KakeyaError: one cannot be had.
    """
    wanted = render_inputs(preset, request.params, dict(os.environ) | dict(config.env))
    return {
        role: item.value if item.kind == "artifact" else _provide(item, config, trust, say).digest
        for role, item in wanted.items()
    }


def _provide(
    item: Input, config: RunnerConfig, trust: Trust, say: Callable[[str], None]
) -> Material:
    if item.kind == "path":
        return provide_path(item.role, item.value)
    return provide_asset(
        trust.catalog.assets[item.value],
        config.assets_dir,
        module_command=lambda module, *rest: module_command(trust, module, *rest),
        say=say,
    )


def _environment(
    request: Request,
    preset: Preset,
    folder: Path,
    env: Mapping[str, str],
    config: RunnerConfig,
) -> dict[str, str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    threads = str(request.resources.cpus)
    passed = {name: env[name] for name in (*preset.env, *preset.secrets) if name in env}
    return {
        **proc.base_env(),
        **dict.fromkeys(THREAD_VARIABLES, threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **dict(config.env),
        **passed,
        "HOME": str(home),
        "TMPDIR": str(home),
    }


def _find_lfs_pointers(code: Path) -> tuple[str, ...]:
    head = b"version https://git-lfs.github.com/spec/"
    found = []
    for path in code.rglob("*"):
        if path.is_file() and path.stat().st_size < 1024 and path.read_bytes().startswith(head):
            found.append(path.relative_to(code).as_posix())
    return tuple(sorted(found))


def is_merged(checkout: Path, commit: str, trusted: str) -> bool:
    """Whether `commit` is reachable from the trusted commit, as far as the checkout knows."""
    git = Git.find(checkout)
    if git is None:
        return False
    try:
        return git.resolve(commit) is not None and git.is_ancestor(commit, trusted)
    finally:
        git.close()


def find_code(checkout: Path, commit: str, fetch: Callable[[str], Git]) -> Git:
    """A repository that holds a code commit: the trusted checkout, or a cache that fetched it.

    Raises:
        RefusedError: it is neither here nor on the bus.
    """
    git = Git.find(checkout)
    if git is not None:
        if git.resolve(commit) is not None:
            return git
        git.close()
    try:
        return fetch(commit)
    except KakeyaError as error:
        raise RefusedError(
            f"the code commit {commit[:12]} is not on the bus",
            where="$.code",
            remedy="push it with the request: kakeya_remote run ... --push-code",
        ) from error


def read_json(path: Path) -> dict[str, object]:
    """A JSON object that a trusted process of this machine wrote; empty where it is not there."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
