"""Independent parts of one run, side by side on the cores that a job was given."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import torch

R = TypeVar("R")


def count_workers(device: torch.device | str) -> int:
    """How many parts may run at once: one for each thread of the job, on a CPU under Linux.

    Small models gain nothing from a second thread; two parts with one thread each take half the
    time. A GPU is one, and macOS may not fork a process that has used its frameworks.
    """
    forks = sys.platform == "linux" and torch.device(device).type == "cpu"
    return torch.get_num_threads() if forks else 1


def run_side_by_side(
    action: Callable[..., R], tasks: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[R]:
    """`action(*task)` for each task, in their order.

    Args:
        action: a function of a module; arguments and result can be pickled.
        tasks: its arguments.
        workers: processes of one thread each; 1 for this process itself, as it stands.
    """
    if workers == 1:
        for task in tasks:
            yield action(*task)
        return
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        for future in [pool.submit(action, *task) for task in tasks]:
            yield future.result()
