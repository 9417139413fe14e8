"""The executor for GitHub Actions in a step that `act` runs, and what a job cannot do there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from executors import commands
from executors.contract import Limits
from tests.contracts.executor_rigs import actions
from tests.lab import REPO
from tests.workflows import Act, Ran

OBEYED = "[\u2757\U0001f6a7\u2753]"
"""What act draws before a command that it obeyed."""

ROWS = (
    "test_a_job_runs_and_leaves_its_output_report_and_log",
    "test_an_exit_code_is_kept",
    "test_wall_clock_ends_what_ignores_a_polite_word",
    "test_cancel_reaches_grandchildren_in_sessions_of_their_own",
    "test_another_process_finds_a_job_again",
    "test_an_output_flood_is_cut_and_named",
    "test_output_that_is_no_text_comes_back_byte_for_byte",
    "test_arguments_reach_the_job_as_they_are",
    "test_memory_counts_the_whole_tree",
    "test_disk_is_bound",
)
"""Rows of the contract suite that say something about a step; the others are `local`'s own."""

STEP = """\
on: push
jobs:
  one:
    runs-on: ubuntu-24.04
    outputs: {{}}
    steps:
      - id: job
        run: {command}
        shell: bash
        working-directory: {folder}
        env: {{PYTHONPATH: {folder}}}
      - if: always()
        shell: bash
        run: |
          echo "later: reason=${{{{ steps.job.outputs.reason }}}}"
          echo "later: code=${{{{ steps.job.outputs.code }}}}"
          echo "later: env=[${{HIJACKED:-}}] outputs=[${{{{ steps.job.outputs.stolen }}}}]"
"""

HOSTILE = r"""
import glob, os, sys
say = sys.stdout.buffer.write
for line in (
    "::error::planted error", "::add-mask::harmless", "::set-output name=stolen::yes",
    "##[error]planted old style", "::stop-commands::mine", "::mine::",
    "  ::warning::planted warning",
    "::group::planted group", "::endgroup::", "the secret is hunter2hunter2", "harmless words",
    "\r::error::planted behind a return", "::notice::planted at the end without an end of line",
):
    say(line.encode() + b"\n")
sys.stdout.flush()
for path in filter(None, sys.argv[1:]):
    with open(path, "a") as file: file.write("HIJACKED=yes\nstolen=yes\n")
say(b"::error::planted last")
"""

DRIVE = """
import os, sys
from pathlib import Path
from tests.contracts.executor_rigs import actions
from tests.contracts.test_executor_actions import HOSTILE

names = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")
with actions() as rig:
    job = rig.job(HOSTILE, *(os.environ[name] for name in names), secrets=("TOKEN",))
    job = type(job)(**{name: getattr(job, name) for name in job.__slots__}
                    | {"env": {**job.env, "TOKEN": "hunter2hunter2"}})
    executor = rig.executor()
    launch = executor.render(job)
    rig.launched.append(launch)
    ending = rig.ending(executor.submit(launch))
    print("summary:", Path(os.environ["GITHUB_STEP_SUMMARY"]).read_text().splitlines()[0])
    print("once hunter2hunter2 is masked it is so everywhere")
"""


@pytest.fixture(scope="module")
def act(tmp_path_factory: pytest.TempPathFactory) -> Act:
    return Act(tmp_path_factory.mktemp("act"), REPO)


def run_step(act: Act, command: str) -> Ran:
    """Run a command as a step, and one step after it that says what reached it."""
    text = STEP.format(command=command, folder=REPO)
    return act.run_text("step.yml", text, "push", {}, {"TEST_IN_STEP": "1"})


@pytest.mark.real("act", "git")
@pytest.mark.xdist_group("act")
@pytest.mark.timeout(900)
def test_the_rows_that_apply_pass_in_a_real_step(act: Act) -> None:
    # without words of pytest's own: its dots would stand before a command on the same line
    python = f"{sys.executable} -m pytest -s -n 0 -p no:terminal -o addopts="
    rows = f"-k 'actions and ({' or '.join(ROWS)})' tests/contracts/test_executor_contract.py"
    ran = run_step(act, f"{python} {rows}")
    assert ran.succeeded, ran.output
    told = re.findall(
        f"{OBEYED}  ::(?:error|notice) title=kakeya::job \\w+, attempt 1: (.*)", ran.output
    )
    assert len(told) >= len(ROWS)
    for end in ("exit code 0", "exit code 255", "ended for timeout", "ended for cancelled"):
        assert [line for line in told if line.startswith(end)], told
    for limit in ("memory", "output", "disk"):
        assert [line for line in told if line.startswith(f"ended for {limit}")], told


