from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bridge.errors import ManifestError
from presets.assets import parse_assets
from presets.catalog import load_catalog, load_folder, parse_catalog
from tests.full_preset import FULL
from tests.hostile import PRESETS, put

ASSET = {
    "kind": "wheel",
    "package": "thing",
    "version": "1.0.0",
    "sha256": "0" * 64,
    "bytes": 10,
    "files": ["thing/*.txt"],
    "convert": None,
    "licence": "MIT",
    "doc": "a thing",
}


def to_yaml(value: object) -> bytes:
    return yaml.safe_dump(value).encode()


FILES = {
    "presets/full.yaml": to_yaml(FULL),
    "presets/assets.yaml": to_yaml({"smollm2": ASSET}),
    "presets/catalog.py": b"not a preset",
    "presets/schemas/preset.schema.json": b"{}",
}


def test_a_catalog_is_read_from_the_files_of_a_commit() -> None:
    catalog = parse_catalog(FILES)
    assert list(catalog.presets) == ["full"]
    assert catalog.assets["smollm2"].requirement == "thing==1.0.0"
    assert catalog.get("full").name == "full"


def test_an_input_without_its_asset_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"full.yaml: \$.inputs.weights: no asset 'smollm2'"):
        parse_catalog({"full.yaml": FILES["presets/full.yaml"]})


def test_all_wrong_files_are_named() -> None:
    broken = {**FILES, "presets/a.yaml": b"on: 1\n", "presets/assets.yaml": b"{}: 1\n"}
    with pytest.raises(ManifestError) as caught:
        parse_catalog(broken)
    text = str(caught.value)
    assert "a.yaml:1:1: on may be read as a boolean" in text
    assert "assets.yaml:1:1: a key is a plain word" in text


def test_an_unknown_name_gets_the_closest_ones() -> None:
    with pytest.raises(ManifestError, match="no preset 'ful'") as caught:
        parse_catalog(FILES).get("ful")
    assert caught.value.remedy == "did you mean full?"
    with pytest.raises(ManifestError) as caught:
        parse_catalog(FILES).get("\x1b[2J")
    assert "\x1b" not in str(caught.value)


def test_a_folder_is_read_and_a_missing_one_named(tmp_path: Path) -> None:
    for path, data in FILES.items():
        (tmp_path / Path(path).name).write_bytes(data)
    assert list(load_folder(tmp_path)) == ["full"]
    with pytest.raises(ManifestError, match="no such folder of presets"):
        load_catalog(tmp_path / "none")


@pytest.mark.parametrize(
    "path", ["../evil", "/etc/passwd", "a/../../b", "-x", "a\\b", ".git/hooks"]
)
def test_an_asset_unpacks_nothing_outside_its_wheel(path: str) -> None:
    with pytest.raises(ManifestError, match="names files outside the wheel") as caught:
        parse_assets(to_yaml({"thing": {**ASSET, "files": ["ok.txt", path]}}))
    assert caught.value.problems[0].startswith("$['thing'].files[1]: ")


@pytest.mark.parametrize(
    ("key", "value"), [("sha256", "0" * 63), ("kind", "url"), ("bytes", 0), ("version", ">=1")]
)
def test_an_asset_out_of_shape_is_refused(key: str, value: object) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_assets(to_yaml({"thing": put(ASSET, (key,), value)}))
    assert caught.value.problems[0].startswith(f"$.thing.{key}: ")


def test_the_digest_of_an_asset_follows_its_content_not_its_words() -> None:
    one = parse_assets(to_yaml({"a": ASSET}))["a"]
    same = parse_assets(to_yaml({"b": {**ASSET, "doc": "other words"}}))["b"]
    other = parse_assets(to_yaml({"a": {**ASSET, "files": ["thing/x.txt"]}}))["a"]
    assert one.digest == same.digest != other.digest


def test_the_shipped_catalog_has_its_presets_and_the_assets_they_need() -> None:
    catalog = load_catalog(PRESETS)
    assert {"noop", "probe"} <= set(catalog.presets)
    assert {"smollm2-135m-instruct", "paul-graham-essays"} <= set(catalog.assets)
    assert all(preset.gates for preset in catalog.presets.values()), "an empty list is no pass"
