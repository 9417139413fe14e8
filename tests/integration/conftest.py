"""Labs for the tests that run the whole path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, make_bare, make_checkout, open_lab


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trusted checkout of this repository as it is now; not to be changed."""
    return make_checkout(tmp_path_factory.mktemp("trusted"))


@pytest.fixture
def lab(checkout: Path, tmp_path: Path) -> Iterator[Lab]:
    """A lab on a bare repository of its own."""
    make_bare(tmp_path / "bus.git")
    found = open_lab(checkout, str(tmp_path / "bus.git"), tmp_path / "lab")
    yield found
    found.bus.close()
