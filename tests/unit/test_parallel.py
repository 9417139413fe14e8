"""Parts of a run side by side: the same results in the same order, whoever computes them."""

from __future__ import annotations

import os
from functools import partial

import pytest
import torch

from workloads.shared.parallel import count_workers, run_side_by_side


def describe(number: int) -> tuple[int, int, int]:
    """A part: what it was given, its threads and its process."""
    return number, torch.get_num_threads(), os.getpid()


def refuse(number: int) -> int:
    if number == 2:
        raise ValueError("part 2 does not work")
    return number


def test_parts_come_in_order_from_processes_of_one_thread() -> None:
    torch.ones(64, 64) @ torch.ones(64, 64)  # the parent has used its threads
    found = list(run_side_by_side([partial(describe, number) for number in range(6)], 2))
    assert [number for number, _, _ in found] == list(range(6))
    assert {threads for _, threads, _ in found} == {1}
    assert os.getpid() not in {process for _, _, process in found}


def test_one_worker_is_this_process() -> None:
    here = (7, torch.get_num_threads(), os.getpid())
    assert list(run_side_by_side([lambda: describe(7)] * 2, 1)) == [here, here]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_of_a_part_is_the_runs(workers: int) -> None:
    parts = run_side_by_side([lambda: refuse(1), lambda: refuse(2)], workers)
    assert next(parts) == 1
    with pytest.raises(ValueError, match="part 2"):
        next(parts)


def test_a_gpu_is_one_worker() -> None:
    assert count_workers("cuda") == 1
    assert count_workers("cpu") in {1, torch.get_num_threads()}
