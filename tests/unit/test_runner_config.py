"""A runner's own file: what it means, and what is said of a wrong one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.errors import ManifestError, UsageError
from bridge.runner.config import load_config

WHOLE: dict[str, Any] = {"name": "mac-m4", "bus": "bus.git", "trusted": {"checkout": "code"}}


def write(folder: Path, **changes: Any) -> Path:
    document = {key: value for key, value in {**WHOLE, **changes}.items() if value is not None}
    path = folder / "runner.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_paths_start_at_the_files_folder_and_defaults_are_safe(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, state_dir="state"))
    assert config.bus == str(tmp_path / "bus.git")
    assert config.trusted == tmp_path / "code"
    assert config.state_dir == tmp_path / "state"
    assert (config.code_policy, config.isolation) == ("merged", "process")
    assert config.executors == {"local": {}}
    assert config.profile.name == "local"
    assert config.slots.cpus == os.cpu_count()


def test_an_address_is_left_as_it_is(tmp_path: Path) -> None:
    for address in ("git@github.com:lab/bus.git", "https://example.org/bus.git", "host:bus.git"):
        assert load_config(write(tmp_path, bus=address)).bus == address
    assert load_config(write(tmp_path, bus="git@github.com:lab/bus.git")).profile.name == "github"


def test_a_command_line_is_laid_over_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, labels=["any"]), {"labels": ["h200"], "name": "gpu-box"})
    assert (config.name, config.labels) == ("gpu-box", ("h200",))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"name": "Mac M4"}, "$.name"),
        ({"name": None}, "name"),
        ({"labels": ["a b"]}, "$.labels[0]"),
        ({"labels": []}, "$.labels"),
        ({"profile": "fast"}, "$.profile"),
        ({"slots": {"cpus": 0}}, "$.slots.cpus"),
        ({"slots": {"cpus": 1.0}}, "$.slots.cpus"),
        ({"executors": {"docker": {}}}, "docker"),
        ({"executors": {}}, "$.executors"),
        ({"code_policy": "all"}, "$.code_policy"),
        ({"env": {"lower": "x"}}, "lower"),
        ({"colour": "blue"}, "colour"),
        ({"trusted": {}}, "checkout"),
        ({"run_as": "a;b"}, "$.run_as"),
    ],
)
def test_a_fault_is_named_at_its_path(tmp_path: Path, changes: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load_config(write(tmp_path, **changes))
    assert path in str(caught.value)
    assert caught.value.exit_code == 2


def test_any_code_needs_isolation(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only in isolation"):
        load_config(write(tmp_path, code_policy="any"))


def test_signed_code_needs_the_list_of_keys(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="allowed_signers"):
        load_config(write(tmp_path, code_policy="signed"))
    with pytest.raises(UsageError, match="no file"):
        load_config(write(tmp_path, code_policy="signed", allowed_signers="nowhere"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may run jobs as anybody")
def test_another_user_needs_root(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only root"):
        load_config(write(tmp_path, run_as="nobody"))


def test_no_file_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "none.yaml")
    assert "runner start --bus" in caught.value.remedy
