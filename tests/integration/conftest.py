"""Labs for the tests that run the whole path."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.errors import MissingPartError
from bridge.runner.assets import provide_asset
from presets.assets import Asset
from presets.catalog import load_catalog
from tests.integration.client_rig import Rig, open_rig
from tests.lab import REPO, Lab, make_bare, make_checkout, open_lab


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


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A client and a scripted runner on a bare repository of their own."""
    make_bare(tmp_path / "bus.git")
    found = open_rig(str(tmp_path / "bus.git"), tmp_path)
    yield found
    found.close()


@pytest.fixture
def in_project(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run inside the rig's project and find its bus in a variable."""
    monkeypatch.chdir(rig.project)
    monkeypatch.setenv("KAKEYA_BUS", rig.url)
    monkeypatch.setenv("KAKEYA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The published inputs, from the cache that `KAKEYA_TEST_ASSETS` names, or fetched anew."""
    named = os.environ.get("KAKEYA_TEST_ASSETS")
    cache = Path(named) if named else tmp_path_factory.mktemp("assets")
    try:
        return {
            name: _provide(asset, cache)
            for name, asset in load_catalog(REPO / "presets").assets.items()
        }
    except MissingPartError as error:
        message = f"needs the real weights: {error}"
        if os.environ.get("KAKEYA_REQUIRE_REAL") == "1":
            pytest.fail(message)
        pytest.skip(message)


def _provide(asset: Asset, cache: Path) -> Path:
    code = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    code += "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
    material = provide_asset(
        asset,
        cache,
        module_command=lambda module, *rest: [sys.executable, "-c", code, str(REPO), module, *rest],
        say=lambda _line: None,
    )
    return material.path
