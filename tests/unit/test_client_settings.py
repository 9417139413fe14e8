from __future__ import annotations

from pathlib import Path

import pytest

from bridge.client.settings import Settings, absolute_bus, cache_folder, load_settings
from bridge.errors import ManifestError, UsageError


def load(tmp_path: Path, flags: dict[str, str] | None = None, **environment: str) -> Settings:
    return load_settings(
        flags or {},
        environment,
        folder=tmp_path,
        checkout=tmp_path / "checkout",
        user_folder=tmp_path / "user",
    )


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "user").mkdir()


def test_the_order_is_flag_variable_repo_user(tmp_path: Path) -> None:
    repo, user = tmp_path / "checkout" / "kakeya.yaml", tmp_path / "user" / "config.yaml"
    user.write_text("bus: /srv/user.git\nprofile: github\nroot: refs/heads/user\nlabels: [user]\n")
    settings = load(tmp_path)
    assert (settings.bus, settings.profile.name) == ("/srv/user.git", "github")
    repo.write_text("bus: ../bus.git\nprofile: self-hosted\n")
    settings = load(tmp_path)
    assert settings.bus == str(tmp_path / "bus.git")
    assert settings.profile.name == "self-hosted"
    assert settings.refs.root == "refs/heads/user"
    settings = load(tmp_path, KAKEYA_BUS="there.git", KAKEYA_LABELS="a, b")
    assert settings.bus == str(tmp_path / "there.git")
    assert settings.labels == ("a", "b")
    settings = load(tmp_path, {"bus": "https://git.example/bus.git"}, KAKEYA_BUS="there.git")
    assert settings.bus == "https://git.example/bus.git"
    assert settings.sources == {
        "bus": "--bus",
        "profile": str(repo),
        "root": str(user),
        "labels": str(user),
    }


def test_nothing_set_names_what_could_be(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.bus is None
    with pytest.raises(UsageError) as caught:
        settings.require()
    for word in ("--bus", "KAKEYA_BUS", "kakeya.yaml", "--embedded"):
        assert word in caught.value.remedy


def test_the_fast_path_is_switched_off_by_one_setting(tmp_path: Path) -> None:
    assert load(tmp_path).fast_path
    (tmp_path / "checkout" / "kakeya.yaml").write_text("fast_path: false\n")
    assert not load(tmp_path).fast_path
    assert load(tmp_path, KAKEYA_FAST_PATH="true").fast_path
    with pytest.raises(UsageError, match="neither true nor false") as caught:
        load(tmp_path, KAKEYA_FAST_PATH="off")
    assert caught.value.where == "KAKEYA_FAST_PATH"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bus: [a]\n", "$.bus"),
        ("buss: /srv/bus.git\n", "'buss'"),
        ("profile: fast\n", "$.profile"),
        ("labels: [Not-A-Label]\n", "$.labels[0]"),
        ("bus: a\nbus: b\n", "duplicate key"),
        ("- bus\n", "$"),
        ("bus: !!python/object:os.system x\n", "tag"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "checkout" / "kakeya.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError) as caught:
        load(tmp_path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"bus": "--upload-pack=touch x"}, "no address"),
        ({"bus": "ext::sh -c id"}, "no address"),
        ({"bus": "x\ny"}, "no address"),
        ({"bus": "/srv/bus.git", "root": "refs/heads/../x"}, "no root"),
        ({"bus": "/srv/bus.git", "root": "--force"}, "no root"),
        ({"bus": "/srv/bus.git", "profile": "warp"}, "no profile"),
    ],
)
def test_a_wrong_flag_is_refused(tmp_path: Path, flags: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load(tmp_path, flags)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://git.example/bus.git", True),
        ("git@github.com:lab/bus.git", True),
        ("ssh://host/bus.git", True),
        ("file:///srv/bus.git", True),
        ("bus.git", False),
        ("./odd:name.git", False),
        ("~/bus.git", False),
    ],
)
def test_paths_become_absolute_and_addresses_stay(tmp_path: Path, address: str, kept: bool) -> None:
    found = absolute_bus(address, tmp_path)
    assert found == address if kept else Path(found).is_absolute()


def test_each_bus_and_root_has_its_own_cache(tmp_path: Path) -> None:
    environment = {"KAKEYA_CACHE": str(tmp_path)}
    folders = {
        cache_folder(bus, root, environment)
        for bus in ("/a", "/b")
        for root in ("refs/heads/a", "refs/heads/b")
    }
    assert len(folders) == 4
    assert all(folder.is_relative_to(tmp_path / "client") for folder in folders)
