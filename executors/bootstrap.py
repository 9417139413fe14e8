"""The trusted start of a job's interpreter: `python -I bootstrap.py CODE REPORT -m MODULE ...`.

Puts the job's code first on `sys.path`, runs the module as `python -m` would, and at the end
writes what was imported from that code, with the digest of the very bytes that ran, and what the
interpreter was. A file of its own: standard library alone, since the job's interpreter may lack
every package of ours.

What it writes shows an honest mistake (an installed copy ran instead of the commit's); a job that
wants to lie can write these files itself. The runner compares them with the commit.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.machinery
import importlib.metadata
import json
import os
import platform
import runpy
import signal
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

HOUSE = ("bridge", "executors", "workloads", "evidence", "presets")


class Seen:
    """Digests of the files that were imported from below the code folder."""

    def __init__(self, code: str) -> None:
        self.code = os.path.realpath(code)
        self.files: dict[str, str] = {}

    def add(self, path: str, data: bytes) -> None:
        """Note a file and the bytes that were taken from it; a link to elsewhere is not ours."""
        if not self.holds(path):
            return
        name = os.path.relpath(os.path.realpath(path), self.code)
        self.files.setdefault(name.replace(os.sep, "/"), f"sha256:{_hash(data)}")

    def holds(self, path: str) -> bool:
        """Whether a path lies below the code folder."""
        return os.path.realpath(path).startswith(self.code + os.sep)


def path_hook(seen: Seen) -> Callable[[str], Any]:
    """An import hook for the code folder alone, that compiles from source, always.

    A `.pyc` that the commit carries is never run: its digest would say nothing about the source.
    """

    class SourceLoader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname: str) -> CodeType:
            path = self.get_filename(fullname)
            data = self.get_data(path)
            seen.add(path, data)
            return self.source_to_code(data, path)

    class ExtensionLoader(importlib.machinery.ExtensionFileLoader):
        def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
            with open(self.path, "rb") as file:
                seen.add(self.path, file.read())
            return super().create_module(spec)

    details: list[tuple[Any, list[str]]] = [
        (ExtensionLoader, importlib.machinery.EXTENSION_SUFFIXES),
        (SourceLoader, importlib.machinery.SOURCE_SUFFIXES),
    ]
    hook = importlib.machinery.FileFinder.path_hook(*details)

    def find(path: str) -> Any:
        if os.path.realpath(path) != seen.code and not seen.holds(path):
            raise ImportError("not the job's code", path=path)
        return hook(path)

    return find


def imported(seen: Seen, module: str) -> dict[str, Any]:
    """What `imported.json` holds: files by digest, and house packages from somewhere else."""
    foreign = {}
    for name, one in sorted(sys.modules.items()):
        path = getattr(one, "__file__", None)
        if not isinstance(path, str):
            continue
        if seen.holds(path):  # loaded past the hook, by spec_from_file_location or the like
            with contextlib.suppress(OSError), open(path, "rb") as file:
                seen.add(path, file.read())
        elif name.partition(".")[0] in HOUSE:
            foreign[name] = path
    return {
        "schema": "kakeya.imported/1",
        "code": seen.code,
        "module": module,
        "files": seen.files,
        "foreign": foreign,
    }


def environment() -> dict[str, Any]:
    """What `environment.json` holds: interpreter, platform, packages by version."""
    packages = {}
    for found in importlib.metadata.distributions():
        with contextlib.suppress(Exception):  # one broken folder in site-packages is not our matter
            packages[found.metadata["Name"]] = found.version
    return {
        "schema": "kakeya.environment/1",
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "system": platform.system(),
        "packages": dict(sorted(packages.items())),
    }


def make_report(seen: Seen, module: str, folder: str) -> Callable[[], None]:
    """A call that writes both files, once, and only in the process that started the job."""
    owner = os.getpid()
    done: list[bool] = []

    def report() -> None:
        if os.getpid() != owner or done:
            return
        done.append(True)
        try:
            _write(os.path.join(folder, "imported.json"), imported(seen, module))
            _write(os.path.join(folder, "environment.json"), environment())
        except OSError as error:
            sys.stderr.write(f"bootstrap: cannot write its report: {error}\n")

    return report


def main(arguments: list[str]) -> None:
    """Run the job's module; returns or raises as the module does."""
    if len(arguments) < 4 or arguments[2] != "-m":
        sys.stderr.write("usage: bootstrap.py CODE_DIR REPORT_DIR -m MODULE [ARGUMENT ...]\n")
        sys.exit(2)
    code, folder, _, module, *rest = arguments
    seen = Seen(code)
    report = make_report(seen, module, os.path.abspath(folder))
    atexit.register(report)

    def stop(number: int, _: object) -> None:
        report()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, stop)
    sys.dont_write_bytecode = True
    sys.path_hooks.insert(0, path_hook(seen))
    sys.path_importer_cache.clear()
    sys.path.insert(0, seen.code)
    sys.argv = ["-m", *rest]  # runpy puts the module's own path in the first place
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: str, value: dict[str, Any]) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.write("\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    main(sys.argv[1:])
