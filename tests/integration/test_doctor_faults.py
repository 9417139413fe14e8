"""Faults planted one by one, each of which the doctor names with its remedy."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from bridge import proc
from bridge.bus.remote import Update
from bridge.cli.main import main
from bridge.client import doctor, reviewer
from bridge.clock import Clock
from bridge.errors import KakeyaError
from bridge.findings import FAULT, OK, WARNING, Finding
from bridge.runner import health
from bridge.runner.config import load_config
from bridge.runner.key import load_key
from bridge.runner.machine import read_pressure
from bridge.runner.service.apply import ServiceState
from bridge.runner.service.install import make_pin, pin_path
from bridge.runner.service.interpreter import write_pin
from evidence.packed import pack, unpack
from tests import parts
from tests.actors import open_bus
from tests.integration.client_rig import Rig, open_rig
from tests.lab import commit_all, git_in, make_bare
from tests.rawgit import RawGit

ORDER = (OK, WARNING, FAULT)


@dataclass(frozen=True)
class Named:
    """What the doctor must say of a planted fault."""

    check: str
    level: str
    text: str
    remedy: str


def assert_named(findings: tuple[Finding, ...], wanted: Named, allowed: set[str]) -> None:
    """The fault is named with its remedy, and nothing else is called one."""
    found = [
        one
        for one in findings
        if one.check == wanted.check and one.level == wanted.level and wanted.text in one.text
    ]
    assert len(found) == 1, findings
    assert found[0].remedy
    assert wanted.remedy in found[0].remedy
    others = {one.check for one in findings if one.level == FAULT} - {wanted.check}
    assert others <= allowed, findings


# -- an agent -----------------------------------------------------------------------------


def no_bus(rig: Rig) -> None:
    RawGit(Path(rig.url)).run("update-ref", "-d", rig.client.bus.refs.ledger)


def read_only(rig: Rig) -> None:
    hook = Path(rig.url) / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    rig.clock.every = None  # the runner cannot beat either


def no_runner(rig: Rig) -> None:
    ref = rig.runner.bus.refs.heartbeat("mac-m4")
    tip = rig.runner.bus.peek(ref)
    assert tip is not None
    rig.runner.bus.swap([Update(ref, tip.oid, None)])
    rig.clock.every = None


def code_of_nobody(rig: Rig) -> None:
    (rig.project / "README.md").write_text("another version\n")
    commit_all(rig.project, "never pushed")


AGENT: list[tuple[Callable[[Rig], None], Named, set[str]]] = [
    (no_bus, Named("bus", FAULT, "", "bus init"), set()),
    (read_only, Named("push", FAULT, "", "push"), set()),
    (no_runner, Named("runners", WARNING, "no runner has ever", "runner start"), {"code"}),
    (code_of_nobody, Named("code", FAULT, "neither on the bus", "--push-code"), set()),
]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    make_bare(tmp_path / "bus.git")
    found = open_rig(str(tmp_path / "bus.git"), tmp_path)
    trusted = found.head
    found.clock.every = lambda: found.runner.beat(trusted=trusted)
    yield found
    found.close()


@pytest.mark.parametrize(("plant", "wanted", "allowed"), AGENT, ids=lambda one: _id(one))
def test_for_an_agent(
    rig: Rig, plant: Callable[[Rig], None], wanted: Named, allowed: set[str]
) -> None:
    plant(rig)
    assert_named(doctor.examine(rig.client), wanted, allowed)


def _id(one: object) -> str:
    return getattr(one, "__name__", "")


# -- an operator --------------------------------------------------------------------------


@dataclass
class Desk:
    """An operator's machine: a runner's settings, and what is around it."""

    folder: Path
    settings: dict[str, Any]
    around: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        path = self.folder / "runner.yaml"
        path.write_text(yaml.safe_dump(self.settings))
        return path

    def examine(self) -> tuple[Finding, ...]:
        try:
            config = load_config(self.file)
        except KakeyaError as error:
            return health.unreadable_settings(error)
        around: dict[str, Any] = {
            "system": "linux",
            "home": self.folder,
            "user": "nobody-lingers",
            "scope": "system",
            "service": ServiceState("active", 1, 0, 0),
            "wall_s": Clock().wall_s,
            "hardware": {"cpu": "a processor", "accelerators": []},
            "env": {},
        }
        return health.examine(config, health.Surroundings(**{**around, **self.around}))


H200 = {"cpu": "a processor", "accelerators": [{"name": "NVIDIA H200", "memory_mb": "143771"}]}


def edited_program(desk: Desk) -> None:
    path = desk.folder / "checkout" / "bridge" / "version.py"
    path.write_text(path.read_text() + "# another program than the one that runs\n")
    commit_all(path.parents[1], "another program")


def open_key(desk: Desk) -> None:
    config = load_config(desk.file)
    load_key(config.state_dir, config.name)
    (config.state_dir / "key").chmod(0o644)


def revoked_key(desk: Desk) -> None:
    config = load_config(desk.file)
    line = load_key(config.state_dir, config.name).public
    checkout = desk.folder / "checkout"
    (checkout / "evidence" / "signers").write_text(f"{line}\n")
    (checkout / "evidence" / "revoked").write_text(f"{line.partition(' ')[2]}\n")
    commit_all(checkout, "revoked")


def python_that_moved(desk: Desk) -> None:
    config = load_config(desk.file)
    pin = make_pin(config)
    write_pin(pin_path(config), pin)
    document = json.loads(pin_path(config).read_text())
    document["jobs"]["version"] = "3.14.0"
    pin_path(config).write_text(json.dumps(document))


def python_without_torch(desk: Desk) -> None:
    bare = desk.folder / "bare"
    argv = [sys.executable, "-m", "venv", "--without-pip", str(bare)]
    assert proc.run(argv, cwd=desk.folder, env=proc.base_env(), timeout_s=120).code == 0
    desk.settings |= {"python": str(bare / "bin" / "python"), "labels": ["any", "cuda"]}
    desk.settings["slots"] = {"gpus": 1}
    desk.around["hardware"] = H200


def no_gpu(desk: Desk) -> None:
    desk.settings["labels"] = ["any", "h100"]


def no_slot_for_the_gpu(desk: Desk) -> None:
    desk.around["hardware"] = H200


def model_that_is_gone(desk: Desk) -> None:
    desk.settings |= {"labels": ["any", "h200"], "slots": {"gpus": 1, "gpu_memory_mb": 143000}}
    desk.settings["env"] = {"VERIFIER_WEIGHTS": str(desk.folder / "gone")}
    desk.around["hardware"] = H200


def model_by_name(desk: Desk) -> None:
    model_that_is_gone(desk)
    desk.settings["env"] = {"VERIFIER_WEIGHTS": "google/gemma-3-1b"}


def dead_service(desk: Desk) -> None:
    desk.around["service"] = ServiceState("failed", None, 2, 0)


def no_lingering(desk: Desk) -> None:
    desk.around["scope"] = "user"


def hidden_folder(desk: Desk) -> None:
    desk.around |= {"system": "darwin"}
    desk.settings["assets_dir"] = str(desk.folder / "Documents" / "assets")


def typing_error(desk: Desk) -> None:
    desk.settings["lables"] = ["any"]


def bus_that_is_gone(desk: Desk) -> None:
    desk.settings["bus"] = str(desk.folder / "gone.git")


OPERATOR: list[tuple[Callable[[Desk], None], Named, set[str]]] = [
    (edited_program, Named("trusted", FAULT, "is not what commit", "commit or undo"), set()),
    (open_key, Named("key", FAULT, "may be read by others (mode 644)", "chmod 600"), set()),
    (revoked_key, Named("key", FAULT, "key is revoked", "runner enroll"), set()),
    (python_that_moved, Named("interpreter", FAULT, "was 3.14.0", "runner install"), set()),
    (python_without_torch, Named("interpreter", FAULT, "promise", "workloads"), set()),
    (no_gpu, Named("gpu", FAULT, "the labels say h100", "nvidia-smi"), {"interpreter"}),
    (no_slot_for_the_gpu, Named("gpu", WARNING, "slots.gpus is 0", "gpus: 1"), set()),
    (model_that_is_gone, Named("models", FAULT, "is not there", "hf download"), {"interpreter"}),
    (model_by_name, Named("models", FAULT, "HF_HUB_OFFLINE=1", "local-dir"), {"interpreter"}),
    (dead_service, Named("service", FAULT, "last exit code 2 (a setting)", "journalctl"), set()),
    (no_lingering, Named("lingering", WARNING, "log-out", "enable-linger"), set()),
    (hidden_folder, Named("folders", FAULT, "macOS does not let", "move it out"), set()),
    (typing_error, Named("settings", FAULT, "lables", "docs/operators.md"), set()),
    (bus_that_is_gone, Named("bus", FAULT, "gone.git", "check the address"), set()),
]


@pytest.fixture
def desk(tmp_path: Path, checkout: Path) -> Desk:
    git_in(tmp_path, "clone", "--quiet", str(checkout), "checkout")
    make_bare(tmp_path / "bus.git")
    open_bus(str(tmp_path / "bus.git"), tmp_path / "requester").close()
    settings = {
        "name": "box-1",
        "bus": str(tmp_path / "bus.git"),
        "labels": ["any"],
        "trusted": {"checkout": str(tmp_path / "checkout")},
        **{f"{name}_dir": str(tmp_path / name) for name in ("state", "cache", "assets")},
    }
    return Desk(tmp_path, settings)


def test_an_operators_machine_without_fault(desk: Desk) -> None:
    config = load_config(desk.file)
    load_key(config.state_dir, config.name)
    found = desk.examine()
    assert [one for one in found if one.level == FAULT] == []
    assert {one.check for one in found} == {
        *("trusted", "key", "bus", "clock", "disk", "memory", "interpreter", "gpu", "models"),
        "service",
    }
    assert all(one.remedy for one in found if one.level != OK)


@pytest.mark.parametrize(("plant", "wanted", "allowed"), OPERATOR, ids=lambda one: _id(one))
def test_for_an_operator(
    desk: Desk, plant: Callable[[Desk], None], wanted: Named, allowed: set[str]
) -> None:
    plant(desk)
    assert_named(desk.examine(), wanted, allowed)


def test_labels_of_another_machine_are_not_looked_for_here(desk: Desk) -> None:
    no_gpu(desk)
    assert "gpu" in {one.check for one in desk.examine() if one.level == FAULT}
    desk.settings["executors"] = {"ssh": {"host": "box.example", "root": "/srv/kakeya"}}
    desk.settings["slots"] = {"gpus": 1}
    assert [one for one in desk.examine() if one.level == FAULT] == []


def test_for_an_operator_whose_disk_is_full(desk: Desk) -> None:
    parts.require("systemd")  # a machine where root may mount
    state = desk.folder / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(state)]
    assert proc.run(mount, cwd=desk.folder, env=proc.base_env(), timeout_s=20).code == 0
    try:
        wanted = Named("disk", FAULT, "MiB are free at", "put state_dir on another disk")
        assert_named(desk.examine(), wanted, set())
    finally:
        proc.run(["umount", str(state)], cwd=desk.folder, env=proc.base_env(), timeout_s=20)


@contextmanager
def serving_time(date: str) -> Iterator[str]:
    """A web server whose clock stands somewhere else."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def do_GET(self) -> None:
            self.do_HEAD()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return date

        def log_message(self, *_: object) -> None:
            """Nothing is said."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/bus.git"
        server.shutdown()
        thread.join()


def test_for_an_operator_whose_clock_is_wrong(desk: Desk) -> None:
    with serving_time("Thu, 01 Jan 2026 12:00:00 GMT") as url:
        desk.settings["bus"] = url
        desk.around["wall_s"] = lambda: 1767268800.0 + 7200  # two hours later
        wanted = Named("clock", WARNING, "7200 s ahead of the remote", "timedatectl")
        assert_named(desk.examine(), wanted, {"bus"})
    with serving_time("not a date") as url:
        desk.settings["bus"] = url
        assert [one.level for one in desk.examine() if one.check == "clock"] == [OK]


def test_pressure_is_read_where_the_kernel_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_text("some avg10=1.00 avg60=23.50 avg300=0.00 total=1\nfull avg10=0.00\n")
    assert read_pressure(path) == 23.5
    assert read_pressure(tmp_path / "nothing") is None


# -- a reviewer ---------------------------------------------------------------------------


def shallow(clone: Path) -> None:
    (clone / ".git" / "shallow").write_text(git_in(clone, "rev-parse", "HEAD") + "\n")


def changed_record(clone: Path) -> None:
    samples, *_ = sorted((clone / "evidence" / "records").glob("*/*/samples.jsonl.gz"))
    lines = unpack(samples.read_bytes(), where="samples").splitlines(keepends=True)
    samples.write_bytes(pack(b"".join(lines[1:])))
    commit_all(clone, "one sample less")


def lfs_pointer(clone: Path) -> None:
    samples, *_ = sorted((clone / "evidence" / "records").glob("*/*/samples.jsonl.gz"))
    samples.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    commit_all(clone, "a pointer")


def strange_file(clone: Path) -> None:
    (clone / "evidence" / "records" / "notes.txt").write_text("no record\n")
    commit_all(clone, "notes")


def bad_signers(clone: Path) -> None:
    (clone / "evidence" / "signers").write_text("alice ssh-rsa AAAA\n")
    commit_all(clone, "a key of another kind")


def edited_judge(clone: Path) -> None:
    path = clone / "evidence" / "reducers.py"
    path.write_text(path.read_text() + "# kinder\n")


def hidden_judge(clone: Path) -> None:
    git_in(clone, "update-index", "--assume-unchanged", "evidence/reducers.py")


def no_base(clone: Path) -> None:
    git_in(clone, "checkout", "--quiet", "-b", "proposal")
    git_in(clone, "remote", "remove", "origin")
    git_in(clone, "branch", "--quiet", "-D", "main")


REVIEWER: list[tuple[Callable[[Path], None], Named]] = [
    (shallow, Named("clone", FAULT, "shallow", "--unshallow")),
    (changed_record, Named("record", FAULT, "tampered", "revert")),
    (lfs_pointer, Named("record", FAULT, "pointer of git-lfs", "lfs untrack")),
    (strange_file, Named("records", FAULT, "notes.txt", "git rm")),
    (bad_signers, Named("signers", FAULT, "evidence/signers", "ssh-ed25519")),
    (edited_judge, Named("judge", FAULT, "evidence/reducers.py", "clean clone")),
    (hidden_judge, Named("judge", FAULT, "evidence/reducers.py", "clean clone")),
    (no_base, Named("base", FAULT, "no branch to compare with", "git fetch")),
]


@pytest.fixture
def clone(tmp_path: Path, checkout: Path) -> Path:
    git_in(tmp_path, "clone", "--quiet", str(checkout), "clone")
    folder = tmp_path / "clone"
    if "main" not in git_in(folder, "branch", "--format=%(refname:short)").split():
        git_in(folder, "branch", "--quiet", "-m", "main")
    for record in sorted((folder / "evidence" / "records").glob("*/*"))[2:]:
        shutil.rmtree(record)  # test_promoted_records recomputes them all; here two are enough
    commit_all(folder, "two records")
    return folder


def test_a_reviewers_clone_without_fault(clone: Path) -> None:
    found = reviewer.examine(clone)
    assert [one for one in found if one.level == FAULT] == []
    assert {one.check for one in found} == {
        *("git", "reports", "clone", "base", "judge", "signers", "records"),
    }
    assert Finding("records", OK, "2 records, each follows from its samples") in found


@pytest.mark.parametrize(("plant", "wanted"), REVIEWER, ids=lambda one: _id(one))
def test_for_a_reviewer(clone: Path, plant: Callable[[Path], None], wanted: Named) -> None:
    plant(clone)
    assert_named(reviewer.examine(clone), wanted, set())


def test_for_a_reviewer_outside_a_clone(tmp_path: Path) -> None:
    wanted = Named("clone", FAULT, "is in no git checkout", "inside a clone")
    assert_named(reviewer.examine(tmp_path), wanted, set())


# -- the command --------------------------------------------------------------------------


def test_each_kind_ends_1_on_a_fault_and_says_all_in_json(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(desk.folder / "bus.git")
    monkeypatch.chdir(desk.folder)
    commands = {
        "agent": ["doctor", "--bus", str(desk.folder / "bus.git")],
        "operator": ["doctor", "--for", "operator", "--config", str(desk.file)],
        "reviewer": ["doctor", "--for", "reviewer"],
    }
    for person, words in commands.items():
        assert main([*words, "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert (told["schema"], told["for"], told["healthy"]) == ("kakeya.doctor/1", person, False)
        faults = [one for one in told["findings"] if one["level"] == "fault"]
        assert faults
        assert all(one["remedy"] for one in faults)
        assert main(words) == 1
        assert "fault: " in capsys.readouterr().out
