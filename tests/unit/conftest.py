"""What several tests of parts share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def fixed_seed() -> Iterator[None]:
    """Torch draws the same in every run of a test, and nothing of it stays behind."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
