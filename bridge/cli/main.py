"""`kakeya_remote`: the commands by name, loaded when they are called, and the one place that exits.

Nothing heavy is imported here, so that `--help` costs little more than Python itself.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bridge.errors import ExitCode, KakeyaError

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = "kakeya_remote"

# name: (module, attribute, one line of help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("bridge.cli.run", "run_command", "Submit one job; with --wait, follow it to its end."),
    "wait": ("bridge.cli.wait", "wait_command", "Wait for a job; the exit code is its verdict."),
    "status": ("bridge.cli.jobs", "status_command", "Show where a job stands, or the runners."),
    "list": ("bridge.cli.jobs", "list_command", "List the newest jobs of the bus."),
    "logs": ("bridge.cli.logs", "logs_command", "Print a job's output."),
    "results": ("bridge.cli.results", "results_command", "Download a job's evidence and files."),
    "cancel": ("bridge.cli.jobs", "cancel_command", "End a job."),
    "retry": ("bridge.cli.jobs", "retry_command", "Ask again for a job that has ended."),
    "replay": ("bridge.cli.replay", "replay_command", "Run an ended job again, and compare."),
    "campaign": (
        "bridge.cli.campaign",
        "campaign_group",
        "Many jobs with decision gates between them.",
    ),
    "why": ("bridge.cli.fleet", "why_command", "Show why a job does not move."),
    "presets": ("bridge.cli.presets", "presets_command", "List the workloads that may be asked."),
    "evidence": ("bridge.cli.evidence", "evidence_group", "Show and verify evidence."),
    "runner": ("bridge.cli.enrol", "runner_group", "Serve a bus with this machine."),
    "bus": ("bridge.cli.bus", "bus_group", "Make a bus."),
    "watch": ("bridge.cli.watch", "watch_command", "Watch the queue, runners and jobs live."),
    "site": ("bridge.cli.site", "site_group", "Write a bus as pages that need no server."),
    "usage": ("bridge.cli.usage", "usage_command", "Show what jobs took, by whom and where."),
    "mcp": ("bridge.cli.mcp", "mcp_command", "Serve the presets to a coding agent as tools."),
    "setup": ("bridge.cli.setup", "setup_command", "Make this machine a runner, and prove it."),
    "doctor": ("bridge.cli.doctor", "doctor_command", "Look for what keeps jobs from moving."),
    "demo": ("bridge.cli.demo", "demo_command", "Run a real job across a real bus, here."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command, in the order of the table."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """The command called `cmd_name`, or None."""
        if cmd_name not in COMMANDS:
            return None
        _scrub_git_environment()
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """The table of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, value: _print_version(ctx) if value else None,
    help="Show the version and end.",
)
@click.option("--bus", metavar="URL|DIR", help="The git remote that carries jobs.")
@click.option("--root", metavar="REF", help="Prefix of the bus's refs.")
@click.option("--profile", metavar="NAME", help="local, self-hosted or github.")
@click.option("--embedded", is_flag=True, help="A bus and a runner for this call alone.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output on stdout.")
def group(**given: Any) -> None:
    """Ask for jobs over git, and get gated evidence back.

    The options above may also stand behind a command.

    \b
    Example:
      kakeya_remote run niah-smoke --embedded --wait

    \b
    Exit codes: 0 done and every gate passes, 1 internal error, 2 usage or rejected, 3 cancelled,
    4 declined by policy or integrity broken, 5 job failed, 6 gate failed, 7 no runner in time,
    8 the wait ended, 9 lost, 10 gates inconclusive or missing, 130 interrupted.
    """
    click.get_current_context().obj = given


def _print_version(context: click.Context) -> None:
    from bridge.version import VERSION

    click.echo(f"{PROGRAM} {VERSION}")
    context.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        code = group.main(args=words, prog_name=PROGRAM, standalone_mode=False)
        _flush()
    except BaseException as error:
        return _end(error, as_json)
    finally:
        _drop_timers()
    return code if isinstance(code, int) else int(ExitCode.DONE)


def _flush() -> None:
    """What is left of stdout goes out, or nowhere where its reader is gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(error: BaseException, as_json: bool) -> int:
    """Tell a person, or a program, why the command ends; returns the exit code."""
    if isinstance(error, BrokenPipeError):  # of a stream of logs: its reader has seen enough
        _drop_stdout()
        return int(ExitCode.DONE)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        _say("interrupted")
        return int(ExitCode.INTERRUPTED)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, click.ClickException):
        return _tell_usage(error, as_json)
    if isinstance(error, KakeyaError):
        return _tell(error, as_json)
    return _tell_unexpected(error, as_json)


def _tell(error: KakeyaError, as_json: bool) -> int:
    if as_json:
        _print_json(error.as_json())
    _say(f"error: {error}")
    if error.remedy:
        _say(f"  what to do: {error.remedy}")
    return int(error.exit_code)


def _tell_usage(error: click.ClickException, as_json: bool) -> int:
    from bridge.errors import UsageError

    if as_json:
        _print_json(UsageError(error.format_message(), where="command line").as_json())
    error.show(file=sys.stderr)
    return int(ExitCode.USAGE)


def _tell_unexpected(error: BaseException, as_json: bool) -> int:
    if os.environ.get("KAKEYA_DEBUG"):
        import traceback

        traceback.print_exception(error)
    fault = KakeyaError(
        f"{type(error).__name__}: {error}"[:500],
        where="unexpected",
        remedy="set KAKEYA_DEBUG=1 and run it again for the whole story, then report it",
    )
    return _tell(fault, as_json)


def _print_json(value: dict[str, object]) -> None:
    from bridge.cli.output import print_json

    print_json(value)


def _say(text: str) -> None:
    from bridge.cli.output import say

    say(text)


def _drop_timers() -> None:
    """Cancel what would keep Python from ending: GitPython's watchdog of an interrupted command."""
    if "threading" not in sys.modules:
        return
    import threading

    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def _scrub_git_environment() -> None:
    """Forget what a calling git (a hook, an alias) set: it points at another repository."""
    if any(name.startswith("GIT_") for name in os.environ):
        scrub: Callable[[], None] = importlib.import_module("bridge.git").scrub_environment
        scrub()


if __name__ == "__main__":
    sys.exit(main())