@pytest.mark.real("act", "git")
@pytest.mark.xdist_group("act")
@pytest.mark.timeout(900)
def test_a_job_cannot_command_the_workflow(act: Act, tmp_path: Path) -> None:
    drive = tmp_path / "drive.py"
    drive.write_text(DRIVE)
    ran = run_step(act, f"{sys.executable} {drive}")
    assert ran.succeeded, ran.output
    obeyed = [
        line for line in ran.output.splitlines() if re.search("[\u2757\U0001f6a7\u2753]", line)
    ]
    assert "planted" not in "\n".join(obeyed)
    assert len([line for line in obeyed if "::group::" in line]) == 1
    assert "harmless words" in ran.output  # its mask was not taken
    assert "hunter2" not in ran.output  # ours was
    assert "the secret is ***" in ran.output
    for name in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        assert f"wrote to {name}: undone" in ran.output
    assert "later: reason=exit\n" in ran.output
    assert "later: code=0\n" in ran.output
    assert "later: env=[] outputs=[]" in ran.output
    assert "summary: ### job 01JZ0000000000000000000000, attempt 1: ended well" in ran.output


def test_jobs_that_run_at_once_never_open_the_log_to_one_another(tmp_path: Path) -> None:
    log = commands.StepLog(tmp_path / "log")
    log.write("one", b"::error::a\nhalf a line")
    log.write("two", b"::error::b\n")
    log.write("two", b"::error::c\n")
    log.write("one", b"::error::d")
    log.say(commands.command("notice", "ours"))
    assert obey((tmp_path / "log").read_text()) == ["group", "endgroup"] * 3 + ["notice"]


def obey(text: str) -> list[str]:
    """The commands that the host obeys, as ActionCommandManager.cs decides it."""
    obeyed, stopped = [], ""
    for line in text.splitlines():
        found = re.match(r"::([^ :]+)[^:]*::(.*)", line)
        if found is None or (stopped and found[1] != stopped):
            continue
        if stopped:
            stopped = ""
        elif found[1] == "stop-commands":
            stopped = found[2]
        else:
            obeyed.append(found[1])
    assert not stopped
    return obeyed


@pytest.mark.parametrize("text", ["", "a\nb", "100%", "a\r\n%0A::error::x", "a,b:c"])
def test_text_in_a_command_stays_one_command(text: str) -> None:
    line = commands.command("error", text, title=text)
    assert line.count("\n") == 1
    assert "\r" not in line
    told, _, data = line.removeprefix("::error title=").rstrip("\n").partition("::")
    assert not set(told) & set(":,")
    assert unescape(told.replace("%3A", ":").replace("%2C", ",")) == text
    assert unescape(data) == text


def unescape(text: str) -> str:
    """What the host makes of a command's data."""
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def test_an_output_cannot_end_its_own_entry() -> None:
    value = "x\nend_0\nstolen<<end_0\nyes"
    entry = commands.output("name", value)
    head, _, rest = entry.partition("\n")
    delimiter = head.removeprefix("name<<")
    assert rest == f"{value}\n{delimiter}\n"
    assert delimiter not in value


def test_more_output_than_the_step_shows_is_said_and_kept() -> None:
    with actions() as rig:
        program = "import sys\nfor _ in range(3): sys.stdout.write('y' * (2**19) + '\\n')"
        _, handle, ending = rig.run(program, limits=Limits(output_mb=8))
        assert ending.reason == "exit"
        if rig.options:  # not in a step, where the log is the step's own
            log = Path(rig.options["log"]).read_bytes()
            assert log.count(b"y") < 2**20 + 100
            assert b"524291 bytes of output are not shown here: kakeya_remote logs 01JZ" in log
            assert obey(log.decode()) == ["group", "endgroup", "notice", "notice"]
        assert len(rig.log(handle)) == 3 * (2**19 + 1)
