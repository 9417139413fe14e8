"""What every executor must do, on its real system (issue 4, show 1)."""

from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.errors import ExecutorError
from bridge.records import Exit
from executors.contract import OUT, REPORT, Limits, handle_from_json, launch_from_json
from executors.supervise.files import read_json
from executors.supervise.launch import ENDED, STARTED
from tests.contracts.executor_rigs import RIGS, Rig, gone, open_rig, pids_in, read_out
from tests.parts import require
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]

SAY = "import json, os, sys\n"
WAIT = "import signal, time\nwhile True: time.sleep(1)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
# A child and a grandchild that leave session, group and environment behind.
FAMILY = """
import os, sys, time
path = os.environ["OUT"] + "/pids"
def note():
    with open(path, "a") as file: file.write(f"{os.getpid()}\\n")
note()
if os.fork() == 0:
    os.setsid()
    note()
    if os.fork() == 0:
        os.setsid()
        note()
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    if len(sys.argv) > 1 and sys.argv[1] == "leave": os._exit(0)
    time.sleep(1000)
if len(sys.argv) > 1 and sys.argv[1] == "leave":
    while len(open(path).read().split()) < 3: time.sleep(0.01)
else:
    time.sleep(1000)
"""


@pytest.fixture(params=list(RIGS), scope="module")
def system(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with open_rig(request.param) as made:
        yield made


@pytest.fixture
def rig(system: Rig) -> Iterator[Rig]:
    system.launched.clear()
    try:
        yield system
        system.check_nothing_left()
    finally:
        system.kill_all()


def test_a_job_runs_and_leaves_its_output_report_and_log(rig: Rig) -> None:
    launch, handle, ending = rig.run(
        SAY + "print('said')\n"
        "json.dump([sys.argv[1:], os.getcwd()], open(os.environ['OUT'] + '/seen.json', 'w'))",
        "one",
        "",
    )
    assert rig.executor().poll(handle).exit == Exit(0, None, "exit")
    assert read_out(launch) == [["one", ""], str(launch.cwd)]
    assert rig.log(handle) == b"said\n"
    imported = json.loads((launch.home / REPORT / "imported.json").read_text())
    assert list(imported["files"]) == ["program.py"]
    assert imported["foreign"] == {}
    assert json.loads((launch.home / REPORT / "environment.json").read_text())["executable"]
    assert ending.duration_s > 0
    assert ending.peak_memory_mb > 1
    assert ending.output_bytes == len(b"said\n")


def test_its_environment_is_what_was_rendered_and_a_mark(rig: Rig) -> None:
    launch, _, _ = rig.run(
        SAY + "json.dump(dict(os.environ), open(os.environ['OUT'] + '/seen.json', 'w'))"
    )
    seen = read_out(launch)
    assert isinstance(seen, dict)
    # The interpreter adds LC_CTYPE itself (PEP 538).
    assert set(seen) - {"KAKEYA_JOB_MARK", "LC_CTYPE", *launch.inherit} == set(launch.env)
    assert all(seen[name] == value for name, value in launch.env.items())


@pytest.mark.parametrize("code", [1, 3, 75, 255])
def test_an_exit_code_is_kept(rig: Rig, code: int) -> None:
    _, handle, _ = rig.run(f"import sys; sys.exit({code})")
    assert rig.executor().poll(handle).exit == Exit(code, None, "exit")


def test_death_by_a_signal_is_told_apart(rig: Rig) -> None:
    _, handle, _ = rig.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    end = rig.executor().poll(handle).exit
    assert end == Exit(None, signal.SIGSEGV, "signal", "ended by SIGSEGV")


def test_a_program_that_is_not_there_is_an_end_too(rig: Rig) -> None:
    _, _, ending = rig.run("", python="/no/such/python")
    assert (ending.reason, ending.code, ending.signal) == ("launch", None, None)
    assert "/no/such/python" in ending.detail


def test_wall_clock_ends_what_ignores_a_polite_word(rig: Rig) -> None:
    launch, _, ending = rig.run(
        STUBBORN + WAIT, limits=Limits(wall_s=0.7, grace_s=0.3), python=sys.executable
    )
    assert (ending.reason, ending.limit, ending.signal) == ("timeout", "wall_s", signal.SIGKILL)
    assert ending.detail == "ran longer than 0.7 s"
    assert ending.duration_s >= launch.limits.wall_s + launch.limits.grace_s
    assert set(ending.means) >= {"wall_s", "memory_mb", "output_mb", "disk_mb"}


def test_a_job_may_tidy_up_before_it_ends(rig: Rig) -> None:
    launch, _, ending = rig.run(
        "import os, signal, sys, time\n"
        "def end(*_):\n"
        "    open(os.environ['OUT'] + '/tidied', 'w').close()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n" + WAIT,
        limits=Limits(wall_s=1, grace_s=60),
    )
    assert (ending.reason, ending.code) == ("timeout", 0)
    assert (launch.home / OUT / "tidied").exists()


def test_cancel_reaches_grandchildren_in_sessions_of_their_own(rig: Rig) -> None:
    launch, handle = rig.submit(FAMILY)
    family = pids_in(launch.out / "pids", 3)
    rig.executor().cancel(handle)
    rig.executor().cancel(handle)
    ending = rig.ending(handle)
    assert ending.reason == "cancelled"
    assert all(gone(pid) for pid in family)
    rig.executor().cancel(handle)
    assert rig.ending(handle) == ending


def test_what_outlives_the_main_process_is_ended(rig: Rig) -> None:
    launch, _, ending = rig.run(FAMILY, "leave")
    assert (ending.reason, ending.code, ending.leftovers) == ("exit", 0, 1)
    assert all(gone(pid) for pid in pids_in(launch.out / "pids", 3))


def test_another_process_finds_a_job_again(rig: Rig, tmp_path: Path) -> None:
    launch = rig.launch(
        "import os, time\n"
        "while not os.path.exists(os.environ['OUT'] + '/go'): time.sleep(0.01)\nprint('went on')"
    )
    value = tmp_path / "launch.json"
    value.write_text(json.dumps(launch.as_json()))
    submit = (
        "import json, os, sys\n"
        "from executors import make_executor\n"
        "from executors.contract import launch_from_json\n"
        "launch = launch_from_json(json.load(open(sys.argv[1])))\n"
        "executor = make_executor(launch.executor, json.loads(sys.argv[2]))\n"
        "print(json.dumps(executor.submit(launch).as_json()), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    dead = subprocess.run(
        [sys.executable, "-c", submit, str(value), json.dumps(dict(rig.options))],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        timeout=rig.wait_s,
        check=False,
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    handle = handle_from_json(json.loads(dead.stdout))
    assert rig.executor().poll(handle).state in {"waiting", "running"}
    launch.out.mkdir(exist_ok=True)
    (launch.out / "go").touch()
    assert rig.ending(handle).code == 0
    assert rig.log(handle) == b"went on\n"


def test_submitted_many_times_it_runs_once(rig: Rig) -> None:
    launch = rig.launch("import os; open(os.environ['OUT'] + '/runs', 'a').write('ran\\n')")
    with ThreadPoolExecutor(4) as pool:
        handles = list(pool.map(lambda _: rig.executor().submit(launch), range(4)))
    assert len({json.dumps(handle.as_json()) for handle in handles}) == 1
    assert rig.ending(handles[0]).code == 0
    assert rig.executor().submit(launch) == handles[0]
    assert rig.ending(handles[0]).code == 0
    assert (launch.home / OUT / "runs").read_text() == "ran\n"


def test_a_folder_takes_no_second_launch(rig: Rig) -> None:
    launch, handle, _ = rig.run("")
    with pytest.raises(ExecutorError, match="holds another launch"):
        rig.executor().submit(replace(launch, argv=(*launch.argv, "more")))
    assert rig.ending(handle).code == 0


def test_an_output_flood_is_cut_and_named(rig: Rig) -> None:
    _, handle, ending = rig.run(
        "while True: print('x' * 999)", limits=Limits(output_mb=1, grace_s=0.2)
    )
    assert (ending.reason, ending.limit) == ("output", "output_mb")
    log = rig.log(handle)
    assert log[: 2**20] == (b"x" * 999 + b"\n") * 1048 + b"x" * 576
    assert log[2**20 :] == b"\n[kakeya] wrote more than 1 MiB of output; the job was ended\n"


def test_output_that_is_no_text_comes_back_byte_for_byte(rig: Rig) -> None:
    data = bytes(range(256)) * 3 + b"\xff\xfe\x00\xc3("
    _, handle, _ = rig.run(f"import sys; sys.stdout.buffer.write({data!r})")
    assert rig.log(handle) == data
    assert rig.executor().logs(handle, 250, 10) == data[250:260]
    assert rig.executor().logs(handle, len(data), 10) == b""


def test_arguments_reach_the_job_as_they_are(rig: Rig) -> None:
    hostile = [
        "",
        " ",
        "-x",
        "--help",
        "a b",
        "'\"`$(id)",
        "new\nline",
        "ünï \u2028",
        "*",
        "{out}",
        "~",
    ]
    launch, _, ending = rig.run(
        SAY + "json.dump(sys.argv[1:], open(os.environ['OUT'] + '/seen.json', 'w'))", *hostile
    )
    assert ending.code == 0
    assert read_out(launch) == hostile


def test_memory_counts_the_whole_tree(rig: Rig) -> None:
    # Each process alone would fit.
    _, _, ending = rig.run(
        "import os, time\n"
        "for _ in range(3): os.fork()\n"
        "held = b'x' * (40 * 2**20)\ntime.sleep(1000)",
        limits=Limits(memory_mb=200, grace_s=0.2),
    )
    assert (ending.reason, ending.limit) == ("memory", "memory_mb")
    assert ending.detail == "held more than 200 MiB of memory"


def test_disk_is_bound(rig: Rig) -> None:
    _, _, ending = rig.run(
        "import os, time\n"
        "open(os.environ['OUT'] + '/big', 'wb').write(os.urandom(3 * 2**20))\ntime.sleep(1000)",
        limits=Limits(disk_mb=2, grace_s=0.2),
    )
    assert (ending.reason, ending.limit) == ("disk", "disk_mb")
    assert ending.disk_bytes >= 3 * 2**20


def test_a_limit_passed_in_the_last_moment_is_still_named(rig: Rig) -> None:
    _, _, ending = rig.run(
        "import os; open(os.environ['OUT'] + '/big', 'wb').write(os.urandom(3 * 2**20))",
        limits=Limits(disk_mb=2),
    )
    assert (ending.reason, ending.limit) == ("disk", "disk_mb")


def test_a_job_that_writes_its_own_end_is_not_believed(rig: Rig) -> None:
    launch, handle = rig.submit(
        "import os, sys, time\n"
        "end = os.environ['OUT'] + '/../exit.json'\n"
        "open(end, 'w').write('{}')\nopen(os.environ['OUT'] + '/wrote', 'w').close()\n"
        "while not os.path.exists(os.environ['OUT'] + '/go'): time.sleep(0.01)\nsys.exit(4)"
    )
    until(lambda: (launch.out / "wrote").exists(), bound_s=rig.wait_s)
    assert rig.executor().poll(handle).state == "running"
    (launch.out / "go").touch()
    assert rig.ending(handle).code == 4


def test_a_killed_supervisor_is_noticed_and_its_job_ended(rig: Rig) -> None:
    launch, handle = rig.submit(
        "import os, time\n"
        "if os.fork() == 0: os.setsid()\n"
        "open(os.environ['OUT'] + '/pids', 'a').write(f'{os.getpid()}\\n')\ntime.sleep(1000)"
    )
    family = pids_in(launch.out / "pids", 2)
    started = read_json(launch.job_dir / STARTED)
    assert started is not None
    os.kill(started["pid"], signal.SIGKILL)
    ending = rig.ending(handle)
    assert (ending.reason, ending.code) == ("vanished", None)
    for pid in family:
        until(lambda pid=pid: gone(pid), bound_s=10)
    assert rig.ending(handle) == ending


def test_another_user_runs_it_and_can_touch_nothing_else(rig: Rig) -> None:
    require("root")
    checkpoints = rig.root / "checkpoints"
    checkpoints.mkdir()
    launch, _, ending = rig.run(
        SAY + "from pathlib import Path\n"
        "def may(path):\n"
        "    try: Path(path).write_text(''); return True\n"
        "    except OSError: return False\n"
        "job = Path(os.environ['OUT']).parent\n"
        "seen = [os.getuid(), os.getgid(), os.getgroups(), os.environ['USER'],\n"
        "  may(job / 'exit.json'), may(job / 'code' / 'program.py'),\n"
        "  os.access(job / 'launch.json', os.R_OK)]\n"
        "json.dump(seen, open(os.environ['OUT'] + '/seen.json', 'w'))\n"
        "Path(sys.argv[1], 'step').touch()",
        str(checkpoints),
        writable=(checkpoints,),
        run_as="nobody",
        python="/usr/bin/python3",
    )
    assert (ending.reason, ending.code) == ("exit", 0), ending.detail
    assert (launch.writable[0] / "step").exists()
    nobody = pwd.getpwnam("nobody")
    assert read_out(launch) == [nobody.pw_uid, nobody.pw_gid, [], "nobody", False, False, False]
    assert (launch.out / "seen.json").stat().st_uid == nobody.pw_uid
    assert (launch.report / "imported.json").stat().st_uid == nobody.pw_uid
    assert "user nobody" in ending.isolation


def test_a_user_that_cannot_reach_the_job_is_told_where_and_what_to_do(rig: Rig) -> None:
    require("root")
    launch = rig.launch("", run_as="nobody", python="/usr/bin/python3")
    launch.job_dir.mkdir(parents=True, exist_ok=True)
    launch.job_dir.chmod(0o700)
    ending = rig.ending(rig.executor().submit(launch))
    assert ending.reason == "launch"
    assert f"user nobody may not reach {launch.job_dir}; let it" in ending.detail


def test_a_user_that_is_not_there_is_named(rig: Rig) -> None:
    _, _, ending = rig.run("", run_as="no-such-user")
    assert ending.reason == "launch"
    assert "there is no user no-such-user; create it" in ending.detail


def test_render_is_a_value_that_survives_json(rig: Rig) -> None:
    job = rig.job("", "a\nb", labels=("cuda",))
    launch = rig.executor().render(job)
    assert launch == rig.executor().render(job)
    assert launch_from_json(json.loads(json.dumps(launch.as_json()))) == launch
    assert sorted(path.name for path in job.folder.iterdir()) == ["code"]


def test_the_launch_with_its_secrets_is_for_its_owner_alone(rig: Rig) -> None:
    launch, _, _ = rig.run("")
    assert stat.S_IMODE((launch.job_dir / "launch.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((launch.home / "launch.json").stat().st_mode) == 0o600
    assert (launch.home / ENDED).exists()
