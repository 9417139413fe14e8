"""A matrix product, timed: the shortest honest answer to how fast a machine is."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

Runs = list[tuple[float, float]]


def measure_matmul(side: int, repeats: int) -> dict[str, Runs]:
    """GFLOP/s and seconds of `side` x `side` fp32 products, for each backend that is installed.

    Backends: `numpy`, `torch-cpu`, `torch-cuda`, `torch-mps`. A product is 2 * side**3 operations.
    """
    products: dict[str, Callable[[], object]] = {}
    if importlib.util.find_spec("numpy") is not None:
        products["numpy"] = _prepare_numpy(side)
    if importlib.util.find_spec("torch") is not None:
        import torch

        products["torch-cpu"] = _prepare_torch(side, "cpu")
        if torch.cuda.is_available():
            products["torch-cuda"] = _prepare_torch(side, "cuda")
        if torch.backends.mps.is_available():
            products["torch-mps"] = _prepare_torch(side, "mps")
    return {name: _time(product, side, repeats) for name, product in products.items()}


def _prepare_numpy(side: int) -> Callable[[], object]:
    import numpy as np

    values = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    return lambda: values @ values


def _prepare_torch(side: int, device: str) -> Callable[[], object]:
    import torch

    values = torch.randn(side, side, generator=torch.Generator().manual_seed(0)).to(device)
    # Reading one number waits for the device.
    return lambda: float((values @ values)[0, 0])


def _time(product: Callable[[], object], side: int, repeats: int) -> Runs:
    runs = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        product()
        seconds = max(time.perf_counter() - started_s, 1e-9)
        runs.append((2 * side**3 / seconds / 1e9, seconds))
    return runs
