"""What a job's result depends on, as one digest: two jobs of one digest need not both run.

Code, params, inputs, packages and hardware, and what the preset launches; not its gates, which are
judged again. Nothing is said of work that cannot be told whole: a preset with secrets, another
machine's packages, code that imported a file beyond what is counted here.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import proc
from bridge.canonical import digest, thaw
from bridge.errors import KakeyaError
from bridge.git import Git
from bridge.records import Request
from bridge.runner.config import RunnerConfig
from bridge.runner.facts import describe_hardware
from bridge.runner.trust import Trust
from bridge.runner.workspace import digest_inputs
from presets.binding import render_argv, render_config
from presets.definition import Preset

HERE = frozenset({"local", "pueue"})
"""Executors whose jobs see this machine's packages and hardware."""
_ENV_KEYS = ("python", "implementation", "machine", "system", "packages")
_LEAF = ("bridge/__init__.py", "bridge/errors.py", "bridge/canonical.py")
_TIMEOUT_S = 60.0
_ASK = (
    "import sys, json; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1]); "
    "import bootstrap; print(json.dumps([sys.path, bootstrap.environment()]))"
)
_told: dict[tuple[str, ...], tuple[tuple[str, ...], object, dict[str, Any]]] = {}
"""By interpreter and variables: where packages lie, the dates of these folders, what it said."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a job would do.

    Attributes:
        digest: of all of it.
        files: path to blob id of the code that counts.
    """

    digest: str
    files: Mapping[str, str]


def describe_work(
    request: Request,
    preset: Preset,
    config: RunnerConfig,
    trust: Trust,
    find: Callable[[str], Git],
    say: Callable[[str], None],
) -> Work | None:
    """The work that a request asks of this machine; None where it cannot be told.

    Args:
        request: what is asked.
        preset: from the trusted commit.
        config: the runner's settings.
        trust: the trusted commit.
        find: a repository that holds a code commit, closed here.
        say: told what is being waited for.

    Raises:
        KakeyaError: the code or an input cannot be had.
    """
    if preset.secrets or (request.executor or preset.executors[0]) not in HERE:
        return None
    inputs = digest_inputs(request, preset, config, trust, say)
    files = _read_code(request.code, preset, find)
    env = read_environment(config, trust)
    return seal_work(
        request, preset, config, files, inputs, env, describe_hardware()["fingerprint"]
    )


def confirm_work(
    record: Mapping[str, Any],
    request: Request,
    preset: Preset,
    config: RunnerConfig,
    find: Callable[[str], Git],
) -> str | None:
    """The digest of the work that a record is of, by the record's own facts; None: do not reuse it.

    Args:
        record: of a job that ran to its end here.
        request: what was asked.
        preset: from the trusted commit.
        config: the runner's settings.
        find: a repository that holds a code commit, closed here.
    """
    if preset.secrets or record["runner"].get("executor") not in HERE:
        return None
    code, fingerprint = record["code"], record["hardware"].get("fingerprint")
    files = _read_code(request.code, preset, find)
    covered = set(code.get("imported", {})) <= set(files)
    env = record["env"]
    if not covered or code.get("dirty") or code.get("foreign") or not fingerprint:
        return None
    if record["result"]["integrity"] != "ok" or any(key not in env for key in _ENV_KEYS):
        return None
    inputs = {item["role"]: item["digest"] for item in record["inputs"]}
    return seal_work(request, preset, config, files, inputs, env, fingerprint).digest


def seal_work(
    request: Request,
    preset: Preset,
    config: RunnerConfig,
    files: Mapping[str, str],
    inputs: Mapping[str, str],
    env: Mapping[str, Any],
    fingerprint: str,
) -> Work:
    """The work that all of this makes; a difference in any of it is other work."""
    import os

    variables = {**os.environ, **config.env}
    reserved = {"python": "{python}", "job": "{job}", "out": "{out}"}
    told = {
        "preset": preset.name,
        "argv": list(render_argv(preset, request.params, reserved, variables)),
        "config": render_config(preset, request.params, variables),
        "env": {name: variables.get(name, "") for name in preset.env},
        "own_env": dict(config.env),
        "limits": thaw(preset.document["limits"]),
        "resources": [
            request.resources.cpus,
            request.resources.memory_mb,
            request.resources.gpus,
            request.resources.gpu_memory_mb,
        ],
        "params": thaw(request.params),
        "code": dict(files),
        "inputs": dict(inputs),
        "packages": {key: env[key] for key in _ENV_KEYS},
        "hardware": fingerprint,
    }
    return Work(digest(told), files)


def _read_code(commit: str, preset: Preset, find: Callable[[str], Git]) -> dict[str, str]:
    """The files that a workload may import; those of the whole commit for any other program."""
    git = find(commit)
    try:
        files = {path: oid for path, (_, oid) in git.list_files(commit).items()}
    finally:
        git.close()
    argv = preset.document["argv"]
    if argv[:3] != ["{python}", "-m", "workloads"] or len(argv) < 4:
        return files
    folders = (f"workloads/{argv[3]}/", "workloads/shared/")
    return {
        path: oid
        for path, oid in files.items()
        if path.startswith(folders)
        or path in _LEAF
        or (path.startswith("workloads/") and path.count("/") == 1)
    }


def read_environment(config: RunnerConfig, trust: Trust) -> dict[str, Any]:
    """The packages that a job of this runner would see, told by its own interpreter.

    It is asked again once a folder that packages lie in has changed.

    Raises:
        KakeyaError: the interpreter cannot be asked.
    """
    python = config.python or sys.executable
    key = (python, *(f"{name}={value}" for name, value in sorted(config.env.items())))
    known = _told.get(key)
    if known is not None and known[1] == _dates(known[0]):
        return known[2]
    done = proc.run(
        [python, "-c", _ASK, str(trust.folder / "executors")],
        cwd=Path("/"),
        env={**proc.base_env(), **config.env},
        timeout_s=_TIMEOUT_S,
    )
    try:
        places, found = json.loads(done.stdout)
    except ValueError as error:
        raise KakeyaError("cannot tell its packages", where=python) from error
    _told[key] = (tuple(places), _dates(places), dict(found))
    return dict(found)


def _dates(places: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """When each folder changed last; an installed or removed package changes its folder."""
    found = []
    for place in places:
        with contextlib.suppress(OSError):
            found.append((place, Path(place).stat().st_mtime_ns))
    return tuple(found)
