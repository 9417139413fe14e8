"""The supervisor's parts: records, files, the process table, the ways it works without help."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.supervise import cgroup, processes
from executors.supervise.bounds import Paced
from executors.supervise.files import create_once, folder_bytes, read_json, write_whole
from executors.supervise.launch import (
    Ending,
    Launch,
    Limits,
    ending_from_json,
    launch_from_json,
)
from executors.supervise.status import Started, look
from tests.waiting import until

EXECUTORS = Path(__file__).resolve().parents[2] / "executors"
FAR_SIDE = [*sorted((EXECUTORS / "supervise").glob("*.py")), EXECUTORS / "bootstrap.py"]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize("path", FAR_SIDE, ids=lambda path: path.name)
def test_the_far_side_needs_the_standard_library_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


@given(
    argv=st.lists(texts, max_size=4).map(tuple),
    env=st.dictionaries(texts, texts, max_size=3),
    limits=st.builds(Limits, wall_s=st.floats(0, 1e9), memory_mb=st.integers(0, 2**40)),
    run_as=st.none() | texts,
)
def test_a_launch_survives_json(
    argv: tuple[str, ...], env: dict[str, str], limits: Limits, run_as: str | None
) -> None:
    here = Path("/a b/ü")
    launch = Launch(
        "local", argv, here, env, here, here, here / "o", here / "r", here / "l", limits, run_as
    )
    assert launch_from_json(json.loads(json.dumps(launch.as_json()))) == launch


def test_an_ending_survives_json() -> None:
    ending = Ending(None, 9, "memory", "x", "memory_mb", {"a": "b"}, "i", 1.5, 2.75, 3.0, 4, 5, 6)
    assert ending_from_json(json.loads(json.dumps(ending.as_json()))) == ending


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"schema": "kakeya.launch/2"},
        {"schema": "kakeya.launch/1"},
        {"schema": "kakeya.launch/1", "cwd": 5},
        {"schema": "kakeya.exit/1", "means": 7},
    ],
)
@pytest.mark.parametrize("parse", [launch_from_json, ending_from_json])
def test_a_record_of_another_shape_is_refused(
    parse: Callable[[dict[str, object]], object], data: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"expected kakeya|not a launch|not an ending"):
        parse(data)


def test_a_file_is_created_by_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: create_once(path, b"%d" % n), range(8)))
    assert won.count(True) == 1
    assert path.read_bytes() == b"%d" % won.index(True)
    write_whole(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"new"


def test_json_that_is_no_object_is_refused(tmp_path: Path) -> None:
    assert read_json(tmp_path / "absent") is None
    (tmp_path / "list").write_text("[1]")
    with pytest.raises(ValueError, match="holds no JSON object"):
        read_json(tmp_path / "list")


def test_the_size_of_a_folder_counts_holes_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "sparse").open("wb") as file:
        file.truncate(2**30)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to("/no/such")
    assert 2**30 <= folder_bytes(tmp_path) < 2**30 + 2**20
    assert folder_bytes(tmp_path / "absent") == 0


def test_a_dear_measurement_is_made_less_often() -> None:
    paced = Paced(lambda: time.monotonic(), 0.5)
    assert paced.value(10.0) is not None
    assert paced.value(10.4) is None
    assert paced.value(10.4, force=True) is not None
    until_due = Paced(lambda: until(lambda: True), 0.0)
    until_due.value(0.0)
    assert until_due.due_s > 0.0


# Two tests beside one another in two processes would find each other's children by one mark.
MARK = f"A_MARK={os.getpid()}"


@pytest.fixture
def sleeper():  # type: ignore[no-untyped-def]
    process = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 1000 & echo $!; wait"],
        stdout=subprocess.PIPE,
        env={"A_MARK": f"{os.getpid()} of one test"},
        start_new_session=True,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    yield process, child
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_both_process_tables_tell_the_same(sleeper: tuple[subprocess.Popen[bytes], int]) -> None:
    process, child = sleeper
    for read in (processes._table_of_proc, processes._table_of_ps):
        rows = read()
        below = processes.descendants(rows, process.pid)
        assert [row.pid for row in below] == [child]
        assert rows[child].parent == process.pid
        assert rows[os.getpid()].resident > 2**20
        assert child in {row.pid for row in processes.descendants(rows, os.getpid())}
    assert processes._table_of_ps(child)[child].started == processes._table_of_ps()[child].started
    assert processes._table_of_ps(2**22 + 1) == {}


def test_a_mark_in_the_environment_is_found(sleeper: tuple[subprocess.Popen[bytes], int]) -> None:
    process, child = sleeper
    found = processes._marked_by_ps(processes.table(), MARK.encode())
    assert {row.pid for row in found} == {process.pid, child}
    found = processes.marked(processes.table(), f"{MARK} of one test")
    assert {row.pid for row in found} == {process.pid, child}


def test_a_number_used_again_is_another_process(
    sleeper: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, _ = sleeper
    row = processes.table()[process.pid]
    assert processes.send([replace(row, started="another")], signal.SIGKILL) == 0
    assert processes.identity(process.pid) == row.started
    assert processes.send([row], signal.SIGKILL) == 1
    until(lambda: processes.identity(process.pid) is None)


def test_a_spoiled_supervisor_file_is_an_end_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "supervisor.json").write_text('{"pid": "x"}')
    state, ending = look(tmp_path)
    assert state == "ended"
    assert ending is not None
    assert ending.reason == "vanished"
    known = Started(os.getpid(), processes.identity(os.getpid()) or "", "00")
    assert look(tmp_path, known) == ("running", None)


def test_where_no_group_may_be_made_there_is_none(tmp_path: Path) -> None:
    assert cgroup.create("kakeya-test", 100, mount=tmp_path) is None


RUN_ALONE = """
import secrets, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from supervise import cgroup, child, processes, supervisor
from supervise.files import encode, read_json
from supervise.launch import launch_from_json
if "no-reaper" in sys.argv: supervisor.adopt_orphans = lambda: False
if "ps" in sys.argv: processes.has_proc = lambda: False
launch = launch_from_json(read_json(Path(sys.argv[2])))
ending = supervisor.Supervisor(launch, secrets.token_hex(8), None).run()
sys.stdout.buffer.write(encode(ending.as_json()))
"""


def supervise(tmp_path: Path, program: str, limits: Limits, *ways: str) -> Ending:
    """A job under a supervisor that runs alone: other interpreter, no package, no group."""
    far = tmp_path / "far"
    shutil.copytree(EXECUTORS / "supervise", far / "supervise", ignore=lambda *_: ["__pycache__"])
    out = tmp_path / "out"
    out.mkdir()
    launch = Launch(
        executor="local",
        argv=("/usr/bin/python3", "-c", program),
        cwd=tmp_path,
        env={"OUT": str(out)},
        home=tmp_path,
        job_dir=tmp_path,
        out=out,
        report=out,
        log=tmp_path / "log",
        limits=limits,
    )
    (tmp_path / "launch.json").write_text(json.dumps(launch.as_json()))
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", RUN_ALONE, str(far), str(tmp_path / "launch.json"), *ways],
        capture_output=True,
        timeout=30,
        check=True,
    )
    return ending_from_json(json.loads(done.stdout))


WAYS = [(), ("no-reaper",), ("no-reaper", "ps")]


@pytest.mark.parametrize("ways", WAYS, ids=str)
def test_memory_of_the_tree_is_bound_by_polling_alone(
    tmp_path: Path, ways: tuple[str, ...]
) -> None:
    program = (
        "import os, time\nfor _ in range(2): os.fork()\n"
        "held = bytes(range(256)) * (60 * 2**12)\ntime.sleep(1000)"
    )
    ending = supervise(tmp_path, program, Limits(memory_mb=150, grace_s=0.2), *ways)
    assert (ending.reason, ending.limit) == ("memory", "memory_mb")
    assert ending.peak_memory_mb > 150
    assert ending.means["memory_mb"].startswith("polled sum")


def test_shared_pages_are_counted_once(tmp_path: Path) -> None:
    program = (
        "import os, time\nheld = bytes(range(256)) * (100 * 2**12)\n"
        "children = [os.fork() or os._exit(time.sleep(1) or 0) for _ in range(4)]\n"
        "for child in children: os.waitpid(child, 0)"
    )
    ending = supervise(tmp_path, program, Limits(memory_mb=300))
    assert (ending.reason, ending.code) == ("exit", 0)
    assert 100 < ending.peak_memory_mb < 300


@pytest.mark.parametrize("ways", WAYS, ids=str)
def test_what_left_session_and_parent_is_ended_without_a_group(
    tmp_path: Path, ways: tuple[str, ...]
) -> None:
    # It clears its environment too, so that only polling can have seen it.
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(time.sleep(1) or 0)\n"
        "    open(os.environ['OUT'] + '/pid', 'w').write(str(os.getpid()))\n"
        "    os.execve('/bin/sleep', ['sleep', '1000'], {})\n"
        "os.wait()\ntime.sleep(1000)"
    )
    ending = supervise(tmp_path, program, Limits(wall_s=3, grace_s=0.5), *ways)
    assert ending.reason == "timeout"
    pid = int((tmp_path / "out" / "pid").read_text())
    assert processes.identity(pid) is None
    assert ("escape" in ending.means["processes"]) == bool(ways)


def test_a_stopped_job_is_ended_too(tmp_path: Path) -> None:
    program = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"
    ending = supervise(tmp_path, program, Limits(wall_s=0.5, grace_s=20))
    assert (ending.reason, ending.signal) == ("timeout", signal.SIGTERM)
    assert ending.duration_s < 20


def test_a_wrong_call_of_the_folder_is_told(tmp_path: Path) -> None:
    for arguments, says in (([], "usage:"), ([str(tmp_path)], "launch.json")):
        done = subprocess.run(
            [sys.executable, "-I", str(EXECUTORS / "supervise"), *arguments],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert says in done.stderr.decode()
