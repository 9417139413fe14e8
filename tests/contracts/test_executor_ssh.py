"""What is ssh's own: who is let in, what is sent, what is fetched, and a line that breaks."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from bridge.errors import ExecutorError, IntegrityError, UsageError
from executors.contract import Job, bootstrap_tokens
from executors.parcel import unwrap, wrap
from executors.ssh import SshExecutor
from executors.supervise.pruning import REST_S
from executors.supervise.transfer import pack, unpack
from tests.contracts.executor_rigs import Rig, job_root
from tests.parts import require
from tests.servers import openssh
from tests.waiting import until

HOLD = (
    "import os, time\nopen(os.environ['OUT'] + '/up', 'w').close()\n"
    "while not os.path.exists(os.environ['OUT'] + '/go'): time.sleep(0.01)\nprint('went on')"
)


@pytest.fixture(scope="module")
def server() -> Iterator[openssh.Server]:
    for part in ("sshd", "ssh-keygen", "paramiko"):
        require(part)
    with openssh.running() as made:
        yield made


@pytest.fixture
def rig(server: openssh.Server) -> Iterator[Rig]:
    with job_root() as root:
        made = Rig("ssh", root, server.options(root / "far"))
        try:
            yield made
        finally:
            made.kill_all()


def refused(rig: Rig, **options: str) -> ExecutorError:
    rig.options = {**rig.options, **options}
    with pytest.raises(ExecutorError) as caught:
        rig.submit("")
    assert not (rig.root / "far").exists()
    return caught.value


def test_render_names_the_places_that_the_host_has(tmp_path: Path) -> None:
    home = tmp_path / "a b"
    job = Job(
        id="01X",
        attempt=1,
        folder=home,
        argv=(*bootstrap_tokens("/my/python", home), "-m", "m", "--job", f"{home}/job.json", "-x"),
        env={"PATH": "/my/bin", "OUT": f"{home}/out", "LIKE": f"{home}er", "CKPT": "/state/c/7"},
        writable=(Path("/state/c"),),
    )
    executor = SshExecutor("gpu", "/srv/k/", python="/far/python3", job_python="/far/venv/python")
    launch = executor.render(job)
    there = str(launch.job_dir)
    assert there.startswith("/srv/k/jobs/kakeya-01X-1-")
    assert launch.argv == (
        *("/far/venv/python", "-I", f"{there}/bootstrap.py", f"{there}/code", f"{there}/report"),
        *("-m", "m", "--job", f"{there}/job.json", "-x"),
    )
    checkpoints = str(launch.writable[0])
    assert checkpoints.startswith("/srv/k/writable/")
    assert launch.env == {"OUT": f"{there}/out", "LIKE": f"{home}er", "CKPT": f"{checkpoints}/7"}
    assert launch.command == ("/far/python3", "-I", launch.command[2], there)
    assert (launch.home, str(launch.out)) == (home, f"{there}/out")


@pytest.mark.parametrize(
    "options",
    [
        {"root": "~/k"},
        {"root": "k"},
        {"root": "/k", "port": "x"},
        {"root": "/k", "store_mb": "all"},
    ],
)
def test_a_setting_that_cannot_work_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="absolute root and a numeric port"):
        SshExecutor("gpu", **options)


def test_an_unknown_host_is_refused_with_the_way_to_know_it(rig: Rig, tmp_path: Path) -> None:
    error = refused(rig, known_hosts=str(tmp_path / "none"))
    assert "the host key of 127.0.0.1" in error.message
    assert "compare its fingerprint" in error.remedy
    assert "ssh-keyscan -p" in error.remedy


def test_a_host_with_another_key_is_refused(rig: Rig, tmp_path: Path) -> None:
    openssh.make_key(tmp_path / "other")
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{rig.options['port']} {other}\n")
    error = refused(rig, known_hosts=str(known))
    assert "is not the one in" in error.message
    assert "somebody may be in between" in error.remedy


def test_a_key_that_opens_nothing_is_told(rig: Rig, tmp_path: Path) -> None:
    openssh.make_key(tmp_path / "stranger")
    error = refused(rig, key=str(tmp_path / "stranger"))
    assert "lets nobody in" in error.message
    assert "ssh-add" in error.remedy


def test_a_host_that_is_down_is_told_and_left_alone_for_a_while(rig: Rig) -> None:
    rig.options = {**rig.options, "port": "1"}
    executor = rig.executor()
    launch = rig.launch("")
    errors = []
    for _ in range(2):
        with pytest.raises(ExecutorError, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
            executor.submit(launch)
        errors.append(caught.value)
    assert errors[0] is errors[1]
    assert errors[0].remedy.startswith("try: ssh -p 1 ")


def test_a_job_goes_on_while_the_line_is_cut(rig: Rig, server: openssh.Server) -> None:
    executor = rig.executor()
    launch = rig.launch(HOLD)
    handle = executor.submit(launch)
    until((launch.out / "up").exists)
    server.stop()
    with pytest.raises(ExecutorError, match="cannot be reached"):
        executor.poll(handle)
    (launch.out / "go").touch()
    until((launch.job_dir / "exit.json").exists)
    server.start()
    assert rig.ending(handle).code == 0
    assert rig.log(handle) == b"went on\n"


def test_a_broken_connection_is_made_again(rig: Rig, server: openssh.Server) -> None:
    executor = rig.executor()
    launch = rig.launch(HOLD)
    handle = executor.submit(launch)
    server.stop()
    server.start()
    assert executor.poll(handle).state == "running"
    (launch.out / "go").touch()
    assert rig.ending(handle).code == 0


def test_the_same_code_is_sent_once(rig: Rig) -> None:
    for word in ("one", "two"):
        launch, handle, _ = rig.run("import sys; print(sys.argv[1])", word)
        assert rig.log(handle) == f"{word}\n".encode()
    assert len(list((rig.root / "far" / "store").iterdir())) == 1
    assert not launch.job_dir.exists()


def test_what_was_not_used_for_long_goes_when_the_store_is_full(rig: Rig) -> None:
    bound = replace(rig, options={**rig.options, "store_mb": "1"})
    store = rig.root / "far" / "store"

    def run(one: Rig) -> Path:
        """Run a job with 700 kB of code; what it brought into the store."""
        before = set(store.glob("*"))
        job = one.job("print('ran')")
        (job.folder / "code" / "padding").write_bytes(os.urandom(700_000))
        launch = one.executor().render(job)
        one.launched.append(launch)
        handle = one.executor().submit(launch)
        (new,) = set(store.glob("*")) - before
        assert one.ending(handle).code == 0
        return new

    first = run(rig)
    hours_ago = time.time() - 2 * REST_S
    os.utime(first, (hours_ago, hours_ago))
    second = run(bound)
    assert not first.exists()
    third = run(bound)
    assert second.exists()  # over the bound, and used a moment ago
    assert third.exists()


READER = """
import json, sys
job = json.load(open(sys.argv[1]))
weights = job["inputs"]["weights"]
job["read"] = [open(weights + name, "rb").read().hex() for name in ("/deep/w", "/link")]
json.dump(job, open(job["out"] + "/seen.json", "w"))
open(job["checkpoint"] + "/step", "a").write("x")
"""


def test_inputs_are_sent_by_digest_and_named_where_they_lie(rig: Rig, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    (weights / "deep").mkdir(parents=True)
    (weights / "deep" / "w").write_bytes(b"\x00\x01")
    (weights / "link").symlink_to("deep/w")  # as a cache of published models has them
    for _ in range(2):
        job = rig.job(READER)
        document = {
            "config": {"text": f"no path: {job.folder}", "rows": [1, None, f"{job.folder}/out/x"]},
            "inputs": {"weights": str(weights), "essay": str(weights / "deep" / "w")},
            "out": str(job.folder / "out"),
            "checkpoint": str(tmp_path / "checkpoints" / "01X"),
        }
        (job.folder / "job.json").write_text(json.dumps(document))
        job = replace(job, argv=(*job.argv, str(job.folder / "job.json")))
        launch = rig.executor().render(job)
        rig.launched.append(launch)
        assert rig.ending(rig.executor().submit(launch)).code == 0
        seen = json.loads((launch.home / "out" / "seen.json").read_text())
        assert seen["read"] == ["0001", "0001"]
        assert seen["out"] == str(launch.out)
        assert seen["config"] == {
            "text": f"no path: {job.folder}",
            "rows": [1, None, f"{launch.out}/x"],
        }
        assert seen["inputs"]["weights"].startswith(f"{rig.root}/far/inputs/")
    assert len(list((rig.root / "far" / "inputs").iterdir())) == 2
    assert (Path(seen["checkpoint"]) / "step").read_text() == "xx"


def test_only_plain_files_are_fetched(rig: Rig) -> None:
    launch, _, _ = rig.run(
        "import os\nout = os.environ['OUT']\n"
        "os.makedirs(out + '/deep er/still')\nopen(out + '/deep er/still/here', 'w').write('x')\n"
        "os.symlink('/etc/passwd', out + '/link')\nos.symlink('/etc', out + '/folder')\n"
        "os.mkfifo(out + '/pipe')"
    )
    out = launch.home / "out"
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == [
        "deep er",
        "deep er/still",
        "deep er/still/here",
    ]


def test_a_folder_that_went_is_an_end(rig: Rig) -> None:
    launch, handle = rig.submit(HOLD)
    until((launch.out / "up").exists)
    rig.kill_all()
    until((launch.job_dir / "exit.json").exists)
    shutil.rmtree(rig.root / "far")
    ending = rig.ending(handle)
    assert (ending.reason, ending.detail) == ("vanished", "its folder on the host is gone")
    rig.executor().cancel(handle)


def test_a_full_or_closed_root_is_told(rig: Rig) -> None:
    rig.options = {**rig.options, "root": str(rig.root / "no folder")}
    (rig.root / "no folder").write_text("")
    with pytest.raises(ExecutorError, match="the host refused a file") as caught:
        rig.executor().submit(rig.executor().render(rig.job("")))
    assert "who owns the executor's root" in caught.value.remedy


def test_a_parcel_has_one_digest_whatever_the_times_and_owners(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        (tmp_path / name / "b").mkdir(parents=True)
        (tmp_path / name / "b" / "c").write_text("c")
        (tmp_path / name / "a").symlink_to("b/c")
        (tmp_path / name / "b" / "d").hardlink_to(tmp_path / name / "b" / "c")
        with wrap(tmp_path / name, follow_links=False) as parcel:
            digests.add(parcel.digest)
            unpack(parcel.path, parcel.digest, tmp_path / f"{name}-out")
    assert len(digests) == 1
    assert (tmp_path / "one-out" / "a").readlink() == Path("b/c")
    assert (tmp_path / "one-out" / "b" / "d").read_text() == "c"


def test_a_damaged_parcel_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with wrap(tmp_path / "file", follow_links=True) as parcel:
        parcel.path.write_bytes(parcel.path.read_bytes() + b"\0")
        with pytest.raises(ValueError, match="was damaged and is removed"):
            unpack(parcel.path, parcel.digest, tmp_path / "out")
        assert not parcel.path.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../escape", tarfile.REGTYPE),
        ("/tmp/escape", tarfile.REGTYPE),
        ("out/../../escape", tarfile.REGTYPE),
        ("out/link", tarfile.SYMTYPE),
        ("out/hard", tarfile.LNKTYPE),
        ("out/device", tarfile.CHRTYPE),
        ("out/pipe", tarfile.FIFOTYPE),
    ],
)
def test_a_host_that_sends_more_than_plain_files_is_refused(
    tmp_path: Path, name: str, kind: bytes
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 0
    with tarfile.open(tmp_path / "hostile.tar", "w") as tar:
        tar.addfile(entry, BytesIO())
    with pytest.raises(IntegrityError, match="no plain file"):
        unwrap(tmp_path / "hostile.tar", tmp_path / "target" / "deep")
    assert not list(tmp_path.rglob("escape"))


def test_packing_what_is_not_there_is_an_empty_archive(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as file:
        pack(tmp_path, ["out", "output.log"], file)
    unwrap(tmp_path / "a.tar", tmp_path / "target")
    assert not (tmp_path / "target").exists()
