"""A whole small lab: a trusted checkout, a bus, and runners as processes of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bridge import proc
from bridge.bus.chain import Chain
from bridge.bus.commits import compose_request
from bridge.bus.refs import JobRef
from bridge.bus.remote import GitBus, Outcome, Update
from bridge.records import PresetRef
from presets.binding import bind
from presets.catalog import Catalog, load_catalog
from tests import samples
from tests.actors import WHEN_S, open_bus
from tests.rawgit import RawGit
from tests.servers.child import server_env
from tests.waiting import until

REPO = Path(__file__).resolve().parents[1]
_WHO = {
    "GIT_AUTHOR_NAME": "An Operator",
    "GIT_AUTHOR_EMAIL": "operator@example.invalid",
    "GIT_COMMITTER_NAME": "An Operator",
    "GIT_COMMITTER_EMAIL": "operator@example.invalid",
}


def make_checkout(folder: Path) -> Path:
    """A checkout whose one commit holds this repository's files as they are now."""
    listed = proc.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        env=server_env(folder),
        timeout_s=30,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source = REPO / name
        if source.is_file() and not name.startswith(("tests/", "docs/")):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    git_in(folder, "init", "--quiet")
    commit_all(folder, "as it is now")
    return folder


def git_in(folder: Path, *arguments: str) -> str:
    """Standard output of a git command in a checkout."""
    env = {**server_env(folder), **_WHO}
    done = proc.run(["git", *arguments], cwd=folder, env=env, timeout_s=60)
    assert done.code == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def commit_all(folder: Path, message: str) -> str:
    """Commit everything in a checkout; returns the commit."""
    git_in(folder, "add", "--all", "--force")
    git_in(folder, "commit", "--quiet", "--no-verify", "--message", message)
    return git_in(folder, "rev-parse", "HEAD")


@dataclass
class Lab:
    """One bus and what serves it.

    Attributes:
        checkout: what the runners trust.
        commit: its HEAD.
        url: the bus's address.
        bus: the requester's own view of it.
        folder: state, caches and logs of the runners.
    """

    checkout: Path
    commit: str
    url: str
    bus: GitBus
    folder: Path

    @property
    def catalog(self) -> Catalog:
        """The presets of the trusted checkout."""
        return load_catalog(self.checkout / "presets")

    def settings(self, name: str, **changes: Any) -> Path:
        """A runner's own file."""
        document = {
            "name": name,
            "bus": self.url,
            "profile": "local",
            "fast_path": os.environ.get("KAKEYA_FAST_PATH") != "false",
            "trusted": {"checkout": str(self.checkout)},
            "slots": {"cpus": 4, "memory_mb": 16384},
            "state_dir": str(self.folder / name / "state"),
            "cache_dir": str(self.folder / name / "cache"),
            **changes,
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    @contextmanager
    def runner(
        self, name: str = "lab-1", extra_env: Mapping[str, str] | None = None, **changes: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A live runner; ended by SIGQUIT and waited for when the block ends."""
        settings = self.settings(name, **changes)
        process = self.start(settings, extra_env)
        try:
            self.wait_for_beat(name, process)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            if process.poll() is None:
                process.kill()
                process.wait()

    def start(
        self, settings: Path, extra_env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a runner's process; its words go to `<name>.log`."""
        argv = [sys.executable, "-m", "bridge.cli.main", "runner", "start"]
        env = {**proc.base_env(), "PYTHONPATH": str(self.checkout)}
        env |= {"GITHUB_TOKEN": "not for jobs", "SSH_AUTH_SOCK": "/not/for/jobs"}
        for name in ("KAKEYA_TEST_ASSETS", "PIP_CERT", "PIP_FIND_LINKS"):
            if name in os.environ:
                env[name] = os.environ[name]
        if "KAKEYA_TEST_ASSETS" in env:
            env["KAKEYA_ASSETS"] = env["KAKEYA_TEST_ASSETS"]
        return proc.spawn(
            [*argv, "--config", str(settings)],
            cwd=self.folder,
            env={**env, **(extra_env or {})},
            stdout=settings.with_suffix(".log"),
        )

    def wait_for_beat(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Until the runner has beaten; its words are shown if it ended instead."""
        ref = self.bus.refs.heartbeat(name)
        before = self.bus.peek(ref)

        def beats() -> bool:
            assert process.poll() is None, self.words(name)
            now = self.bus.peek(ref)
            return now is not None and now != before

        until(beats, bound_s=60, what=f"a beat of {name}")

    def words(self, name: str = "lab-1") -> str:
        """What a runner said."""
        path = self.folder / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.is_file() else ""

    def submit(self, name: str, params: dict[str, Any] | None = None, **changes: Any) -> str:
        """Push a request for a preset of the trusted checkout; returns its ref."""
        found = self.catalog.get(name)
        values: dict[str, Any] = {
            "preset": PresetRef(found.name, found.digest),
            "params": bind(found, params or {}),
            "code": self.commit,
            "label": found.labels[0],
            "labels": found.labels,
            "resources": found.resources,
            **changes,
        }
        request = samples.make_request(self.bus.identity().id, **values)
        ref = self.bus.refs.job(JobRef(request.label, request.priority, request.id))
        commit = compose_request(request, when_s=WHEN_S)
        assert self.bus.swap([Update(ref, None, commit)]) == (Outcome.WON,)
        return ref

    def wait(self, ref: str, *states: str, bound_s: float = 120) -> Chain:
        """Until the job has ended, or is in one of `states`."""

        def reached() -> Chain | None:
            chain = self.bus.load(ref)
            there = str(chain.state) in states if states else chain.ended
            return chain if there else None

        try:
            chain = until(reached, bound_s=bound_s, what=f"{ref} in {states or 'its end'}")
        except AssertionError as error:
            logs = "\n".join(
                path.read_text("utf-8", "replace") for path in self.folder.glob("*.log")
            )
            raise AssertionError(f"{error}\n{logs}") from error
        assert chain is not None
        return chain

    def output(self, chain: Chain) -> str:
        """What the job printed."""
        paths = sorted(path for path in chain.files if path.startswith("logs/"))
        return b"".join(self.bus.read(chain.files[path]) for path in paths).decode(
            "utf-8", "replace"
        )

    def push_code(self, source: Path, commit: str) -> None:
        """Put a code commit on the bus under its own name."""
        git_in(source, "push", "--quiet", self.url, f"{commit}:{self.bus.refs.code(commit)}")


def make_bare(path: Path) -> RawGit:
    """A bare repository as `bus init` makes it, for tests that need no server."""
    path.mkdir(parents=True)
    raw = RawGit(path)
    raw.run("init", "--quiet", "--bare")
    for name in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        raw.run("config", name, "true")
    return raw


def open_lab(checkout: Path, url: str, folder: Path) -> Lab:
    """A lab at a bus that is made here."""
    folder.mkdir(parents=True, exist_ok=True)
    bus = open_bus(url, folder / "requester")
    return Lab(checkout, git_in(checkout, "rev-parse", "HEAD"), url, bus, folder)
