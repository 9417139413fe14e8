"""All presets and assets of one commit or folder, checked against one another."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from bridge.errors import ManifestError
from presets.arguments import show
from presets.assets import TABLE, Asset, parse_assets
from presets.definition import Preset, parse_preset
from presets.tokens import Source

SUFFIX = ".yaml"
CAMPAIGNS = "campaigns"


@dataclass(frozen=True, slots=True)
class Catalog:
    """The allowlist: presets and assets by name."""

    presets: Mapping[str, Preset]
    assets: Mapping[str, Asset]

    def get(self, name: str) -> Preset:
        """The preset called `name`.

        Raises:
            ManifestError: there is none; the closest names are offered.
        """
        if name in self.presets:
            return self.presets[name]
        close = difflib.get_close_matches(name, self.presets, n=3)
        raise ManifestError(
            f"no preset {show(name)}",
            where="$.preset.name",
            remedy=f"did you mean {' or '.join(close)}?"
            if close
            else "kakeya_remote presets lists them",
        )


def parse_catalog(files: Mapping[str, bytes]) -> Catalog:
    """The catalog from files by name, as read from a folder or from a git commit.

    Args:
        files: content by path; only the last segment of a path counts, and only `*.yaml`. Files in
            a folder `campaigns` are none of it.

    Raises:
        ManifestError: one file is wrong; or several are, and then `problems` names each.
    """
    paths = {PurePosixPath(path): data for path, data in sorted(files.items())}
    named = {path.name: data for path, data in paths.items() if path.parent.name != CAMPAIGNS}
    assets: dict[str, Asset] = {}
    presets: dict[str, Preset] = {}
    errors: list[ManifestError] = []
    if TABLE in named:
        try:
            assets = parse_assets(named[TABLE])
        except ManifestError as error:
            errors.append(error)
    for name, data in named.items():
        if name == TABLE or not name.endswith(SUFFIX):
            continue
        try:
            preset = parse_preset(data, name)
            presets[preset.name] = preset
        except ManifestError as error:
            errors.append(error)
    if not errors:
        errors += _dangling(presets, assets)
    if errors:
        raise _joined(errors)
    return Catalog(MappingProxyType(presets), MappingProxyType(assets))


def load_catalog(folder: Path) -> Catalog:
    """The catalog of a folder on disk; raises as `parse_catalog`, and where there is no folder."""
    if not folder.is_dir():
        raise ManifestError("no such folder of presets", where=str(folder))
    return parse_catalog({path.name: path.read_bytes() for path in folder.glob(f"*{SUFFIX}")})


def load_folder(folder: Path) -> dict[str, Preset]:
    """The presets of a folder by name; raises as `load_catalog`."""
    return dict(load_catalog(folder).presets)


def _dangling(
    presets: Mapping[str, Preset], assets: Mapping[str, Asset]
) -> Iterator[ManifestError]:
    for preset in presets.values():
        for role, token in preset.inputs.items():
            asset = token.text.removeprefix("asset:")
            if token.source is Source.LITERAL and asset not in assets:
                yield ManifestError(
                    f"$.inputs.{role}: no asset {asset!r}",
                    where=f"{preset.name}{SUFFIX}",
                    remedy=f"add it to {TABLE}; it has {', '.join(assets) or 'none'}",
                )


def _joined(errors: list[ManifestError]) -> ManifestError:
    if len(errors) == 1:
        return errors[0]
    lines = [line for error in errors for line in str(error).splitlines()]
    return ManifestError(f"{len(errors)} files are wrong", where="presets", problems=tuple(lines))
