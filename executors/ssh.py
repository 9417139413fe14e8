"""Jobs on a host reached by ssh, each under a detached supervisor that outlives the connection.

The host needs Python 3.10 or later and a folder; nothing of ours is installed there. Code and
inputs are sent once, by digest; results, log and end are fetched once the job has ended.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.canonical import digest
from bridge.errors import ExecutorError, UsageError
from executors import folder
from executors.connection import Address, Connection
from executors.contract import BOOTSTRAP, CODE, LOG, OUT, REPORT, Handle, Job, Launch, Poll
from executors.parcel import unwrap, wrap
from executors.supervise.files import create_once, encode
from executors.supervise.launch import CANCEL, ENDED, LAUNCH, ending_from_json
from executors.supervise.status import read_ending

JOB_FILE = "job.json"
FETCHED = "fetched"
# What tells a program where it is: the host's own answer, not the runner's.
PLACES = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
DEVICES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


class SshExecutor:
    """Starts `executors/supervise` on another host.

    Args:
        host, port, user, key, known_hosts: how to get in, as `Address` says.
        root: absolute folder on the host that takes jobs and what they need.
        python: interpreter there that runs the supervisor.
        job_python: interpreter there that runs the job, the one of the job's own command line
            where empty.
        keep: `yes` leaves a job's folder on the host after it was fetched.
        store_mb: MiB that code and inputs may hold there between jobs; `0` for no bound.
    """

    name = "ssh"

    def __init__(
        self,
        host: str,
        root: str,
        port: str = "22",
        user: str = "",
        key: str = "",
        known_hosts: str = "",
        python: str = "python3",
        job_python: str = "",
        keep: str = "no",
        store_mb: str = "50000",
    ) -> None:
        if not (posixpath.isabs(root) and port.isdecimal() and store_mb.isdecimal()):
            raise UsageError(
                "the ssh executor needs an absolute root and a numeric port and store_mb",
                where="executors.ssh",
                remedy="write root: /home/you/kakeya and port: '22' in the runner's file",
            )
        self._host = Connection(Address(host, int(port), user, key, known_hosts))
        self._root = root.rstrip("/")
        self._python = python
        self._job_python = job_python
        self._keep = keep == "yes"
        self._store_bytes = int(store_mb) * 2**20
        self._sources = {
            path.name: path.read_bytes() for path in sorted(folder.SUPERVISE.glob("*.py"))
        }
        key_of_sources = {name: data.decode() for name, data in self._sources.items()}
        self._far = f"{self._root}/far/{digest(key_of_sources)[7:23]}/supervise"

    def render(self, job: Job) -> Launch:
        """The launch of a job, with the paths that it has on the host; see `Executor.render`."""
        there = f"{self._root}/jobs/{folder.label_of(job)}"
        command = (self._python, "-I", self._far, there)
        launch = folder.render_folder(job, self.name, command, inherit=(*PLACES, *DEVICES))
        moves = {job.folder: there} | {path: str(self._writable(path)) for path in job.writable}
        argv = [_moved(word, moves) for word in job.argv]
        if self._job_python and job.argv[1:3] == ("-I", str(job.folder / BOOTSTRAP)):
            argv[0] = self._job_python
        env = {name: _moved(value, moves) for name, value in job.env.items() if name not in PLACES}
        names = {"job_dir": "", "cwd": CODE, "out": OUT, "report": REPORT, "log": LOG}
        paths = {field: Path(there, name) for field, name in names.items()}
        writable = tuple(self._writable(path) for path in job.writable)
        return replace(launch, argv=tuple(argv), env=env, writable=writable, **paths)  # type: ignore[arg-type]

    def submit(self, launch: Launch) -> Handle:
        """Send what the job needs and start its supervisor; see `Executor.submit`."""
        return folder.submit_once(launch, lambda: self._start(launch))

    def poll(self, handle: Handle) -> Poll:
        """What became of the job; see `Executor.poll`."""
        if not (handle.job_dir / FETCHED).exists():
            there, far = handle.system["folder"], handle.system["far"]
            try:
                said = _read_answer(self._host.run((self._python, "-I", far, "--status", there)))
            except ExecutorError:
                if self._host.exists(f"{there}/{LAUNCH}"):
                    raise
                said = {"state": "waiting"}
            if said["state"] == "running":
                return Poll("running")
            if said["state"] == "waiting":  # it had started when it was submitted
                create_once(handle.job_dir / FETCHED, b"")
                return folder.finish(handle.job_dir, "vanished", "its folder on the host is gone")
            self._fetch(handle, said["ending"])
        return Poll("ended", read_ending(handle.job_dir))

    def cancel(self, handle: Handle) -> None:
        """Leave the wish where the supervisor sees it; see `Executor.cancel`."""
        if not (handle.job_dir / FETCHED).exists():
            self._host.write(f"{handle.system['folder']}/{CANCEL}", b"")

    def logs(self, handle: Handle, offset: int, limit: int) -> bytes:
        """A piece of the log; see `Executor.logs`."""
        if (handle.job_dir / FETCHED).exists():
            return folder.read_log(handle.job_dir / LOG, offset, limit)
        return self._host.read(f"{handle.system['folder']}/{LOG}", offset, limit)

    def _start(self, launch: Launch) -> Mapping[str, str]:
        there = str(launch.job_dir)
        self._install()
        if not self._host.exists(f"{there}/{LAUNCH}"):
            self._send_job(launch, there)
        self._host.run(launch.command)
        return {"folder": there, "far": self._far}

    def _install(self) -> None:
        """Bring the supervisor's sources to the host, once for each version of them."""
        done = f"{self._far}/complete"
        if not self._host.exists(done):
            self._host.make_folder(self._far)
            for name, data in self._sources.items():
                self._host.write(f"{self._far}/{name}", data)
            self._host.write(done, b"")

    def _send_job(self, launch: Launch, there: str) -> None:
        for path in (launch.job_dir, launch.out, launch.report, *launch.writable):
            self._host.make_folder(str(path))
        self._send(launch.home / CODE, f"{there}/{CODE}", follow_links=False)
        job_file = launch.home / JOB_FILE
        if job_file.exists():
            document = json.loads(job_file.read_bytes())
            self._host.write(f"{there}/{JOB_FILE}", encode(self._move_job(document, launch)))
        self._host.write(f"{there}/{BOOTSTRAP}", (launch.home / BOOTSTRAP).read_bytes())
        # Last: with it the folder is complete. It holds the job's environment.
        self._host.write(f"{there}/{LAUNCH}", encode(launch.as_json()), mode=0o600)

    def _send(self, source: Path, target: str = "", *, follow_links: bool) -> str:
        """Bring a folder or file to the host unless its bytes are there; where it lies there.

        Without a `target` it lies by its digest, for every job that needs the same bytes.
        """
        with wrap(source, follow_links=follow_links) as parcel:
            store = f"{self._root}/store"
            archive = f"{store}/{parcel.digest}.tar"
            target = target or f"{self._root}/inputs/{parcel.digest}"
            if not (self._host.exists(target) or self._host.exists(archive)):
                self._host.make_folder(store)
                with parcel.path.open("rb") as file:
                    self._host.put(archive, file)
            self._host.make_folder(posixpath.dirname(target))
            self._host.run(
                (self._python, "-I", self._far, "--unpack", archive, parcel.digest, target)
            )
            return target

    def _move_job(self, document: dict[str, Any], launch: Launch) -> dict[str, Any]:
        """`job.json` for the host: own paths moved, inputs brought there and named there."""
        moved: dict[str, Any] = _moved_all(document, {launch.home: str(launch.job_dir)})
        moved["inputs"] = {
            role: self._send(Path(path), follow_links=True)
            for role, path in document.get("inputs", {}).items()
        }
        if "checkpoint" in document:
            moved["checkpoint"] = str(self._writable(Path(document["checkpoint"])))
            self._host.make_folder(moved["checkpoint"])
        return moved

    def _writable(self, path: Path) -> Path:
        """Where a folder of the runner that later attempts need too lies on the host."""
        return Path(self._root, "writable", digest(str(path))[7:23])

    def _fetch(self, handle: Handle, ending: Mapping[str, Any]) -> None:
        """Bring what the job left to its folder here; then nothing is needed from the host."""
        there, far = handle.system["folder"], handle.system["far"]
        with tempfile.TemporaryDirectory(dir=handle.job_dir, prefix=".fetch-") as partial:
            archive = Path(partial, "left.tar")
            with archive.open("wb") as file:
                wanted = (OUT, REPORT, LOG)
                self._host.run((self._python, "-I", far, "--pack", there, *wanted), into=file)
            unwrap(archive, Path(partial, "left"))
            for name in (OUT, REPORT):
                shutil.rmtree(handle.job_dir / name, ignore_errors=True)
                Path(partial, "left", name).mkdir(parents=True, exist_ok=True)
            for path in Path(partial, "left").iterdir():
                path.replace(handle.job_dir / path.name)
        create_once(handle.job_dir / ENDED, encode(ending))
        create_once(handle.job_dir / FETCHED, b"")
        with contextlib.suppress(ExecutorError):  # it is here; what is there can wait
            if not self._keep:
                self._host.run(("rm", "-rf", "--", there))
            if self._store_bytes:
                bound = str(self._store_bytes)
                self._host.run((self._python, "-I", far, "--prune", self._root, bound))


def _moved(text: str, moves: Mapping[Path, str]) -> str:
    """A path at or below a folder here as the same path there; other text as it is."""
    for here, there in moves.items():
        if text == str(here) or text.startswith(f"{here}/"):
            return there + text[len(str(here)) :]
    return text


def _moved_all(value: Any, moves: Mapping[Path, str]) -> Any:
    if isinstance(value, str):
        return _moved(value, moves)
    if isinstance(value, list):
        return [_moved_all(inner, moves) for inner in value]
    if isinstance(value, dict):
        return {name: _moved_all(inner, moves) for name, inner in value.items()}
    return value


def _read_answer(answer: bytes) -> dict[str, Any]:
    try:
        said = json.loads(answer)
        if said["state"] == "ended":
            ending_from_json(said["ending"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExecutorError(
            f"the host answered what is no state of a job: {answer[:200]!r}",
            remedy="its login shell may print something at start; make it silent for commands",
        ) from error
    state: dict[str, Any] = said
    return state
