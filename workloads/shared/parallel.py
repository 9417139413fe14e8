"""Independent parts of one run, side by side on the cores that a job was given."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
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


def run_side_by_side(parts: Sequence[Callable[[], R]], workers: int) -> Iterator[R]:
    """What each part returns, in their order.

    Args:
        parts: functions without arguments; a fork knows them already, only results are pickled.
        workers: processes of one thread each; 1 for this process itself, as it stands.
    """
    if workers == 1 or len(parts) < 2:
        yield from (part() for part in parts)
        return
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_begin,
        initargs=(parts,),
    ) as pool:
        yield from pool.map(_run_part, range(len(parts)))


_parts: Sequence[Callable[[], Any]] = ()
"""In a worker: the parts that its fork came with."""


def _begin(parts: Sequence[Callable[[], Any]]) -> None:
    global _parts
    _parts = parts
    torch.set_num_threads(1)


def _run_part(number: int) -> Any:
    return _parts[number]()
