"""Ways to launch a claimed job: one module each, one explicit table, modules loaded on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bridge.errors import UsageError

if TYPE_CHECKING:
    from executors.contract import Executor

Options = Mapping[str, str]


def _actions(options: Options) -> Executor:
    from executors.actions import ActionsExecutor

    return ActionsExecutor(**options)


def _local(options: Options) -> Executor:
    from executors.local import LocalExecutor

    return LocalExecutor(**options)


def _pueue(options: Options) -> Executor:
    from executors.pueue import PueueExecutor

    return PueueExecutor(**options)


def _slurm(options: Options) -> Executor:
    from executors.slurm import SlurmExecutor

    return SlurmExecutor(**options)


def _ssh(options: Options) -> Executor:
    from executors.ssh import SshExecutor

    return SshExecutor(**options)


EXECUTORS: Mapping[str, Callable[[Options], Executor]] = {
    "actions": _actions,
    "local": _local,
    "pueue": _pueue,
    "slurm": _slurm,
    "ssh": _ssh,
}


def make_executor(name: str, options: Options | None = None) -> Executor:
    """The executor of a name, with the options that the runner's own file gives it.

    Raises:
        UsageError: there is none of that name, or it takes no such option.
    """
    if name not in EXECUTORS:
        raise UsageError(
            f"there is no executor {name}", remedy=f"use one of {', '.join(EXECUTORS)}"
        )
    try:
        return EXECUTORS[name](options or {})
    except TypeError as error:
        raise UsageError(f"executor {name}: {error}", where="executors") from error
