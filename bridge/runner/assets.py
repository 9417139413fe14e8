"""Published inputs: fetched once, checked by digest, unpacked, converted, handed over by path."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from bridge import proc
from bridge.canonical import digest
from bridge.errors import ExecutorError, IntegrityError, MissingPartError
from presets.assets import Asset

Progress = Callable[[int, int], None]

FETCH_TIMEOUT_S = 900.0
CONVERT_TIMEOUT_S = 900.0
_TOLD_LINES = 12
_CONVERTERS = {"gguf-to-safetensors": "workloads.shared.convert"}


@dataclass(frozen=True, slots=True)
class Material:
    """An input that lies ready: its folder, and the digest that names it in evidence."""

    path: Path
    uri: str
    digest: str


def provide_asset(
    asset: Asset,
    folder: Path,
    *,
    module_command: Callable[..., Sequence[str]],
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> Material:
    """The asset's files below `folder`, made if they are not there; safe beside other processes.

    Args:
        asset: an entry of the trusted asset table.
        folder: the user's cache of assets.
        module_command: argv that runs a module of the trusted commit.
        say: told what is being waited for.
        progress: told how many bytes of how many have been fetched.

    Raises:
        MissingPartError: the package index could not be reached.
        IntegrityError: what was fetched, or what lies in the cache, is not what the table says.
    """
    place = folder / f"{asset.name}-{asset.digest[7:19]}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{asset.name}.lock", timeout=FETCH_TIMEOUT_S + CONVERT_TIMEOUT_S):
        if not (place / "manifest.json").is_file():
            _make(asset, place, module_command, say, progress or _nobody)
        recorded = json.loads((place / "manifest.json").read_text("utf-8"))["files"]
        found = _list_files(place / "files")
        if found != recorded:
            shutil.rmtree(place)
            raise IntegrityError(
                f"the cached files of asset {asset.name} were changed; they are deleted now",
                where=str(place),
                remedy="run the job again: they are fetched anew",
            )
    uri = f"pypi:{asset.requirement}#sha256={asset.sha256}"
    return Material(place / "files", uri, digest(found))


def _make(
    asset: Asset,
    place: Path,
    module_command: Callable[..., Sequence[str]],
    say: Callable[[str], None],
    progress: Progress,
) -> None:
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        wheel = _download(asset, partial, say, progress)
        raw = partial / "raw"
        _unpack(wheel, asset.files, raw)
        files = partial / "files"
        if asset.convert is None:
            raw.replace(files)
        else:
            _convert(asset, raw, files, module_command, say)
            shutil.rmtree(raw)
        wheel.unlink()
        manifest = {"schema": "kakeya.asset/1", "name": asset.name, "files": _list_files(files)}
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), "utf-8")
        shutil.rmtree(place, ignore_errors=True)
        partial.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download(asset: Asset, folder: Path, say: Callable[[str], None], progress: Progress) -> Path:
    say(f"fetching {asset.requirement} ({asset.bytes / 2**20:.0f} MiB)")
    scratch = folder / "scratch"
    scratch.mkdir()
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    argv += ["--disable-pip-version-check", "--no-cache-dir", "--progress-bar=off", "--quiet"]
    argv += ["--dest", str(folder), asset.requirement]
    env = proc.base_env() | {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
    env |= {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
    env["TMPDIR"] = str(scratch)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(proc.run, argv, cwd=folder, env=env, timeout_s=FETCH_TIMEOUT_S)
        while not wait([running], timeout=0.2).done:
            progress(min(_size(folder), asset.bytes), asset.bytes)
    done = running.result()
    progress(asset.bytes, asset.bytes)
    shutil.rmtree(scratch)
    wheels = list(folder.glob("*.whl"))
    if done.code or len(wheels) != 1:
        raise MissingPartError(
            f"could not fetch {asset.requirement}: {_last_line(done.stderr)}",
            where=f"asset {asset.name}",
            remedy="check that this machine reaches the package index: pip download "
            f"--no-deps {asset.requirement}",
        )
    found = _sha256(wheels[0])
    if found != asset.sha256:
        raise IntegrityError(
            f"the wheel's sha256 is {found}, the table says {asset.sha256}",
            where=f"asset {asset.name}",
            remedy="do not use this package index",
        )
    return wheels[0]


def _unpack(wheel: Path, patterns: Sequence[str], destination: Path) -> None:
    destination.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for pattern in patterns:
            names = [name for name in archive.namelist() if fnmatch.fnmatchcase(name, pattern)]
            if not names:
                raise IntegrityError(f"holds no {pattern}", where=wheel.name)
            for name in names:
                # the folder inside the wheel carries no meaning for a workload
                target = destination / Path(name).name
                with archive.open(name) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)


def _convert(
    asset: Asset,
    raw: Path,
    files: Path,
    module_command: Callable[..., Sequence[str]],
    say: Callable[[str], None],
) -> None:
    say(f"converting {asset.name} once ({asset.convert})")
    assert asset.convert is not None
    (gguf,) = raw.iterdir()
    argv = module_command(_CONVERTERS[asset.convert], "--gguf", str(gguf), "--out", str(files))
    env = proc.base_env() | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = proc.run(argv, cwd=raw, env=env, timeout_s=CONVERT_TIMEOUT_S)
    if done.code:
        killed = done.code < 0
        how = f"signal {-done.code}, as the kernel does for want of memory" if killed else ""
        raise ExecutorError(
            f"converting {asset.name} failed: {how or _last_line(done.stderr)}",
            where=asset.requirement,
            problems=_last_lines(done.stderr),
            remedy="free memory, or lower the runner's slots"
            if killed
            else "install the workloads extra: pip install -e '.[workloads]' -c constraints.txt",
        )


def _nobody(_done: int, _total: int) -> None:
    """Nobody wants to know."""


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip moves its files while we look
            total += path.stat().st_size if path.is_file() else 0
    return total


def _list_files(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): f"sha256:{_sha256(path)}" for path in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last_line(data: bytes) -> str:
    return (_last_lines(data) or ("no reason given",))[-1]


def _last_lines(data: bytes) -> tuple[str, ...]:
    """The end of what a program said: the last line of a traceback alone often names no cause."""
    lines = data.decode("utf-8", "replace").strip().splitlines()
    return tuple(line[:300] for line in lines[-_TOLD_LINES:])


def provide_path(role: str, path: str) -> Material:
    """An input that the operator keeps on this machine, named by its files' digests."""
    place = Path(path).expanduser()
    if not place.exists():
        raise MissingPartError(
            f"the input {role} is not there", where=str(place), remedy="check the runner's env"
        )
    found: Mapping[str, str] = (
        _list_files(place) if place.is_dir() else {place.name: f"sha256:{_sha256(place)}"}
    )
    return Material(place.resolve(), f"file:{place.name}", digest(dict(found)))
