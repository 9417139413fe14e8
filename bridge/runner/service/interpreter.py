"""Which Python runs the jobs: one that can import what the runner's labels promise, and pinned."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bridge import proc
from bridge.errors import KakeyaError, MissingPartError, UsageError
from bridge.runner.outbox import write_synced

SCHEMA = "kakeya.pin/1"
LOOK_S = 120.0
"""A first import of torch from a cold disk takes half a minute."""

# a label promises that a job which asks for it finds these
_PROMISES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"cuda|h[0-9]{3}|a[0-9]{3}|b[0-9]{3}|l[0-9]{2}s?", ("torch", "transformers", "safetensors")),
    (r"mlx", ("mlx.core", "mlx_lm")),
    (r"mac-m[0-9]+", ("torch", "transformers", "safetensors")),
)
_LOOK = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        root = sys.modules[name.partition(".")[0]]
        found[name] = str(getattr(module, "__version__", getattr(root, "__version__", "")))
    except Exception as error:
        found[name] = None
print(json.dumps({"version": sys.version.split()[0], "prefix": sys.prefix, "modules": found}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and what it can import.

    Attributes:
        path: as it is called; a link stays one.
        version: such as 3.12.4.
        prefix: the environment that it belongs to.
        modules: versions of the modules asked for; None where one cannot be imported.
    """

    path: str
    version: str
    prefix: str
    modules: dict[str, str | None] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """What it cannot import."""
        return tuple(name for name, version in self.modules.items() if version is None)


@dataclass(frozen=True, slots=True)
class Pin:
    """What an installation found and relies on: the runner's Python, the jobs', the labels."""

    runner: Interpreter
    jobs: Interpreter
    labels: tuple[str, ...]


def promised_modules(labels: Iterable[str]) -> tuple[str, ...]:
    """Modules that jobs of these labels import, each once."""
    found = [
        module
        for label in labels
        for pattern, modules in _PROMISES
        if re.fullmatch(pattern, label)
        for module in modules
    ]
    return tuple(dict.fromkeys(found))


def extras_for(labels: Iterable[str]) -> tuple[str, ...]:
    """The extras of pyproject.toml that bring what the labels promise."""
    modules = promised_modules(labels)
    wanted = [("workloads", "torch" in modules), ("mlx", "mlx_lm" in modules)]
    return ("reports", *(extra for extra, needed in wanted if needed))


def inspect_interpreter(path: str, modules: Sequence[str] = ()) -> Interpreter:
    """Start a Python and ask what it is and what it can import.

    Raises:
        MissingPartError: there is none at `path`.
        ExecutorError: it does not end.
        UsageError: what is there is no Python 3.
    """
    argv = [path, "-I", "-c", _LOOK, *modules]
    done = proc.run(argv, cwd=Path("/"), env=proc.base_env(), timeout_s=LOOK_S)
    try:
        told = json.loads(done.stdout.decode().strip().splitlines()[-1])
        return Interpreter(path, told["version"], told["prefix"], told["modules"])
    except (ValueError, LookupError, TypeError) as error:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UsageError(
            f"is no usable Python: {said[-1][:200] if said else 'it said nothing'}",
            where=path,
            remedy="name another one: python in the runner's file",
        ) from error


def candidates(named: str | None, path: str) -> tuple[str, ...]:
    """Where to look: the one named alone; else this program's own, then those on `PATH`."""
    if named is not None:
        return (named,)
    names = ("python3", "python3.13", "python3.12", "python3.11")
    folders = [folder for folder in path.split(os.pathsep) if folder]
    there = [os.path.join(folder, name) for folder in folders for name in names]
    usable = [one for one in there if os.access(one, os.X_OK)]
    return tuple(dict.fromkeys((sys.executable, *usable)))


def choose_interpreter(paths: Sequence[str], labels: Sequence[str]) -> Interpreter:
    """The first Python that can import what the labels promise.

    Raises:
        MissingPartError: none can; what each lacks is named.
    """
    modules = promised_modules(labels)
    problems = []
    for path in paths:
        try:
            found = inspect_interpreter(path, modules)
        except KakeyaError as error:
            problems.append(f"{path}: {error.message}")
            continue
        if not found.missing:
            return found
        problems.append(f"{path} (Python {found.version}): lacks {', '.join(found.missing)}")
    extra = ",".join(extras_for(labels))
    raise MissingPartError(
        f"no Python here has what the labels {', '.join(labels)} promise",
        where="interpreter",
        problems=tuple(problems),
        remedy=f"pip install -c constraints.txt -e '.[{extra}]' in the trusted checkout's "
        "environment, or name another one as python, or drop the label",
    )


def write_pin(path: Path, pin: Pin) -> None:
    """Keep the pin beside the runner's state."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"schema": SCHEMA, **asdict(pin), "labels": list(pin.labels)}
    write_synced(path, (json.dumps(document, indent=1) + "\n").encode())


def read_pin(path: Path) -> Pin:
    """The pin as it was written.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']}")
        runner, jobs = (Interpreter(**document[name]) for name in ("runner", "jobs"))
        return Pin(runner, jobs, tuple(document["labels"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"the pin of the interpreter cannot be read: {error}",
            where=str(path),
            remedy="kakeya_remote runner install",
        ) from error


def check_pin(pin: Pin, labels: Sequence[str]) -> None:
    """Make sure that the jobs' Python is what was pinned, and still keeps the labels' promise.

    Raises:
        UsageError: it moved, or lost a module; both states are named.
    """
    modules = promised_modules(labels)
    remedy = "set the environment up again, then: kakeya_remote runner install"
    try:
        now = inspect_interpreter(pin.jobs.path, modules)
    except MissingPartError as error:
        raise UsageError(
            f"the jobs' Python {pin.jobs.version} is gone", where=pin.jobs.path, remedy=remedy
        ) from error
    if now.version.split(".")[:2] != pin.jobs.version.split(".")[:2] or not _same_place(pin, now):
        raise UsageError(
            f"the jobs' Python was {pin.jobs.version} of {pin.jobs.prefix} at the installation "
            f"and is {now.version} of {now.prefix} now",
            where=pin.jobs.path,
            remedy=remedy,
        )
    if now.missing:
        raise UsageError(
            f"the jobs' Python {now.version} lacks {', '.join(now.missing)}, "
            f"which the labels {', '.join(labels)} promise",
            where=pin.jobs.path,
            remedy=remedy,
        )


def _same_place(pin: Pin, now: Interpreter) -> bool:
    return os.path.realpath(pin.jobs.prefix) == os.path.realpath(now.prefix)
