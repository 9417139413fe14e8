"""Published inputs from the real package index: fetched once, checked, healed."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bridge import proc
from bridge.errors import ExecutorError, IntegrityError, MissingPartError
from bridge.runner.assets import provide_asset, provide_path
from presets.assets import Asset

PACKAGE, VERSION = "iniconfig", "2.1.0"


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Asset:
    """A small wheel with the digest that it has today."""
    folder = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder)]
    done = proc.run([*argv, f"{PACKAGE}=={VERSION}"], cwd=folder, env=pip_env(), timeout_s=120)
    assert done.code == 0, done.stderr.decode()
    (wheel,) = folder.glob("*.whl")
    data = wheel.read_bytes()
    return Asset(
        name="small",
        package=PACKAGE,
        version=VERSION,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        files=("iniconfig/*.py",),
        convert=None,
        licence="MIT",
        doc="a small wheel",
    )


def pip_env() -> dict[str, str]:
    import os

    return {**proc.base_env(), **{k: v for k, v in os.environ.items() if k.startswith("PIP_")}}


def provide(asset: Asset, folder: Path) -> tuple[Path, list[str]]:
    said: list[str] = []
    material = provide_asset(asset, folder, module_command=lambda *words: words, say=said.append)
    return material.path, said


def test_an_asset_is_fetched_once(asset: Asset, tmp_path: Path) -> None:
    path, said = provide(asset, tmp_path)
    assert (path / "exceptions.py").is_file()
    assert said == [f"fetching iniconfig==2.1.0 ({asset.bytes / 2**20:.0f} MiB)"]
    assert provide(asset, tmp_path) == (path, [])
    assert not [item for item in tmp_path.iterdir() if "partial" in item.name]


def test_a_changed_cache_is_named_and_fetched_anew(asset: Asset, tmp_path: Path) -> None:
    path, _ = provide(asset, tmp_path)
    (path / "exceptions.py").write_text("evil = True\n")
    with pytest.raises(IntegrityError, match="were changed"):
        provide(asset, tmp_path)
    path, said = provide(asset, tmp_path)
    assert said
    assert "evil" not in (path / "exceptions.py").read_text()


def test_another_wheel_than_the_tables_is_refused(asset: Asset, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="the table says"):
        provide(replace(asset, sha256="0" * 64), tmp_path)
    assert not list(tmp_path.glob("small-*"))


def test_a_package_that_is_not_there_names_the_command(asset: Asset, tmp_path: Path) -> None:
    with pytest.raises(MissingPartError) as caught:
        provide(replace(asset, version="0.0.0.dev0"), tmp_path)
    assert "pip download" in caught.value.remedy


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        (
            "try: import no_such_module\nexcept ImportError as e: raise RuntimeError('so') from e",
            "RuntimeError: so",
            "No module named 'no_such_module'",
        ),
        (
            "import os; print('at 90 %', file=__import__('sys').stderr, flush=True); os.abort()",
            "signal 6",
            "at 90 %",
        ),
    ],
)
def test_a_failed_conversion_tells_the_end_of_what_was_said(
    asset: Asset, tmp_path: Path, code: str, said: str, told: str
) -> None:
    one = replace(asset, convert="gguf-to-safetensors", files=("iniconfig/__init__.py",))
    with pytest.raises(ExecutorError, match=said) as caught:
        provide_asset(
            one,
            tmp_path,
            module_command=lambda *_: [sys.executable, "-c", code],
            say=lambda _: None,
        )
    assert any(told in line for line in caught.value.problems)
    assert not list(tmp_path.glob("small-*"))


def test_a_local_input_is_named_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.bin").write_bytes(b"1")
    first = provide_path("weights", str(tmp_path / "weights"))
    (tmp_path / "weights" / "a.bin").write_bytes(b"2")
    assert provide_path("weights", str(tmp_path / "weights")).digest != first.digest
    with pytest.raises(MissingPartError):
        provide_path("weights", str(tmp_path / "none"))
