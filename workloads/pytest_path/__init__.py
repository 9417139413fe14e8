"""Runs a test path of the job's own code under pytest, one sample for each test."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import MissingPartError, UsageError
from workloads.shared.context import Context

CODE = Path(__file__).resolve().parents[2]
"""The root of the code that this module was imported from."""
_RAN = (0, 1, 5)  # all passed, some failed, none collected


@dataclass(frozen=True, slots=True)
class Config:
    """A file or folder below `tests/`, relative to the root of the code."""

    path: str

    def __post_init__(self) -> None:
        if Path(self.path).is_absolute() or Path(self.path).parts[:1] != ("tests",):
            raise UsageError(
                "the config does not fit", problems=(f"$.config.path: {self.path} is not tests/",)
            )


def run(config: Config, context: Context) -> None:
    """Run the tests in this process and write what became of each.

    Raises:
        MissingPartError: the interpreter has no pytest.
        UsageError: there is no such path, or pytest itself gave up.
    """
    try:
        import pytest
    except ModuleNotFoundError as error:
        raise MissingPartError(
            f"the workload pytest-path needs the package {error.name}",
            where="pytest_path",
            remedy="pip install 'kakeya-remote[test]' -c constraints.txt on the runner",
        ) from error
    from workloads.pytest_path.recorder import Recorder

    if not (CODE / config.path).exists():
        raise UsageError("the code commit has no such path", where=config.path)
    arguments = [config.path, f"--rootdir={CODE}", "-p", "no:cacheprovider", "--color=no"]
    arguments.append(f"--junitxml={context.artifact('junit.xml')}")
    recorder = Recorder(context, CODE)
    with contextlib.chdir(CODE):
        code = int(pytest.main(arguments, plugins=[recorder]))
    context.state(pytest={"version": pytest.__version__, "exit_code": code})
    if code not in _RAN and not recorder.unreadable:
        raise UsageError(
            f"pytest ended with exit code {code}",
            where=config.path,
            remedy="read the job's log; the runner may lack a plugin that the tests ask for",
        )
